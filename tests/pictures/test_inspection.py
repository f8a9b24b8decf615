"""What an encoder sees: the right patch, head, neighbour and layer in the right place."""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import assess, core, errors, modalities
from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.encoders import swin, vit
from mim_jax.evaluate import held_out
from mim_jax.layers import stack
from mim_jax.ops import patches
from mim_jax.pictures import glyphs, grid, inspection

STILL = modalities.Image().still


@pytest.fixture(scope="module")
def mae():
  c = config_lib.get_config("mae", "dataset=embedded,size=nano")
  c.train.update(steps=2, batch_size=16)
  experiment = experiment_lib.build(c, devices=jax.devices()[:1])
  return experiment, experiment.trainable.init(jax.random.key(0))


class Known(nn.Module):
  """An encoder of which it is known whom it attends to; as an encoder, it says so when asked."""

  weights: tuple
  class_tokens: int = 1
  record: tuple[str, ...] = ()

  def __call__(self, image):
    values = jax.random.normal(jax.random.key(0), (2, 16, 5))
    extras = {"attention": jnp.asarray(self.weights)} if "attention" in self.record else {}
    return core.Latents(values, jnp.zeros((2, 1, 5)), None, extras)


def test_attention_is_that_of_the_class_token_to_each_patch():
  """Head i of image j attends to patch 3 i + j alone."""
  weights = np.full((2, 2, 1, 17), 0.01, np.float32)
  for head in range(2):
    for j in range(2):
      weights[j, head, 0, 1 + 3 * head + j] = 0.9
  parts = types.SimpleNamespace(encoder=Known(tuple(weights.tolist())).bind({}))
  batch = {"image": jax.random.uniform(jax.random.key(1), (2, 8, 8, 1))}
  shown = inspection.seen(STILL, parts, lambda parts, batch: parts.encoder(batch["image"]), batch)
  assert set(shown.panels) == {"original", "features", "attention", "head 1", "head 2"}
  for head in range(2):
    cells = patches.patchify(shown.panels[f"head {head + 1}"], 2).sum(-1)
    np.testing.assert_array_equal(np.argmax(cells, 1), [3 * head, 3 * head + 1])
  assert inspection.NO_CLASS not in shown.note


def test_a_real_encoder_s_attention_sums_to_one(mae):
  experiment, state = mae
  batch = experiment.spec.data.test[np.arange(2)]

  def ask(parts, encode, batch):
    both = encode(inspection.Attending(parts), batch), encode(parts, batch)
    return both[0].extras["attention"], both[0].values - both[1].values

  attended, apart = experiment.viewer.apply(state, ask)(batch)
  assert attended.shape == (2, 2, 1, 17)
  np.testing.assert_allclose(attended.sum(-1), 1.0, rtol=1e-5)
  np.testing.assert_allclose(apart, 0.0, atol=1e-5)  # looking changes nothing


def test_without_a_class_token_there_is_no_attention_and_it_is_said():
  latents = core.Latents(jax.random.normal(jax.random.key(0), (2, 4, 5)), jnp.zeros((2, 0, 5)))
  parts = types.SimpleNamespace(encoder=lambda image: latents)
  batch = {"image": jax.random.uniform(jax.random.key(1), (2, 8, 8, 3))}
  shown = inspection.seen(STILL, parts, lambda parts, batch: parts.encoder(batch["image"]), batch)
  assert set(shown.panels) == {"original", "features"}
  assert inspection.NO_CLASS in shown.note


@pytest.mark.parametrize(
  ("n", "shape", "grid"),
  [(16, (1, 8, 8, 1), (4, 4)), (8, (1, 4, 8, 1), (2, 4)), (4, (1, 8, 8, 3), (2, 2))],
)
def test_the_grid_follows_from_the_image(n, shape, grid):
  assert inspection.grid_of(n, shape) == grid


@pytest.mark.parametrize(
  ("n", "shape"), [(1, (1, 8, 8, 1)), (7, (1, 8, 8, 1)), (16, (1, 4, 8, 8, 1))]
)
def test_what_lies_on_no_grid_is_refused(n, shape):
  with pytest.raises(errors.InputError, match=f"four or more patches on a 2-D grid; here are {n}"):
    inspection.grid_of(n, shape)


def test_layers_are_those_of_the_encoder_and_the_last_is_what_evaluations_see(mae):
  experiment, state = mae
  batch = experiment.spec.data.test[np.arange(3)]
  found = experiment.viewer.apply(state, inspection.layers)(batch)
  assert len(found) == 2
  for i, layer in ((1, 1), (0, 1), (1, None)):
    wanted = experiment.viewer.encoder(state.params, state.stats)(batch, layer=i + 1, pool="mean")
    np.testing.assert_allclose(found[i], wanted, atol=1e-5, err_msg=str((i, layer)))


