"""MultiMAE: pool, tasks, losses, subsets of signals, the recipe."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax import losses, targets, tokenizers
from mim_jax.devices import mesh
from mim_jax.errors import InputError
from mim_jax.methods import multimae as signals
from mim_jax.optim import rules


@functools.cache
def small():
  config = config_lib.get_config("multimae", "dataset=digits,size=nano")
  config.train.update(dict(steps=10, batch_size=16))
  config.parts.encoder.depth = 1
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  batch = {k: jnp.asarray(v) for k, v in experiment.spec.data.train[np.arange(16)].items()}
  return experiment, experiment.trainable.init(jax.random.key(0)), batch


def test_one_and_eight_devices_give_the_same_losses():
  experiment, state, batch = small()
  state, found = jax.device_get(state), []
  for devices in (1, 8):
    experiment = experiment_lib.build(experiment.spec.config, devices=jax.devices()[:devices])
    batch = mesh.to_devices(batch, experiment.spec.mesh)
    loss, metrics = jax.jit(experiment.trainable.loss)(state.params, batch, 3)
    found.append([float(x) for x in (loss, *(metrics[name] for name in sorted(metrics)))])
    assert sorted(metrics) == [
      f"loss_{n}" for n in ("depth", "image", "image_normalized", "semantic")
    ]
  np.testing.assert_allclose(*found, rtol=1e-5)
  assert found[0][0] == pytest.approx(sum(found[0][1:]), rel=1e-5)  # no weights


def test_images_count_alike_however_much_of_them_is_hidden():
  values = jnp.asarray([[[1.0, 1.0, 9.0]], [[5.0, 7.0, 7.0]], [[3.0, 3.0, 3.0]]])
  weight = jnp.asarray([[[1.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]]])
  assert signals.image_mean(values, weight) == 3.0  # of 1 and 5; the third has nothing hidden
  assert signals.image_mean(values, jnp.zeros_like(weight)) == 0.0


def test_pixel_cross_entropy_by_hand():
  rng = np.random.default_rng(0)
  scores, ids = rng.normal(size=(2, 1, 3, 4, 5)), rng.integers(0, 5, (2, 1, 3, 4))
  share = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
  wanted = -np.log(np.take_along_axis(share, ids[..., None], -1))[..., 0].mean(-1)
  found = losses.pixel_cross_entropy(
    jnp.asarray(scores.reshape(2, 1, 3, 20), jnp.float32), jnp.asarray(ids, jnp.int32)
  )
  np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_class_targets_and_tokens_go_patch_by_patch():
  ids = jnp.asarray(np.arange(16).reshape(1, 4, 4), jnp.int32)
  cut = targets.class_ids({"semantic": ids}, patch=2)
  np.testing.assert_array_equal(
    cut[0], [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
  )
  part = tokenizers.ClassPatches(patch=2, width=6, classes=16, class_width=3)
  params = part.init(jax.random.key(0), ids)
  tokens = part.apply(params, ids)
  table, embed = params["params"]["class_embedding"], params["params"]["embed"]
  wanted = table[cut[0]].reshape(4, 12) @ embed["kernel"] + embed["bias"][None]
  np.testing.assert_allclose(tokens.values[0], wanted, rtol=1e-5, atol=1e-6)
  assert tokens.grid == (2, 2)
  np.testing.assert_array_equal(tokens.positions[0], [[0, 0], [0, 1], [1, 0], [1, 1]])


def encoded(names_):
  experiment, state, _ = small()
  batch = experiment.spec.view(experiment.spec.data.test[np.arange(3)])

  def encode(parts):
    return signals.encode_modalities(parts, batch, signals=names_)

  return jax.jit(lambda: experiment.spec.parts.apply({"params": state.params}, method=encode))()


def test_any_subset_of_signals_can_be_encoded():
  whole = encoded(("image", "depth", "semantic"))
  assert whole.values.shape == (3, 48, 24)
  assert whole.prefix.shape == (3, 1, 24)
  for subset in (("image",), ("depth", "semantic"), ("semantic", "image")):
    assert encoded(subset).values.shape == (3, 16 * len(subset), 24)
  # The order of signals says nothing: a token's origin lies in its own map.
  turned = encoded(("semantic", "depth", "image")).values.reshape(3, 3, 16, 24)[:, ::-1]
  np.testing.assert_allclose(turned.reshape(whole.values.shape), whole.values, rtol=1e-4, atol=1e-5)
  # One signal sees the others.
  alone = encoded(("image",)).values
  assert np.abs(whole.values[:, :16] - alone).max() > 1e-2


def test_evaluations_encode_what_the_config_says():
  experiment, state, _ = small()
  images = experiment.spec.data.test[np.arange(3)]["image"]
  alone = jax.jit(experiment.viewer.encode)(state.params, jnp.asarray(images))
  np.testing.assert_allclose(alone, encoded(("image",)).values, rtol=1e-4, atol=1e-5)
  config = config_lib.from_json(config_lib.to_json(experiment.spec.config))
  config.encode.signals = ("depth", "image")
  other = experiment_lib.build(config, devices=jax.devices()[:1])
  found = other.encoder(state.params, {})(other.data.test[np.arange(3)], pool="tokens")
  np.testing.assert_allclose(found, encoded(("depth", "image")).values, rtol=1e-4, atol=1e-5)
  with pytest.raises(InputError, match=r"depth asked for.*share image"):
    other.encode(state.params, jnp.asarray(images))


def test_signals_that_do_not_fit_are_refused():
  experiment, state, _ = small()
  batch = experiment.spec.view(experiment.spec.data.test[np.arange(2)])

  def pool(batch, names_):
    run = lambda parts: signals.pooled(parts, batch, names_)
    return experiment.spec.parts.apply({"params": state.params}, method=run)

  with pytest.raises(InputError, match=r"normals asked for.*depth, image, semantic"):
    pool(batch, ("image", "normals"))
  with pytest.raises(InputError, match=r"one grid; they lie on image \(4, 4\), semantic \(2, 2\)"):
    pool(batch | {"semantic": batch["semantic"][:, :4, :4]}, ("image", "semantic"))


def test_a_signal_that_is_only_predicted():
  """Never an input, by concentration 0: it changes its own loss and nothing else."""
  experiment, state, _ = small()
  config = config_lib.from_json(config_lib.to_json(experiment.spec.config))
  config.objective.mask.concentration = (1.0, 0.0, 1.0)
  del config.objective.tasks["image_normalized"], config.objective.tasks["semantic"]
  other = experiment_lib.build(config, devices=jax.devices()[:1])
  raw = other.data.train[np.arange(16)]
  run = jax.jit(lambda batch: other.loss(state.params, batch, 3)[1])
  before, after = run(raw), run(raw | {"depth": raw["depth"][:, ::-1].copy()})
  changed = {name for name in before if not np.allclose(before[name], after[name], rtol=1e-6)}
  assert changed == {"loss_depth"}


@pytest.fixture(scope="module")
def published():
  return config_lib.get_config("multimae", "size=B,path=somewhere")


def test_the_published_numbers(published):
  assert published.objective.mask.visible == 98
  assert published.train.batch_size == 2048
  assert published.optimizer.learning_rate.peak == pytest.approx(8e-4)
  assert published.parts.encoder.norm == "none"
  assert published.parts.tokenizers.semantic.patch == 4
  widths = {name: part.target_width for name, part in published.parts.predictors.items()}
  assert widths == dict(image=768, image_normalized=768, depth=256, semantic=2128)
  assert published.parts.predictors.semantic.dtype == "float32"
  rate = config_lib.build(published.optimizer.learning_rate)
  np.testing.assert_allclose(rate(np.array([0.0, 40 / 1600, 1.0])), [0, 8e-4, 0], atol=1e-9)


def test_every_parameter_decays():
  experiment, state, _ = small()
  factors = rules.match_rules(
    experiment.spec.config.optimizer.weight_decay_rules, state.params, "decay"
  )
  assert set(jax.tree.leaves(factors)) == {1.0}


def test_a_data_set_without_maps_is_refused():
  with pytest.raises(
    InputError, match=r"'imagenet2012' is unknown.*arrays, digits, folder.*paired signals"
  ):
    config_lib.get_config("multimae", "dataset=imagenet2012")
