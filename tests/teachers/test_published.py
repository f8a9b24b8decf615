"""Published networks as teachers: by path and hash, with their own size, scale and type."""

import types

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import encoders, experiment, layers, tokenizers
from mim_jax.config import part
from mim_jax.ops import resize
from mim_jax.targets import latent
from mim_jax.teachers import frozen
from mim_jax.weights import export, native
from mim_jax.weights import parts as parts_lib

# 4 x 4 patches of 4 pixels, where the student's are of 2.
KINDS = {
  "clip_vision_model": dict(pre_norm=True, activation="quick_gelu", epsilon=1e-5),
  "dinov2_with_registers": dict(registers=3, layer_scale=1.0),
  "vit": {},
}
VIEW = dict(size=(16, 16), mean=(0.2,), std=(0.7,))


@pytest.fixture(scope="module", params=KINDS)
def published(request, tmp_path_factory):
  """(folder of a network in transformers' layout, its parts)."""
  folder = tmp_path_factory.mktemp("published")
  settings = dict(KINDS[request.param])
  inner = {k: settings.pop(k) for k in ("activation", "epsilon", "layer_scale") if k in settings}
  stack = part(layers.Stack, depth=2, heads=2, **inner)
  positions = part(layers.Learned, grid=(4, 4))
  encoder = part(encoders.ViT, stack=stack, positions=positions, **settings)
  bias = request.param != "clip_vision_model"
  config = ml_collections.ConfigDict(
    dict(
      parts=dict(
        tokenizer=part(tokenizers.ImagePatches, patch=4, width=16, bias=bias), encoder=encoder
      ),
      data=dict(view=VIEW),
    )
  )
  random = np.random.default_rng(0)
  shapes = parts_lib.shapes(config)
  drawn = {k: random.normal(scale=0.3, size=s).astype(np.float32) for k, s in shapes.items()}
  variables = parts_lib.unflat(drawn)
  export.write(folder, variables, config, format=f"hf:{request.param}", note={})
  return folder, parts_lib.parts_of(config).bind(jax.tree.map(jnp.asarray, variables))


def test_maskalign_learns_from_it_and_pins_it(published):
  folder, _ = published
  c = config_lib.get_config("maskalign", f"dataset=digits,size=nano,teacher={folder}")
  assert c.teachers.frozen.sha256 == native.pinned(folder)["sha256"]
  view = c.objective.target.view
  assert view.size == (16, 16) and view.wanted == ((0.2,), (0.7,))
  c.train.update(dict(steps=4, batch_size=2))
  run = experiment.build(c, devices=jax.devices()[:1])
  state = run.trainable.init(jax.random.key(0))
  batch = run.spec.data.train[np.arange(2)]
  loss, gradients = jax.value_and_grad(lambda p: run.trainable.loss(p, batch, 1, state.teacher)[0])(
    state.params
  )
  assert np.isfinite(loss)
  assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradients["encoder"]["stack"]))


def test_its_latents_are_targets_at_its_own_size_and_scale(published):
  folder, own = published
  teacher = frozen.FromRun(**native.pinned(folder))
  bound = types.SimpleNamespace(frozen=teacher.bind(None, teacher.init(None), {}))
  image = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
  mine = ((0.305,), (0.376,))
  view = lambda x: resize.teacher_view(
    x, size=VIEW["size"], seen=mine, wanted=(VIEW["mean"], VIEW["std"])
  )
  found = latent.latents({"image": image}, bound, teacher="frozen", view=view, normalize=False)
  wanted = own.encoder(own.tokenizer(view(image))).values
  np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_it_computes_in_the_type_it_is_given(published):
  folder, _ = published
  image = jnp.zeros((1, 16, 16, 1))
  for dtype, expected in ((None, jnp.float32), ("bfloat16", jnp.bfloat16)):
    teacher = frozen.FromRun(**native.pinned(folder), dtype=dtype)
    tree = teacher.init(None)
    bound = teacher.bind(None, tree, {})
    with jax.numpy_dtype_promotion("standard"):  # Flax's norms mix types
      assert bound.encoder(bound.tokenizer(image)).values.dtype == expected
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(tree))
