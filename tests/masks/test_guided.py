"""Masks that follow scores: counts, who is hidden, and how often, against the published draws."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, masks
from mim_jax.errors import InputError

PUBLISHED = dict(ratio=0.75, start=0.0, end=0.5)


def tokens_of(b, n):
  return core.Tokens(jnp.zeros((b, n, 2)), jnp.zeros((b, n, 2)), grid=(n,))


def hardest(scores, k):
  return np.argsort(-np.asarray(scores), 1)[:, :k]


def covers(mask, n):
  both = np.concatenate([mask.visible, mask.masked[:, 0]], 1)
  np.testing.assert_array_equal(np.sort(both, 1), np.tile(np.arange(n), (len(both), 1)))


@pytest.mark.parametrize(("progress", "k"), [(0.0, 0), (0.0135, 0), (0.014, 1), (0.5, 36), (1, 73)])
def test_the_hardest_are_masked_and_no_more_than_these_for_sure(progress, k):
  """k = trunc(147 x progress / 2): 73 and not 74 at the end."""
  scores = jax.random.normal(jax.random.key(1), (200, 196))
  mask = masks.easy_to_hard(
    jax.random.key(0), tokens_of(200, 196), scores, jnp.float32(progress), **PUBLISHED
  )
  assert mask.visible.shape == (200, 49)
  covers(mask, 196)
  hidden = np.zeros((200, 196), bool)
  np.put_along_axis(hidden, np.asarray(mask.masked[:, 0]), True, 1)
  assert np.take_along_axis(hidden, hardest(scores, k), 1).all()
  following = np.take_along_axis(hidden, hardest(scores, k + 20)[:, k:], 1)
  # The others are masked as often as any, (147 - k) / (196 - k); 4000 are looked at.
  np.testing.assert_allclose(following.mean(), (147 - k) / (196 - k), atol=5 * 0.5 / 4000**0.5)


def test_while_nothing_is_hard_it_is_the_random_mask_whatever_the_scores():
  tokens, scores = tokens_of(3, 16), jax.random.normal(jax.random.key(1), (3, 16))
  found = masks.easy_to_hard(jax.random.key(0), tokens, scores, jnp.float32(0), **PUBLISHED)
  expected = masks.random(jax.random.key(0), tokens, ratio=0.75)
  np.testing.assert_array_equal(found.visible, expected.visible)


def test_the_share_of_the_hardest_comes_with_progress_in_one_compilation():
  tokens, scores = tokens_of(2, 16), jnp.tile(jnp.arange(16.0)[None], (2, 1))
  draw = jax.jit(
    lambda progress: masks.easy_to_hard(
      jax.random.key(0), tokens, scores, progress, ratio=0.75, start=0.0, end=1.0
    )
  )
  for progress, k in ((0.0, 0), (0.5, 6), (1.0, 12)):
    hidden = np.asarray(draw(jnp.float32(progress)).masked[:, 0])
    assert (np.sort(hidden, 1)[:, 12 - k :] == np.arange(16 - k, 16)).all()
  assert draw._cache_size() == 1


def chances(scores, v):
  """How often each token is among v drawn one after the other without replacement."""
  found = np.zeros(len(scores))
  for order in itertools.permutations(range(len(scores)), v):
    left, chance = 1.0, 1.0
    for i in order:
      chance, left = chance * scores[i] / left, left - scores[i]
    found[list(order)] += chance
  return found


def test_attended_tokens_stay_as_often_as_in_the_sequential_draw():
  scores = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
  b = 20_000
  half = jnp.tile(jnp.asarray(0.5 * scores, jnp.float32)[None], (b, 1))  # its sum does not matter
  mask = masks.attention_sampled(jax.random.key(0), tokens_of(b, 5), half, ratio=0.5)
  covers(mask, 5)
  counts = np.bincount(np.asarray(mask.visible).ravel(), minlength=5) / b
  np.testing.assert_allclose(counts, chances(scores, 2), atol=5 * 0.5 / b**0.5)
  assert counts[0] > counts[4]


def test_attended_has_the_published_count_and_unattended_tokens_come_last():
  scores = jnp.zeros((4, 196)).at[:, :60].set(1 / 60)
  mask = masks.attention_sampled(jax.random.key(0), tokens_of(4, 196), scores, ratio=0.7)
  assert mask.visible.shape == (4, 58)
  assert np.asarray(mask.visible).max() < 60
  covers(mask, 196)
  assert np.isfinite(
    masks.attention_sampled(jax.random.key(0), tokens_of(4, 196), 0 * scores, ratio=0.7).visible
  ).all()


@pytest.mark.parametrize(
  "draw",
  [
    lambda *a: masks.attention_sampled(*a, ratio=0.5),
    lambda *a: masks.easy_to_hard(*a, **PUBLISHED),
  ],
)
def test_no_gradient_and_no_missing_or_misfitting_scores(draw):
  def place(scores):
    mask = draw(jax.random.key(0), tokens_of(2, 8), scores, 0.5)
    return jnp.sum(mask.weight) + 0 * jnp.sum(scores)

  np.testing.assert_array_equal(jax.grad(place)(jnp.ones((2, 8))), 0)
  with pytest.raises(InputError, match="needs scores.*masks.random"):
    draw(jax.random.key(0), tokens_of(2, 8), None, 0.5)
  with pytest.raises(InputError, match=r"\(2, 9\) for tokens \(2, 8\).*patch grid"):
    draw(jax.random.key(0), tokens_of(2, 8), jnp.ones((2, 9)), 0.5)
