"""BERT: its objective by hand, its padding, and its recipe as published."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mim_jax import config as config_lib
from mim_jax import core, corruptions, heads, losses, masks, modalities, objectives, targets
from mim_jax import experiment as experiment_lib
from mim_jax.errors import InputError
from mim_jax.train import state
from mim_jax.weights import parts as parts_lib


@functools.cache
def world():
  """A network of size nano, its parameters, the objective, and texts of many lengths."""
  c = config_lib.get_config("bert", "dataset=embedded,size=nano,length=24")
  c.train.batch_size = 8
  experiment = experiment_lib.build(c, devices=jax.devices()[:1])
  random = np.random.default_rng(0)
  ids = random.integers(0, 256, (8, 24), np.int32)
  lengths = np.array([24, 24, 20, 17, 9, 5, 2, 1])
  ids = np.where(np.arange(24)[None] < lengths[:, None], ids, -1)
  begun = experiment.trainable.init(jax.random.key(0))
  return experiment, begun.params, {"text": jnp.asarray(ids)}, lengths


def seen(batch, **changed):
  """The Outcome of a batch, at step 3."""
  experiment, params, *_ = world()
  objective = functools.partial(experiment.spec.objective, **changed)
  return experiment.spec.parts.apply(
    {"params": params}, method=lambda parts: objective(parts, batch, experiment.spec.step(3), None)
  )


def test_the_objective_by_hand():
  """The loss is the mean cross-entropy at the masked bytes, of logits by the tied table."""
  experiment, params, batch, _ = world()
  outcome = seen(batch)
  mask, given = outcome.mask, np.asarray(outcome.more["inputs"])
  asked = np.asarray(mask.weight[:, 0]) > 0
  hidden = np.zeros(given.shape, bool)
  for row, index, real in zip(hidden, np.asarray(mask.masked[:, 0]), asked, strict=True):
    row[index[real]] = True
  np.testing.assert_array_equal(given[~hidden], np.asarray(batch["text"])[~hidden])
  bound = experiment.spec.parts.bind({"params": params})
  latents = bound.encoder(bound.tokenizer(outcome.more["inputs"])).values
  p, table = params["head"], np.asarray(params["tokenizer"]["table"])
  x = latents @ p["transform"]["kernel"] + p["transform"]["bias"][None, None]
  x = jax.nn.gelu(x, approximate=False)
  x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-12)
  logits = np.asarray(x @ table.T + p["bias"][None, None])
  error = -np.asarray(jax.nn.log_softmax(jnp.asarray(logits), -1))
  error = np.take_along_axis(error, np.maximum(np.asarray(batch["text"]), 0)[..., None], -1)
  assert float(outcome.weight) == hidden.sum() == 4 + 4 + 3 + 3 + 2 + 1 + 1
  np.testing.assert_allclose(outcome.loss, error[..., 0][hidden].mean(), rtol=1e-5)


def test_the_encoder_never_sees_what_is_hidden_but_for_what_is_kept():
  _, _, batch, _ = world()
  half = functools.partial(masks.random, ratio=0.5)
  first = seen(batch, mask=half)
  shown = np.array(first.more["kept"])
  for row, index in zip(shown, np.asarray(first.mask.visible), strict=True):
    row[index] = True
  change = functools.partial(modalities.Text().change, jax.random.key(9), grid=(24,))
  same = seen(change(batch, seen=jnp.asarray(shown)), mask=half)
  np.testing.assert_array_equal(first.predictions, same.predictions)
  assert (first.targets != same.targets).any()
  kept = np.asarray(first.more["kept"])
  assert kept.any()
  other = seen(change(batch, seen=jnp.asarray(shown & ~kept)), mask=half)
  assert (first.predictions != other.predictions).any()


def test_the_share_kept():
  experiment, *_ = world()
  batch = experiment.spec.view(experiment.spec.data.train[np.arange(2000)])
  tokens = experiment.spec.parts.bind({"params": world()[1]}).tokenizer(batch["text"])
  mask = masks.random(jax.random.key(0), tokens, ratio=0.15)
  corrupt = experiment.spec.objective.keywords["corruption"]
  kept = corrupt(jax.random.key(1), batch["text"], mask).kept
  assert int(kept.sum()) / float(mask.weight.sum()) == pytest.approx(0.1, abs=0.01)


@given(fill=st.integers(-300, -1), extra=st.integers(0, 9))
@settings(max_examples=8, deadline=None)
def test_padding_changes_no_latent(fill, extra):
  experiment, params, batch, _ = world()
  ids = batch["text"][:, :15]
  other = jnp.pad(jnp.where(ids < 0, fill, ids), ((0, 0), (0, extra)), constant_values=fill)
  bound = experiment.spec.parts.bind({"params": params})
  first, second = (bound.encoder(bound.tokenizer(x)) for x in (ids, other))
  real = np.asarray(ids >= 0)
  np.testing.assert_allclose(
    np.asarray(first.values)[real], np.asarray(second.values[:, :15])[real], atol=1e-5
  )
  np.testing.assert_allclose(first.prefix, second.prefix, atol=1e-5)


@given(fill=st.integers(-300, -1))
@settings(max_examples=8, deadline=None)
def test_padding_changes_no_prediction_and_no_loss(fill):
  _, _, batch, lengths = world()
  first = seen(batch)
  second = seen({"text": jnp.where(batch["text"] < 0, fill, batch["text"])})
  np.testing.assert_array_equal(first.loss, second.loss)
  asked = np.asarray(first.mask.weight) > 0
  np.testing.assert_array_equal(
    np.asarray(first.predictions)[asked], np.asarray(second.predictions)[asked]
  )
  assert (np.asarray(first.mask.masked)[asked] < np.repeat(lengths, asked.sum((1, 2)))).all()


def test_several_masks_of_a_text():
  """Rows of one text lie one after the other, each with a mask of its own."""
  _, _, batch, _ = world()

  def twice(key, tokens, scores=None, progress=None):
    drawn = masks.random(key, core.repeated(tokens, 2), ratio=0.15)
    return dataclasses.replace(drawn, copies=2)

  outcome = seen(batch, mask=twice)
  assert outcome.predictions.shape[0] == 16
  assert np.isfinite(outcome.loss)


def test_the_recipe():
  c = config_lib.get_config("bert", "size=B,path=books")
  assert (c.train.steps, c.train.batch_size) == (1_000_000, 256)
  assert c.objective.mask.ratio == 0.15
  assert (c.objective.corruption.keep, c.objective.corruption.random) == (0.1, 0.1)
  optimizer = c.optimizer
  assert (optimizer.b1, optimizer.b2, optimizer.clip) == (0.9, 0.999, 1.0)
  assert float(config_lib.build(optimizer.weight_decay)(0.5)) == pytest.approx(0.01)
  rate = config_lib.build(optimizer.learning_rate)
  assert float(rate(0.01)) == pytest.approx(0.99e-4)  # after 10,000 steps, by then on the line
  assert float(rate(0.005)) == pytest.approx(5e-5)
  assert float(rate(1.0)) == pytest.approx(0.0, abs=1e-12)
  stack = c.parts.encoder.stack
  assert (stack.depth, stack.heads, c.parts.tokenizer.width) == (12, 12, 768)
  c.data.train.length = 64  # and all that follows from it
  assert c.data.test.length == c.parts.encoder.positions.length == 64


def test_parameters_are_those_of_bert_base():
  """12 blocks of 7,087,872 numbers, as in the paper's 110 M; tables are of bytes."""
  c = config_lib.get_config("bert", "size=B,path=books")
  objective = config_lib.build(c.objective)
  step = core.Step(jax.random.key(0), jnp.zeros([], jnp.int32), jnp.zeros([]))
  run = lambda parts: objective(parts, {"text": jnp.zeros((1, 512), jnp.int32)}, step, None)
  shapes = jax.eval_shape(lambda: parts_lib.parts_of(c).init(jax.random.key(0), method=run))
  found = {name: state.count(tree) for name, tree in shapes["params"].items()}
  assert state.count(shapes["params"]["encoder"]["stack"]) == 12 * 7_087_872
  assert found["head"] == 768 * 768 + 3 * 768 + 257
  assert found["tokenizer"] == 257 * 768


def test_a_head_without_a_table_says_so():
  with pytest.raises(InputError, match="parts.head: .* tied to a tokenizer's table"):
    heads.Vocabulary().init(jax.random.key(0), jnp.zeros((1, 2, 8)))


def test_a_text_longer_than_its_positions_says_so():
  experiment, params, *_ = world()
  bound = experiment.spec.parts.bind({"params": params})
  with pytest.raises(InputError, match="25 tokens of 1 coordinates; .* up to 24 tokens"):
    bound.encoder(bound.tokenizer(jnp.zeros((1, 25), jnp.int32)))


def test_another_corruption_fits_the_objective():
  """What is shifted instead of hidden, with a head of its own: the order of the parts is the same."""
  _, _, batch, _ = world()

  def shifted(key, inputs, mask):
    return core.Corrupted(jnp.where(inputs < 0, inputs, (inputs + 1) % 256), mask.present & False)

  outcome = seen(batch, corruption=shifted)
  np.testing.assert_array_equal(
    outcome.more["inputs"], jnp.where(batch["text"] < 0, -1, (batch["text"] + 1) % 256)
  )
  assert objectives.predict_corrupted and corruptions and losses and targets
