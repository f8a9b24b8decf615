"""MultiMAE: pool, tasks, losses, the predictor of one modality, subsets, the recipe."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core, layers, targets, tokenizers
from mim_jax import experiment as experiment_lib
from mim_jax.devices import mesh
from mim_jax.errors import InputError
from mim_jax.layers import cross, init
from mim_jax.layers.self_attention import Attention
from mim_jax.methods import multimae
from mim_jax.ops import gather, positions
from mim_jax.optim import rules

GRID, B, WIDTH = (3, 2, 2), 2, 12
NET = multimae.MultimodalDecoder(width=16, target_width=5, stack=layers.Stack(depth=1, heads=2))
predict = jax.jit(NET.apply)


@functools.cache
def small():
  config = config_lib.get_config("multimae", "dataset=digits,size=nano")
  config.train.update(dict(steps=10, batch_size=16))
  config.parts.encoder.stack.depth = 1
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


def test_samples_count_alike_however_much_of_them_is_hidden():
  values = jnp.asarray([[[1.0, 1.0, 9.0]], [[5.0, 7.0, 7.0]], [[3.0, 3.0, 3.0]]])
  weight = jnp.asarray([[[1.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]]])
  assert multimae.sample_mean(values, weight) == 3.0  # of 1 and 5; the third has nothing hidden
  assert multimae.sample_mean(values, jnp.zeros_like(weight)) == 0.0


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


@functools.cache
def world():
  """Mask of a pool of 3 x 4 tokens, latents of the 5 visible ones, parameters, predictions."""
  where = jnp.tile(positions.grid_positions(GRID[1:]), (3, 1))
  tokens = core.Tokens(jnp.zeros((B, 12, WIDTH)), jnp.tile(where, (B, 1, 1)), grid=GRID)
  visible = jnp.asarray([[7, 0, 4, 11, 5], [3, 2, 1, 8, 0]], jnp.int32)
  places = jnp.tile(jnp.arange(12, dtype=jnp.int32).reshape(3, 4), (B, 1, 1))
  weight = 1.0 - gather.member(visible, 12).astype(jnp.float32).reshape(B, 3, 4)
  mask = core.make_mask(tokens, visible, places, weight)
  keys = jax.random.split(jax.random.key(1))
  latents = core.Latents(
    jax.random.normal(keys[0], (B, 5, WIDTH)), jax.random.normal(keys[1], (B, 1, WIDTH))
  )
  params = jax.jit(NET.init)(jax.random.key(2), latents, mask)
  noisy = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(jax.random.key(3), p.shape), params)
  return mask, latents, noisy, predict(noisy, latents, mask)


def close(a, b):
  np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_a_group_is_predicted_as_it_would_be_alone():
  mask, latents, params, predictions = world()
  assert predictions.shape == (B, 3, 4, 5)
  for i in range(3):
    close(predict(params, latents, multimae.group(mask, i)), predictions[:, i : i + 1])


@jax.jit
def questions(params, latents, mask):
  """What goes into the cross-attention as questions, normed, [b n d]."""
  wanted = dict(capture_intermediates=lambda module, _: module.name == "norm_asked")
  _, state = NET.apply(params, latents, mask, **wanted)
  return state["intermediates"]["norm_asked"]["__call__"][0].reshape(B, 12, -1)


def test_visible_places_ask_with_their_own_content_and_hidden_ones_with_none():
  mask, latents, params, _ = world()
  other = dataclasses.replace(latents, values=latents.values + 1.0)
  before, after = (questions(params, x, mask) for x in (latents, other))
  changed = np.abs(before - after).max(-1) > 1e-4
  np.testing.assert_array_equal(changed, np.asarray(mask.weight).reshape(B, 12) == 0)


def test_the_order_of_visible_tokens_does_not_matter():
  mask, latents, params, predictions = world()
  turned = dataclasses.replace(mask, visible=mask.visible[:, ::-1])
  close(
    predict(params, dataclasses.replace(latents, values=latents.values[:, ::-1]), turned),
    predictions,
  )


def test_padding_counts_for_nothing():
  mask, latents, params, predictions = world()
  extra = jnp.argmax(mask.weight.reshape(B, -1), -1)[:, None].astype(mask.visible.dtype)
  padded = dataclasses.replace(
    mask,
    visible=jnp.concatenate([mask.visible, extra], 1),
    valid=jnp.tile(jnp.arange(6)[None] < 5, (B, 1)),
  )
  more = dataclasses.replace(latents, values=jnp.pad(latents.values, ((0, 0), (0, 1), (0, 0))))
  close(predict(params, more, padded), predictions)


def test_there_is_no_residual_around_the_cross_attention():
  """With its last map at 0 the questions are lost: all places are predicted alike."""
  mask, latents, params, _ = world()
  out = params["params"]["cross"]["out"]
  silent = {"params": {**params["params"]}}
  silent["params"]["cross"] = {
    **params["params"]["cross"],
    "out": jax.tree.map(jnp.zeros_like, out),
  }
  found = np.asarray(predict(silent, latents, mask))
  close(found, np.broadcast_to(found[:1, :1, :1], found.shape))


def test_origins_tell_modalities_apart():
  """Same place, same content, another modality: only the learned embedding differs."""
  mask, latents, params, predictions = world()
  swapped = {"params": {**params["params"]}}
  swapped["params"]["signal_embedding"] = params["params"]["signal_embedding"][::-1]
  assert np.abs(predict(swapped, latents, mask) - predictions).max() > 1e-3
  assert params["params"]["signal_embedding"].shape == (3, 16)


def test_queries_keys_and_values_start_each_on_their_own():
  """Uniform in +-sqrt(6 / 2d) for each square map, not the narrower bound of the fused matrix."""
  d = 24
  bound = (6 / (2 * d)) ** 0.5
  x = jnp.zeros((1, 2, d))
  for kernels, wanted in (("xavier_per_projection", bound), ("xavier", bound / 2**0.5)):
    settings = dict(heads=2, kernel_init=kernels)
    attention = Attention(**settings).init(jax.random.key(0), x)
    asking = cross.CrossAttention(**settings).init(jax.random.key(0), x, x)["params"]
    drawn = [attention["params"]["qkv"], asking["query"], asking["key_value"]]
    for kernel in (np.abs(p["kernel"]) for p in drawn):
      assert 0.97 * wanted < kernel.max() <= wanted * 1.0001
  plain = init.kernel("xavier_per_projection")(jax.random.key(0), (d, 4 * d))
  assert np.abs(plain).max() <= (6 / (5 * d)) ** 0.5


def encoded(names_):
  experiment, state, _ = small()
  batch = experiment.spec.view(experiment.spec.data.test[np.arange(3)])

  def encode(parts):
    return multimae.encode_modalities(parts, batch, modalities=names_)

  return jax.jit(lambda: experiment.spec.parts.apply({"params": state.params}, method=encode))()


def test_any_subset_of_modalities_can_be_encoded():
  whole = encoded(("image", "depth", "semantic"))
  assert whole.values.shape == (3, 48, 24)
  assert whole.prefix.shape == (3, 1, 24)
  for subset in (("image",), ("depth", "semantic"), ("semantic", "image")):
    assert encoded(subset).values.shape == (3, 16 * len(subset), 24)
  # The order of modalities says nothing: a token's origin lies in its own map.
  turned = encoded(("semantic", "depth", "image")).values.reshape(3, 3, 16, 24)[:, ::-1]
  np.testing.assert_allclose(turned.reshape(whole.values.shape), whole.values, rtol=1e-4, atol=1e-5)
  # One modality sees the others.
  alone = encoded(("image",)).values
  assert np.abs(whole.values[:, :16] - alone).max() > 1e-2


def test_evaluations_encode_what_the_config_says():
  experiment, state, _ = small()
  images = experiment.spec.data.test[np.arange(3)]["image"]
  alone = jax.jit(experiment.viewer.encode)(state.params, jnp.asarray(images))
  np.testing.assert_allclose(alone, encoded(("image",)).values, rtol=1e-4, atol=1e-5)
  config = config_lib.from_json(config_lib.to_json(experiment.spec.config))
  config.encode.modalities = ("depth", "image")
  other = experiment_lib.build(config, devices=jax.devices()[:1])
  found = other.viewer.encoder(state.params, {})(other.spec.data.test[np.arange(3)], pool="tokens")
  np.testing.assert_allclose(found, encoded(("depth", "image")).values, rtol=1e-4, atol=1e-5)
  with pytest.raises(InputError, match=r"depth asked for.*share image"):
    other.viewer.encode(state.params, jnp.asarray(images))


def test_modalities_that_do_not_fit_are_refused():
  experiment, state, _ = small()
  batch = experiment.spec.view(experiment.spec.data.test[np.arange(2)])

  def pool(batch, names_):
    run = lambda parts: multimae.pooled(parts, batch, names_)
    return experiment.spec.parts.apply({"params": state.params}, method=run)

  with pytest.raises(InputError, match=r"normals asked for.*depth, image, semantic"):
    pool(batch, ("image", "normals"))
  with pytest.raises(InputError, match=r"one grid; they lie on image \(4, 4\), semantic \(2, 2\)"):
    pool(batch | {"semantic": batch["semantic"][:, :4, :4]}, ("image", "semantic"))


def test_a_modality_that_is_only_predicted():
  """Never an input, by concentration 0: it changes its own loss and nothing else."""
  experiment, state, _ = small()
  config = config_lib.from_json(config_lib.to_json(experiment.spec.config))
  config.objective.mask.concentration = (1.0, 0.0, 1.0)
  del config.objective.tasks["image_normalized"], config.objective.tasks["semantic"]
  other = experiment_lib.build(config, devices=jax.devices()[:1])
  raw = other.spec.data.train[np.arange(16)]
  run = jax.jit(lambda batch: other.trainable.loss(state.params, batch, 3)[1])
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
    InputError, match=r"'imagenet2012' is unknown.*arrays, digits, folder.*Images with maps"
  ):
    config_lib.get_config("multimae", "dataset=imagenet2012")


@pytest.mark.parametrize("split", ["train", "test"])
def test_maps_are_made_of_arrays(split):
  c = config_lib.get_config("multimae", "dataset=arrays,path=own.npz,size=nano,image=48")
  node = c.data[split]
  wanted = ("mim_jax.data.pool.arrays_with_maps", "own.npz", split)
  assert (node.part, node.path, node.split) == wanted
