"""MAE against arrays recorded from transformers' ViTMAEForPreTraining; see golden/README.md."""

import pathlib
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, encoders, layers, losses, objectives, predictors, targets, tokenizers
from mim_jax.ops import gather, patches, positions

GOLDEN = pathlib.Path(__file__).parent / "golden"
PATCH, DEPTH, DECODER_DEPTH, VISIBLE = 8, 3, 2, 4


@pytest.fixture(scope="module")
def golden():
  return dict(np.load(GOLDEN / "mae_tiny.npz"))


@pytest.fixture(scope="module")
def recorded_gradients():
  return dict(np.load(GOLDEN / "mae_tiny_grads.npz"))


def linear(prefix, arrays):
  return {"kernel": arrays[f"{prefix}.weight"].T, "bias": arrays[f"{prefix}.bias"]}


def norm(prefix, arrays):
  return {"scale": arrays[f"{prefix}.weight"], "bias": arrays[f"{prefix}.bias"]}


def blocks(prefix, depth, arrays):
  def block(p):
    qkv = [linear(f"{p}.attention.{name}_proj", arrays) for name in "qkv"]
    fused = {k: np.concatenate([x[k] for x in qkv], -1) for k in ("kernel", "bias")}
    return {
      "norm1": norm(f"{p}.layernorm_before", arrays),
      "attention": {"qkv": fused, "out": linear(f"{p}.attention.o_proj", arrays)},
      "norm2": norm(f"{p}.layernorm_after", arrays),
      "mlp": {"up": linear(f"{p}.mlp.fc1", arrays), "down": linear(f"{p}.mlp.fc2", arrays)},
    }

  return {f"block_{i:02d}": block(f"{prefix}.{i}") for i in range(depth)}


def ours(arrays):
  """transformers' arrays (weights or gradients) under our names and layouts."""
  projection = arrays["vit.embeddings.patch_embeddings.projection.weight"]
  return {
    "tokenizer": {
      "embed": {
        "kernel": projection.transpose(2, 3, 1, 0).reshape(-1, projection.shape[0]),
        "bias": arrays["vit.embeddings.patch_embeddings.projection.bias"],
      }
    },
    "encoder": {
      "class_token": arrays["vit.embeddings.cls_token"],
      "stack": blocks("vit.layers", DEPTH, arrays),
      "norm": norm("vit.layernorm", arrays),
    },
    "predictor": {
      "embed": linear("decoder.decoder_embed", arrays),
      "mask_token": arrays["decoder.mask_token"][None],
      "stack": blocks("decoder.decoder_layers", DECODER_DEPTH, arrays),
      "norm": norm("decoder.decoder_norm", arrays),
      "head": linear("decoder.decoder_pred", arrays),
    },
  }


class Parts(nn.Module):
  def setup(self):
    self.tokenizer = tokenizers.ImagePatches(patch=PATCH, width=48)
    self.encoder = encoders.ViT(stack=layers.Stack(depth=DEPTH, heads=4))
    self.predictor = predictors.Transformer(
      width=32, target_width=PATCH**2 * 3, stack=layers.Stack(depth=DECODER_DEPTH, heads=4)
    )


def run(golden, method, params=None):
  params = (
    ours({k[6:]: v for k, v in golden.items() if k.startswith("param/")})
    if params is None
    else params
  )
  return Parts().apply({"params": params}, method=method)


def recorded_mask(golden):
  def mask(key, tokens, guide=None, progress=None):
    order = jnp.argsort(jnp.asarray(golden["noise"]), axis=1)
    return core.make_mask(tokens, order[:, :VISIBLE], order[:, VISIBLE:])

  return mask


def loss_of(golden, normalize):
  def objective(parts):
    step = core.Step(jax.random.key(0), jnp.int32(0), jnp.float32(0))
    return objectives.predict_masked(
      parts,
      {"image": jnp.asarray(golden["images"])},
      step,
      types.SimpleNamespace(),
      entry="image",
      mask=recorded_mask(golden),
      target=lambda batch, teachers: targets.pixels(batch, patch=PATCH, normalize=normalize),
      loss=losses.squared_error,
    ).loss

  return objective


def near(found, expected, relative=1e-4):
  """Within `relative` of the largest recorded value."""
  expected = np.asarray(expected)
  np.testing.assert_allclose(
    found, expected, rtol=0, atol=relative * max(np.abs(expected).max(), 1e-6)
  )


def test_patch_order_is_row_column_channel(golden):
  found = patches.patchify(jnp.asarray(golden["images"]), PATCH)
  np.testing.assert_array_equal(found, golden["patches"])


def test_normalised_target_uses_the_unbiased_variance(golden):
  found = targets.pixels({"image": jnp.asarray(golden["images"])}, patch=PATCH, normalize=True)
  near(found, golden["targets_norm"], 1e-6)
  cut = golden["patches"]
  biased = (cut - cut.mean(-1, keepdims=True)) / np.sqrt(cut.var(-1, keepdims=True) + 1e-6)
  assert (
    np.abs(biased - golden["targets_norm"]).max() > 1e-3
  )  # the tolerance would notice the other one


@pytest.mark.parametrize(("name", "width"), [("encoder_pos_embed", 48), ("decoder_pos_embed", 32)])
def test_positions(golden, name, width):
  recorded = golden[name][0]
  np.testing.assert_array_equal(recorded[0], 0)  # the class token has none
  near(positions.sincos(positions.grid_positions((4, 4)), width), recorded[1:], 1e-6)


def test_encoder_and_predictor_outputs(golden):
  def look(parts):
    tokens = parts.tokenizer(jnp.asarray(golden["images"]))
    mask = recorded_mask(golden)(None, tokens)
    latents = parts.encoder(tokens, mask)
    return mask, latents, parts.predictor(latents, mask)

  mask, latents, predictions = run(golden, look)
  np.testing.assert_array_equal(mask.visible, golden["ids_keep"])
  near(np.concatenate([latents.prefix, latents.values], 1), golden["encoder_last_hidden_state"])
  near(
    predictions[:, 0],
    np.take_along_axis(golden["logits"], np.asarray(mask.masked[:, 0])[..., None], 1),
  )


def test_inverse_is_the_recorded_one(golden):
  order = jnp.argsort(jnp.asarray(golden["noise"]), axis=1)
  np.testing.assert_array_equal(gather.inverse(order), golden["ids_restore"])


@pytest.mark.parametrize(("normalize", "name"), [(True, "loss"), (False, "loss_no_norm_pix")])
def test_loss(golden, normalize, name):
  np.testing.assert_allclose(run(golden, loss_of(golden, normalize)), golden[name], rtol=1e-5)


def test_gradient_of_every_parameter(golden, recorded_gradients):
  params = ours({k[6:]: v for k, v in golden.items() if k.startswith("param/")})
  found = jax.grad(lambda p: run(golden, loss_of(golden, True), p))(params)
  expected = ours({k[5:]: v for k, v in recorded_gradients.items()})
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  for path, value in jax.tree_util.tree_leaves_with_path(expected):
    leaf = found
    for key in path:
      leaf = leaf[key.key]
    near(leaf, value)
