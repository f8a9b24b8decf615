"""CLIP's authors' layout against transformers, live: their names stand here, apart from our tables.

The names on the left are those of openai/CLIP at 0845fc4, clip/model.py.
"""

import os

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from mim_jax import weights
from mim_jax.weights import parts as parts_lib

if not os.environ.get("CI"):
  pytest.importorskip("torch")
  pytest.importorskip("transformers")

import torch
import transformers

SIZES = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4)
BLOCK = {
  "ln_1": "layer_norm1",
  "ln_2": "layer_norm2",
  "attn.out_proj": "self_attn.out_proj",
  "mlp.c_fc": "mlp.fc1",
  "mlp.c_proj": "mlp.fc2",
}


def as_authors(theirs):
  """The arrays of CLIPVisionModelWithProjection under the names of CLIP's authors."""
  embeddings = "vision_model.embeddings."
  made = {
    "class_embedding": theirs[embeddings + "class_embedding"],
    "conv1.weight": theirs[embeddings + "patch_embedding.weight"],
    "positional_embedding": theirs[embeddings + "position_embedding.weight"],
    "proj": theirs["visual_projection.weight"].T,
  }
  for kind in ("weight", "bias"):
    made[f"ln_pre.{kind}"] = theirs[f"vision_model.pre_layrnorm.{kind}"]
    made[f"ln_post.{kind}"] = theirs[f"vision_model.post_layernorm.{kind}"]
    for i in range(SIZES["num_hidden_layers"]):
      there, here = f"vision_model.encoder.layers.{i}.", f"transformer.resblocks.{i}."
      for name, other in BLOCK.items():
        made[f"{here}{name}.{kind}"] = theirs[f"{there}{other}.{kind}"]
      qkv = [theirs[f"{there}self_attn.{x}_proj.{kind}"] for x in "qkv"]
      made[f"{here}attn.in_proj_{kind}"] = np.concatenate(qkv)
  return {f"visual.{k}": np.ascontiguousarray(x) for k, x in made.items()}


def test_the_embedding_is_that_of_transformers(tmp_path):
  torch.manual_seed(0)
  config = transformers.CLIPVisionConfig(
    **SIZES, image_size=32, patch_size=8, projection_dim=7, hidden_act="quick_gelu"
  )
  model = transformers.CLIPVisionModelWithProjection(config).eval()
  with torch.no_grad():
    for p in model.parameters():
      p.add_(0.2 * torch.randn_like(p))
  arrays = {k: x.numpy() for k, x in model.state_dict().items() if "position_ids" not in k}
  made = as_authors(arrays)
  assert sum(x.size for x in made.values()) == sum(x.size for x in arrays.values())
  safetensors.numpy.save_file(made, tmp_path / "model.safetensors")
  variables, ours = weights.load(tmp_path, heads=SIZES["num_attention_heads"])
  images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
  found = parts_lib.parts_of(ours).apply(
    variables, jnp.asarray(images), method=lambda p, x: p.head(p.encoder(p.tokenizer(x)))
  )
  with torch.no_grad():
    wanted = model(pixel_values=torch.from_numpy(images).permute(0, 3, 1, 2)).image_embeds.numpy()
  deviation = np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max()
  print(f"largest deviation {deviation:.1e}")
  assert deviation < 1e-4
