"""A budget of visible tokens, shared by signals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, masks
from mim_jax.errors import InputError
from mim_jax.masks import multimodal

MANY = 4000


def tokens_of(b, *grid):
  n = int(np.prod(grid))
  return core.Tokens(jnp.zeros((b, n, 2)), jnp.zeros((b, n, 2)), grid=grid)


def draw(b=MANY, grid=(3, 14, 14), seed=0, **settings):
  run = functools.partial(masks.dirichlet, **({"visible": 98} | settings))
  return jax.jit(run)(jax.random.key(seed), tokens_of(b, *grid))


@pytest.fixture(scope="module")
def published():
  return draw()


def counts(mask, signals=3):
  """Visible tokens of each signal, [b s]."""
  n = mask.positions.shape[1] // signals
  return np.stack([(np.asarray(mask.visible) // n == i).sum(1) for i in range(signals)], 1)


def test_the_total_is_exact_and_nothing_is_seen_twice(published):
  assert published.visible.shape == (MANY, 98)
  assert (np.diff(np.sort(published.visible, 1), axis=1) > 0).all()
  assert (counts(published).sum(1) == 98).all()


def test_groups_list_all_places_and_weigh_the_hidden_ones(published):
  assert published.masked.shape == (MANY, 3, 196)
  np.testing.assert_array_equal(published.masked[7], np.arange(588).reshape(3, 196))
  weight = np.asarray(published.weight).reshape(MANY, -1)
  assert (np.take_along_axis(weight, np.asarray(published.visible), 1) == 0).all()
  assert (weight.sum(1) == 588 - 98).all()
  assert (
    np.asarray(published.weight).sum(-1) >= 98
  ).all()  # each signal keeps something to predict


def test_splits_are_uniform_on_the_simplex(published):
  """A share of Dirichlet(1, 1, 1) is Beta(1, 2): mean 1/3, variance 1/18; P(share < 1/2) = 3/4."""
  share = counts(published) / 98
  error = 5 / MANY**0.5
  np.testing.assert_allclose(share.mean(0), 1 / 3, atol=error * 0.24)
  np.testing.assert_allclose(share.var(0), 1 / 18, atol=error * 0.06)
  np.testing.assert_allclose((share < 0.5).mean(0), 0.75, atol=error * 0.44)
  # Both of a pair are small as often as the simplex says: covariance -1/36.
  np.testing.assert_allclose(np.cov(share.T)[0, 1], -1 / 36, atol=error * 0.06)
  unseen = (share == 0).mean(0)  # about 1 %
  assert ((unseen > 0.003) & (unseen < 0.02)).all()


def splits(*concentration):
  return np.asarray(multimodal.shares(jax.random.key(3), 20_000, concentration))


def test_most_splits_need_no_repair():
  """Rounded half to even, 13 / 75 / 12 % of splits sum to 97 / 98 / 99."""
  rounded = np.round(98 * splits(1.0, 1.0, 1.0)).sum(1)
  found = [(rounded == total).mean() for total in (97, 98, 99)]
  np.testing.assert_allclose(found, [0.13, 0.75, 0.12], atol=0.015)


def test_concentration_steers_the_split():
  assert np.abs(splits(100.0, 100.0, 100.0) - 1 / 3).max() < 0.25
  often = splits(6.0, 1.0, 1.0).mean(0)
  np.testing.assert_allclose(often, [0.75, 0.125, 0.125], atol=0.01)


def test_places_within_a_signal_are_uniform_and_their_order_is_random(published):
  often = np.bincount(np.asarray(published.visible).ravel(), minlength=588) / MANY
  assert np.abs(often - 1 / 6).max() < 5 * (5 / 36 / MANY) ** 0.5
  first = np.asarray(published.visible)[:, 0] // 196
  np.testing.assert_allclose(np.bincount(first) / MANY, 1 / 3, atol=0.05)


def test_a_signal_of_concentration_0_is_never_seen_but_predicted():
  mask = draw(300, concentration=(1.0, 0.0, 1.0))
  found = counts(mask)
  assert (found[:, 1] == 0).all()
  assert (found.sum(1) == 98).all()
  assert (np.asarray(mask.weight)[:, 1] == 1).all()


def test_more_budget_than_a_signal_has_goes_to_the_others():
  mask = draw(200, (2, 4), visible=6, concentration=(1.0, 1.0))
  assert (counts(mask, 2) <= 4).all()
  assert (counts(mask, 2).sum(1) == 6).all()


def test_a_single_signal_is_a_random_mask():
  assert (counts(draw(10, (1, 4, 4), visible=4, concentration=(1.0,)), 1) == 4).all()


def test_what_does_not_fit_is_refused():
  with pytest.raises(InputError, match="2 numbers of `concentration` for 3 modalities"):
    draw(1, concentration=(1.0, 1.0))
  with pytest.raises(InputError, match="must have a number above 0"):
    draw(1, concentration=(0.0, 0.0, 0.0))
  with pytest.raises(InputError, match=r"for 0 modalities with 4 tokens.*grid \(\)"):
    masks.dirichlet(
      jax.random.key(0), core.Tokens(jnp.zeros((1, 4, 2)), jnp.zeros((1, 4, 0))), visible=1
    )
  for visible in (0, 588, 600):
    with pytest.raises(InputError, match=f"{visible} tokens cannot be visible of 588"):
      draw(1, visible=visible)
  with pytest.raises(InputError, match="of 196 that may be seen"):
    draw(1, visible=200, concentration=(1.0, 0.0, 0.0))
