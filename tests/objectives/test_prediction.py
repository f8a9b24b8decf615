"""predict_masked by hand: scores for the mask, several masks of a sample, what the Outcome holds."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, losses, masks, objectives
from mim_jax.ops import positions

STEP = core.Step(jax.random.key(0), jnp.asarray(3, jnp.int32), jnp.asarray(0.25))
B, N, D = 3, 16, 4


def cut(signal):
  where = jnp.broadcast_to(positions.grid_positions((4, 4)), (len(signal), N, 2))
  return core.Tokens(signal, where, grid=(4, 4))


def encoder(tokens, mask):
  return core.Latents(core.take(tokens.values, mask.visible), tokens.values[:, :0])


def predictor(latents, mask):
  """For every token asked for the mean of what was visible, plus its place."""
  seen = jnp.mean(latents.values, 1)[:, None, None]
  return seen + mask.masked.astype(jnp.float32)[..., None]


PARTS = types.SimpleNamespace(tokenizer=cut, encoder=encoder, predictor=predictor)
BATCH = {"signal": jax.random.normal(jax.random.key(1), (B, N, D))}


def predict(mask, target=lambda batch, teachers, drawn: batch["signal"] ** 2, **settings):
  settings = dict(entry="signal", target=target, loss=losses.squared_error) | settings
  return objectives.predict_masked(PARTS, BATCH, STEP, "the teachers", mask=mask, **settings)


def at_random(key, tokens, scores=None, progress=None):
  """Half of the tokens; of those asked for some only fill up."""
  drawn = masks.random(key, tokens, ratio=0.5)
  weight = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.7, drawn.masked.shape)
  return dataclasses.replace(drawn, weight=weight.astype(jnp.float32))


def test_the_outcome_is_what_the_loss_was_made_of():
  shown = []

  def target(batch, teachers, drawn):
    shown.append((teachers, drawn))
    return batch["signal"] ** 2

  found = predict(at_random, target)
  mask = at_random(STEP.key, cut(BATCH["signal"]))
  jax.tree.map(np.testing.assert_array_equal, found.mask, mask)
  assert shown[0][0] == "the teachers"
  assert shown[0][1] is found.mask
  signal, total, count = np.asarray(BATCH["signal"]), 0.0, 0.0
  for b in range(B):
    seen = signal[b][np.asarray(mask.visible[b])].mean(0)
    for m, place in enumerate(np.asarray(mask.masked[b, 0])):
      guess, truth = seen + place, signal[b, place] ** 2
      np.testing.assert_allclose(found.predictions[b, 0, m], guess, rtol=1e-5)
      np.testing.assert_allclose(found.targets[b, 0, m], truth, rtol=1e-5)
      weight = float(mask.weight[b, 0, m])
      total, count = total + weight * np.square(guess - truth).mean(), count + weight
  assert 0 < count < B * 8
  np.testing.assert_allclose(found.loss, total / count, rtol=1e-5)
  assert float(found.weight) == count
  assert found.metrics == {}


def test_the_mask_is_given_scores_key_and_progress():
  given = []

  def mask(key, tokens, scores, progress):
    given.append((key, scores, progress))
    return at_random(key, tokens)

  def scores(batch, teachers):
    assert teachers == "the teachers"
    return jnp.sum(batch["signal"], -1)

  predict(mask, scores=scores)
  predict(mask)
  (key, order, progress), (_, none, _) = given
  assert key is STEP.key
  assert progress is STEP.progress
  assert none is None
  np.testing.assert_allclose(order, BATCH["signal"].sum(-1), rtol=1e-6)


def test_a_mask_of_the_house_follows_the_scores():
  """The easiest are shown where all that is hidden is the hardest."""
  hardest = functools.partial(masks.easy_to_hard, ratio=0.5, start=1.0, end=1.0)
  found = predict(hardest, scores=lambda batch, teachers: jnp.sum(batch["signal"], -1))
  expected = np.argsort(-np.asarray(BATCH["signal"].sum(-1)), 1)[:, :8]
  hidden = np.sort(found.mask.masked[:, 0], 1)
  np.testing.assert_array_equal(hidden, np.sort(expected, 1))


def folded(key, tokens, scores=None, progress=None):
  """Two masks of each sample, one after the other along the batch."""
  pair = [at_random(k, tokens) for k in jax.random.split(key)]
  mixed = jax.tree.map(lambda a, b: jnp.stack([a, b], 1).reshape(-1, *a.shape[1:]), *pair)
  return dataclasses.replace(mixed, copies=2)


def test_two_masks_of_a_sample_are_as_two_calls():
  both = predict(folded)
  single = [
    predict(lambda key, tokens, *_, i=i: at_random(jax.random.split(key)[i], tokens))
    for i in range(2)
  ]
  assert both.predictions.shape == (2 * B, 1, 8, D)
  for i, one in enumerate(single):
    for name in ("predictions", "targets"):
      np.testing.assert_array_equal(getattr(both, name)[i::2], getattr(one, name))
  first, second = single
  np.testing.assert_allclose(both.weight, first.weight + second.weight)
  # Each call divides by its own weights, the two together by the sum of both.
  joined = (first.loss * first.weight + second.loss * second.weight) / both.weight
  np.testing.assert_allclose(both.loss, joined, rtol=1e-6)


def test_with_equal_weights_the_loss_is_the_mean_over_two_calls():
  even = lambda mask: dataclasses.replace(mask, weight=jnp.ones_like(mask.weight))
  both = predict(lambda *given: even(folded(*given)))
  single = [
    predict(lambda key, tokens, *_, i=i: even(at_random(jax.random.split(key)[i], tokens)))
    for i in range(2)
  ]
  np.testing.assert_allclose(both.loss, np.mean([one.loss for one in single]), rtol=1e-6)


@pytest.mark.parametrize("copies", [1, 3])
def test_rows_are_repeated_sample_by_sample(copies):
  tokens = cut(BATCH["signal"])
  found = core.repeated(tokens, copies)
  assert (found is tokens) == (copies == 1)
  for b in range(B * copies):
    np.testing.assert_array_equal(found.values[b], tokens.values[b // copies])
  assert found.grid == tokens.grid


def test_copies_that_a_mask_does_not_tell_of_are_refused():
  """Nothing is broadcast."""
  silent = lambda *given: dataclasses.replace(folded(*given), copies=1)
  with pytest.raises(ValueError, match="take: 3 rows of values but 6 of indices"):
    predict(silent)
