"""MaskAlign: the teacher's side, the student's side, their loss, and the recipe."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core, encoders, experiment, layers, losses, masks, teachers
from mim_jax.errors import InputError
from mim_jax.layers import rebinding
from mim_jax.methods import maskalign
from mim_jax.ops import positions
from mim_jax.teachers import frozen


def layers_of(seed, count, b=2, n=16, d=6):
  values = jax.random.normal(jax.random.key(seed), (count, b, n + 1, d))
  return [core.Latents(x[:, 1:], x[:, :1]) for x in values]


def loss_of(predict, wanted, guide):
  where = jnp.broadcast_to(positions.grid_positions((4, 4)), (2, 16, 2))
  tokens = core.Tokens(jnp.zeros((2, 16, 4)), where, grid=(4, 4))
  drawn = []

  def encoder(tokens, mask, layers):
    drawn.append(mask)
    first, last = layers_of(2, len(layers))
    return [first, dataclasses.replace(first, extras={"unnormed": last})]

  def predictor(latents, mask):
    for given, plain in zip(latents, layers_of(2, 2), strict=True):  # the last as before its norm
      np.testing.assert_array_equal(given.values, plain.values)
    return predict(latents, mask)

  parts = types.SimpleNamespace(
    tokenizer=lambda signal: tokens,
    encoder=encoder,
    predictor=predictor,
  )
  return maskalign.distill_visible(
    parts,
    {"image": None},
    core.Step(jax.random.key(0), 0, 0),
    None,
    entry="image",
    mask=lambda *args: masks.attention_sampled(*args, ratio=0.5),
    target=lambda batch, teachers: (wanted, guide),
    loss=lambda a, b: losses.smooth_l1(a, b, scale=2.0),
    layers=(1, 2),
  ), drawn[0]


def test_class_token_and_visible_patches_count_alike_over_all_layers():
  wanted, guide = layers_of(0, 3), jnp.ones((2, 16)) / 16
  found, mask = loss_of(lambda latents, mask: jnp.zeros((2, 3, 9, 6)), wanted, guide)
  costs = []
  for latents in wanted:
    for b in range(2):
      seen = np.asarray(latents.values[b])[np.asarray(mask.visible[b])]
      u = np.abs(np.concatenate([latents.prefix[b], seen]))
      costs.append(np.where(u < 1, u**2, 2 * u - 1).mean())
  np.testing.assert_allclose(found.loss, np.mean(costs), rtol=1e-5)
  assert float(found.weight) == 2 * 3 * 9
  np.testing.assert_array_equal(found.more["scores"], guide)


def test_a_student_that_says_what_the_teacher_says_has_no_loss():
  wanted, guide = layers_of(0, 2), jax.random.uniform(jax.random.key(1), (2, 16))

  def predict(latents, mask):
    taken = [jnp.concatenate([x.prefix, core.take(x.values, mask.visible)], 1) for x in wanted]
    return jnp.stack(taken, 1)

  assert loss_of(predict, wanted, guide)[0].loss == 0


@pytest.fixture(scope="module")
def teacher():
  image = (8, 8, 1)
  node = teachers.Untrained("mae", "dataset=digits,size=nano", image, 1)
  bound = node.bind(None, node.init(None), {})
  batch = {"image": jax.random.normal(jax.random.key(0), (2, *image))}
  return types.SimpleNamespace(frozen=bound), batch


def attended(teacher, **settings):
  settings = dict(layers=(-2, -1), view=lambda image: image) | settings
  return maskalign.attended_layers(teacher[1], teacher[0], **settings)


def test_targets_are_white_and_behind_blocks_not_behind_the_last_norm(teacher):
  found, _ = attended(teacher)
  plain, _ = attended(teacher, whiten=False)
  for white, raw in zip(found, plain, strict=True):
    assert white.values.shape == (2, 16, 24)
    np.testing.assert_allclose(white.values.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(white.values.std(-1), 1, atol=1e-3)
    both = np.concatenate([raw.prefix, raw.values], 1)
    centred = both - both.mean(-1, keepdims=True)
    expected = centred / np.sqrt(both.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(np.concatenate([white.prefix, white.values], 1), expected, atol=1e-4)
  network = teacher[0].frozen
  tokens = network.tokenizer(teacher[1]["image"])
  normed = network.encoder(tokens).values
  assert np.abs(plain[-1].values - normed).max() > 0.1


def test_the_guide_is_the_mean_of_heads_over_patches_alone(teacher):
  _, guide = attended(teacher)
  network = teacher[0].frozen
  tokens = network.tokenizer(teacher[1]["image"])
  encoder = rebinding.with_settings(network.encoder, record=("attention",))
  weights = encoder(tokens).extras["attention"]
  assert weights.shape == (2, 2, 1, 17)
  np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
  np.testing.assert_allclose(guide, weights.mean(1)[:, 0, 1:], rtol=1e-6)
  assert (np.asarray(guide.sum(1)) < 1).all()


def test_the_teacher_sees_its_own_view(teacher):
  shown = []

  def view(image):
    shown.append(image)
    return image + 1

  moved, _ = attended(teacher, view=view)
  same, _ = attended(teacher)
  np.testing.assert_array_equal(shown[0], teacher[1]["image"])
  assert np.abs(moved[0].values - same[0].values).max() > 1e-3


def test_a_teacher_without_class_token_is_refused():
  image = {"image": jnp.zeros((1, 8, 8, 1))}
  where = jnp.broadcast_to(positions.grid_positions((4, 4)), (1, 16, 2))
  tokens = core.Tokens(jnp.zeros((1, 16, 24)), where, grid=(4, 4))
  model = encoders.ViT(layers.Stack(depth=1, heads=2), class_tokens=0)
  bound = model.bind(model.init(jax.random.key(0), tokens))
  network = types.SimpleNamespace(tokenizer=lambda image: tokens, encoder=bound)
  with pytest.raises(InputError, match="class token"):
    attended((types.SimpleNamespace(frozen=network), image), layers=(-1,))


@pytest.mark.parametrize(
  ("start", "expected"),
  [
    ("own", [[0.01, 1.01, 0.01], [0.01, 0.01, 1.01]]),
    ("mean", [[1 / 3] * 3] * 2),
  ],
)
def test_each_row_is_a_mixture_of_all_layers_and_its_own_linear_map(start, expected):
  latents = layers_of(0, 3, n=3, d=4)
  values = [np.concatenate([x.prefix, x.values], 1) for x in latents]
  model = maskalign.DynamicAlignment(width=5, rows=(-2, -1), start=start)
  params = model.init(jax.random.key(1), latents)["params"]
  np.testing.assert_allclose(params["mixing"], expected, rtol=1e-6)
  found = model.apply({"params": params}, latents)
  assert found.shape == (2, 2, 4, 5)
  for a in range(2):
    mixed = np.einsum("l,lbnd->bnd", expected[a], values)
    head = jax.device_get(params[f"head_{a}"])
    np.testing.assert_allclose(found[:, a], mixed @ head["kernel"] + head["bias"], atol=1e-5)


def test_rows_that_do_not_exist_are_refused():
  latents = layers_of(0, 3, n=3, d=4)
  with pytest.raises(InputError, match=r"layer 4 does not exist.*1\.\.3"):
    maskalign.DynamicAlignment(width=5, rows=(4,)).init(jax.random.key(1), latents)
  with pytest.raises(InputError, match="'sum' is unknown"):
    maskalign.DynamicAlignment(width=5, rows=(1,), start="sum").init(jax.random.key(1), latents)


@pytest.mark.parametrize("size", ["B", "L"])
def test_the_published_recipe(size):
  c = config_lib.get_config("maskalign", f"size={size}")
  np.testing.assert_allclose(c.optimizer.learning_rate.peak, 6e-4)
  assert c.parts.encoder.stack.drop_path == {"B": 0.1, "L": 0.2}[size]
  assert c.parts.predictor.rows == (-5, -4, -3, -2, -1)


def test_a_teacher_with_other_patches_sees_images_of_another_size(tmp_path):
  """Its 16 patches of 4 pixels lie on 16 x 16 pixels, where ours of 2 lie on 8 x 8."""
  from mim_jax.weights import native

  image = (16, 16, 1)
  arg = "dataset=digits,size=nano,image=16,patch=4"
  variables = frozen.Untrained("mae", arg, image).init(None)
  native.save(tmp_path / native.FILE, variables, config_lib.get_config("mae", arg))
  c = config_lib.get_config("maskalign", f"dataset=digits,size=nano,teacher={tmp_path}")
  assert c.objective.target.view.size == (16, 16)
  assert len(c.teachers.frozen.sha256) == 64
  c.train.update(dict(steps=4, batch_size=2))
  run = experiment.build(c, devices=jax.devices()[:1])
  state, batch = run.trainable.abstract_state(), run.spec.data.train[np.arange(2)]
  loss, _ = jax.eval_shape(run.trainable.loss, state.params, batch, 1, state.teacher)
  assert loss.shape == ()