def test_every_encoder_knows_how_many_layers_it_has():
  assert vit.ViT(stack.Stack(depth=3, heads=1)).layer_count == 3
  assert swin.Swin(depths=(2, 3), heads=(1, 1)).layer_count == 5


def test_nearest_neighbours_are_by_angle_not_by_length():
  bank = np.asarray([[1.0, 0], [0, 9], [5, 5]])
  np.testing.assert_array_equal(
    inspection.nearest(bank, np.asarray([[0.1, 1.0], [8, 1]]), 2), [[1, 2], [0, 2]]
  )


def test_accuracy_by_layer_tells_a_good_layer_from_a_useless_one():
  labels = np.arange(40) % 4
  good, useless = np.eye(4)[labels] + 0.01, np.ones((40, 4))
  labels[3] = -1  # unlabelled: not counted
  found = inspection.by_layer([useless, good], labels, [useless, good], labels, k=3)
  assert found["accuracy"][1] == 1.0 and found["accuracy"][0] < 0.5
  assert found["known"] == found["asked"] == 39
  nothing = np.full(40, -1)
  assert inspection.by_layer([good], nothing, [good], nothing) == {
    "missing": "needs labels, and there are none"
  }


def test_batches_are_filled_up_and_nothing_of_that_is_kept():
  source = types.SimpleNamespace()
  numbers = np.arange(7)

  class Source:
    def __getitem__(self, rows):
      return {"x": numbers[rows], "label": numbers[rows] % 2}

  source, sizes = Source(), set()

  def ask(batch):
    sizes.add(len(batch["x"]))
    return [batch["x"][:, None] * 1.0, batch["x"][:, None] * 2.0]

  layers, labels = inspection.encoded(ask, source, np.asarray([6, 5, 4, 3, 2, 1, 0]), batch_size=3)
  np.testing.assert_array_equal(layers[1][:, 0], [12, 10, 8, 6, 4, 2, 0])
  np.testing.assert_array_equal(labels, [0, 1, 0, 1, 0, 1, 0])
  assert sizes == {3}


def test_all_of_it_for_a_run_and_a_failure_is_said_and_harms_nothing(mae, tmp_path, monkeypatch):
  experiment, state = mae
  results = {}
  assess.summarise(experiment, state, tmp_path, results)
  assert results["missing"] == {}
  assert len(list((tmp_path / "features").glob("[0-9]*.png"))) == 8
  assert (
    len(list((tmp_path / "neighbours").glob("*.png"))) == len(results["neighbours"]["said"]) == 6
  )
  assert len(results["neighbours"]["by_layer"]["accuracy"]) == 2
  monkeypatch.setattr(inspection, "draw_seen", lambda *_: 1 / 0)
  assess.summarise(experiment, state, tmp_path, results)
  assert results["missing"] == {"features": "ZeroDivisionError: division by zero"}
  assert "features" not in results and "neighbours" in results


def test_the_held_out_loss_is_the_objective_s_the_same_at_every_call_and_for_both_sides(mae):
  experiment, state = mae
  settings = experiment.trainable.loss, state
  first = held_out.held_out(*settings, experiment.spec.data, 16, 2)
  assert first == held_out.held_out(*settings, experiment.spec.data, 16, 2)
  assert first["samples"] == 352  # of 360, in batches of 16
  both = types.SimpleNamespace(train=experiment.spec.data.test, test=experiment.spec.data.test)
  same = held_out.held_out(*settings, both, 16, 2)
  assert same["train"] == same["test"] == first["test"] != first["train"]


def test_wide_samples_lie_below_each_other_to_be_read():
  """A line of text scaled to a tile of 72 pixels has letters of two."""
  batch = {"text": jnp.arange(32, 96).reshape(1, 64)}
  drawn = grid.to_bytes(np.asarray(glyphs.characters(batch["text"])))[0, ..., :3]
  query = inspection._tile(drawn)
  assert query.shape == (2 * glyphs.CELL, 32 * glyphs.CELL, 3)  # as drawn
  line = inspection.strip(query, np.stack([query] * 3), np.asarray([True, False, True]))
  assert line.shape[0] > 4 * query.shape[0]
  assert query.shape[1] < line.shape[1] < 1.1 * query.shape[1]
  np.testing.assert_array_equal(line[: query.shape[0], : query.shape[1], :3], query)
  assert {tuple(x) for x in line[:, -1]} >= {inspection.ALIKE, inspection.UNLIKE}
