"""VideoMAE against arrays recorded from transformers' VideoMAEForPreTraining; see golden/README.md."""

import pathlib
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, encoders, layers, losses, objectives, predictors, targets, tokenizers
from mim_jax.ops import positions

GOLDEN = pathlib.Path(__file__).parent / "golden"
TUBELET, PATCH, DEPTH, VISIBLE = 2, 4, 2, 8
IMAGENET_STD = (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def golden():
  return dict(np.load(GOLDEN / "videomae_tiny.npz"))


def linear(prefix, arrays):
  return {"kernel": arrays[f"{prefix}.weight"].T, "bias": arrays[f"{prefix}.bias"]}


def norm(prefix, arrays):
  return {"scale": arrays[f"{prefix}.weight"], "bias": arrays[f"{prefix}.bias"]}


def attention(prefix, arrays, key_bias):
  """The reference has no bias of keys; where ours has one, it is 0."""
  names = [f"{prefix}.attention.{name}" for name in ("query", "key", "value")]
  query, value = (arrays[f"{names[i]}.bias"] for i in (0, 2))
  qkv = {"kernel": np.concatenate([arrays[f"{name}.weight"].T for name in names], -1)}
  biases = {"query_bias": query, "value_bias": value}
  if key_bias:
    qkv["bias"], biases = np.concatenate([query, np.zeros_like(query), value]), {}
  return {"qkv": qkv, "out": linear(f"{prefix}.output.dense", arrays), **biases}


def blocks(prefix, arrays, key_bias):
  def block(p):
    return {
      "norm1": norm(f"{p}.layernorm_before", arrays),
      "attention": attention(f"{p}.attention", arrays, key_bias),
      "norm2": norm(f"{p}.layernorm_after", arrays),
      "mlp": {
        "up": linear(f"{p}.intermediate.dense", arrays),
        "down": linear(f"{p}.output.dense", arrays),
      },
    }

  return {f"block_{i:02d}": block(f"{prefix}.{i}") for i in range(DEPTH)}


def ours(arrays):
  """transformers' weights under our names and layouts."""
  projection = arrays["videomae.embeddings.patch_embeddings.projection.weight"]
  return {
    "tokenizer": {
      "embed": {
        "kernel": projection.transpose(2, 3, 4, 1, 0).reshape(-1, projection.shape[0]),
        "bias": arrays["videomae.embeddings.patch_embeddings.projection.bias"],
      }
    },
    "encoder": {
      "stack": blocks("videomae.encoder.layer", arrays, key_bias=False),
      "norm": norm("videomae.layernorm", arrays),
    },
    "predictor": {
      "embed": {"kernel": arrays["encoder_to_decoder.weight"].T},
      "mask_token": arrays["mask_token"][None],
      "stack": blocks("decoder.decoder_layers", arrays, key_bias=True),
      "norm": norm("decoder.norm", arrays),
      "head": linear("decoder.head", arrays),
    },
  }


class Parts(nn.Module):
  def setup(self):
    self.tokenizer = tokenizers.VideoCubes(tubelet=TUBELET, patch=PATCH, width=32)
    self.encoder = encoders.ViT(
      stack=layers.Stack(depth=DEPTH, heads=4, key_bias=False), class_tokens=0
    )
    self.predictor = predictors.Transformer(
      width=16,
      target_width=TUBELET * PATCH**2 * 3,
      stack=layers.Stack(depth=DEPTH, heads=2),
      bias=False,
    )


def run(golden, method, params=None):
  recorded = {k[6:]: v for k, v in golden.items() if k.startswith("param/")}
  return Parts().apply({"params": ours(recorded) if params is None else params}, method=method)


def recorded_mask(golden):
  def mask(key, tokens, guide=None, progress=None):
    order = np.argsort(golden["mask"], axis=1, kind="stable")
    return core.make_mask(tokens, jnp.asarray(order[:, :VISIBLE]), jnp.asarray(order[:, VISIBLE:]))

  return mask


def loss_of(golden):
  def objective(parts):
    step = core.Step(jax.random.key(0), jnp.int32(0), jnp.float32(0))
    return objectives.predict_masked(
      parts,
      {"image": jnp.asarray(golden["clip"])},
      step,
      types.SimpleNamespace(),
      entry="image",
      mask=recorded_mask(golden),
      target=lambda batch, teachers: targets.cubes(
        batch, tubelet=TUBELET, patch=PATCH, std=IMAGENET_STD
      ),
      loss=losses.squared_error,
    ).loss

  return objective


def near(found, expected, relative=1e-4):
  """Within `relative` of the largest recorded value."""
  expected = np.asarray(expected)
  np.testing.assert_allclose(
    found, expected, rtol=0, atol=relative * max(np.abs(expected).max(), 1e-6)
  )


@pytest.mark.parametrize(("name", "width"), [("encoder_pos_embed", 32), ("decoder_pos_embed", 16)])
def test_positions_are_those_of_the_flattened_index(golden, name, width):
  near(positions.sincos(positions.grid_positions((32,)), width), golden[name][0], 1e-5)


def test_encoder_and_predictor_outputs(golden):
  def look(parts):
    tokens = parts.tokenizer(jnp.asarray(golden["clip"]))
    mask = recorded_mask(golden)(None, tokens)
    latents = parts.encoder(tokens, mask)
    return latents.values, latents.prefix, parts.predictor(latents, mask)[:, 0]

  latents, prefix, predictions = run(golden, look)
  assert prefix.shape == (2, 0, 32)
  near(latents, golden["encoder_last_hidden_state"])
  near(predictions, golden["logits"])


def test_loss(golden):
  near(run(golden, loss_of(golden)), golden["loss"], 1e-5)


def test_gradients(golden):
  recorded = {k[6:]: v for k, v in golden.items() if k.startswith("param/")}
  found = jax.grad(lambda params: run(golden, loss_of(golden), params))(ours(recorded))
  grads = {k[5:]: v for k, v in golden.items() if k.startswith("grad/")}
  projection = grads["videomae.embeddings.patch_embeddings.projection.weight"]
  near(
    found["tokenizer"]["embed"]["kernel"],
    projection.transpose(2, 3, 4, 1, 0).reshape(-1, projection.shape[0]),
  )
  near(found["predictor"]["mask_token"], grads["mask_token"][None])
  near(found["predictor"]["embed"]["kernel"], grads["encoder_to_decoder.weight"].T)
  query = grads["videomae.encoder.layer.0.attention.attention.query.weight"]
  near(found["encoder"]["stack"]["block_00"]["attention"]["qkv"]["kernel"][:, :32], query.T)
