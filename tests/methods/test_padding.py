"""What padding holds changes no loss: objectives with parts that make something of every token."""

import dataclasses
import functools
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, encoders, layers, losses, masks, objectives, ops, predictors
from mim_jax.heads import ProjectionHead
from mim_jax.methods import capi, codebook, hpm, localmim, maskalign, multimae
from mim_jax.ops import positions

B, N, D = 3, 16, 8
STACK = layers.Stack(depth=2, heads=2)
VALID = jnp.asarray(np.random.default_rng(0).uniform(size=(B, N)) < [[1.0], [0.6], [0.3]])
STEP = core.Step(jax.random.key(0), jnp.int32(0), jnp.float32(0.5))
MASK = functools.partial(masks.random, ratio=0.5)


class Parts(nn.Module):
  """Every part that an objective here asks for; the batch holds the tokens themselves."""

  predictor: nn.Module | None = None
  record: tuple[str, ...] = ()
  classes: int = 1

  def setup(self):
    self.encoder = encoders.ViT(STACK, record=self.record, class_tokens=self.classes)
    self.clusters, self.head = nn.Dense(5), nn.Dense(5)
    self.quantizer = layers.Quantizer(codes=6, width=4)
    self.decoder = codebook.Decoder(D, D, STACK)
    self.decoders = {"a": multimae.MultimodalDecoder(D, D, STACK)}

  @property
  def predictors(self):
    return self.decoders

  @property
  def tokenizers(self):
    return {"a": self.tokenizer, "b": self.tokenizer}

  def tokenizer(self, inputs):
    where = jnp.broadcast_to(positions.grid_positions((4, 4)), (B, N, 2))
    where = jnp.where(VALID[..., None], where, inputs[..., :2])
    return core.Tokens(inputs, where, VALID, (4, 4))


def whole(batch, teachers=None, mask=None):
  return batch["a"]


def attended(batch, teachers):
  values = batch["a"]
  return [core.Latents(values, jnp.ones((B, 1, D)))] * 2, values[..., 0]


def quarters(batch, teachers):
  return jnp.mean(batch["a"].reshape(B, 2, 2, 2, 2, D), (2, 4)).reshape(B, 4, D)


SCALES = localmim.MultiScale(D, (1, 0.5), (D, D), STACK)
SHARED = dict(entry="a", mask=MASK, loss=losses.squared_error)
CASES = dict(
  predict_masked=(
    Parts(predictors.Transformer(D, D, STACK)),
    functools.partial(objectives.predict_masked, **SHARED, target=whole),
  ),
  predict_clusters=(
    Parts(predictors.CrossAttentionDecoder(layers.RopeStack(1, 2)), classes=0),
    functools.partial(
      capi.predict_clusters,
      **SHARED | dict(loss=losses.soft_cross_entropy),
      assign=functools.partial(ops.sinkhorn_knopp, temperature=0.5, by_position=True),
    ),
  ),
  learn_codes=(
    Parts(),
    functools.partial(codebook.learn_codes, entry="a", target=whole, loss=losses.squared_error),
  ),
  mine_hard_patches=(
    Parts(hpm.LossPredictingDecoder(D, D, STACK)),
    functools.partial(hpm.mine_hard_patches, **SHARED, target=whole, ranking=hpm.pairwise_order),
  ),
  predict_multiscale=(
    Parts(SCALES),
    functools.partial(
      localmim.predict_multiscale, **SHARED, layers=(1, 2), targets=dict(a=whole, b=quarters)
    ),
  ),
  distill_visible=(
    Parts(maskalign.DynamicAlignment(D, (1, 2)), ("unnormed",)),
    functools.partial(maskalign.distill_visible, **SHARED, target=attended, layers=(1, 2)),
  ),
  predict_modalities=(
    Parts(),
    functools.partial(
      multimae.predict_modalities,
      modalities=("a", "b"),
      mask=functools.partial(masks.dirichlet, visible=10, concentration=(1.0, 1.0)),
      tasks={"a": dict(entry="a", target=whole, loss=losses.squared_error)},
    ),
  ),
)


@pytest.mark.parametrize("name", CASES)
def test_what_padding_holds_changes_no_loss(name):
  parts, objective = CASES[name]
  batch = {
    key: jnp.asarray(np.random.default_rng(i).normal(size=(B, N, D)), jnp.float32)
    for i, key in enumerate(("a", "b"))
  }

  def run(parts, batch):
    return objective(parts, batch, STEP, types.SimpleNamespace(ema=parts)).loss

  variables = jax.jit(functools.partial(parts.init, method=run))(jax.random.key(1), batch)

  @jax.jit
  def loss(batch):
    return parts.apply(variables, batch, method=run, mutable=["codebook"])

  expected, state = loss(batch)
  for factor in (7.0, -50.0):
    other = {k: jnp.where(VALID[..., None], x, factor * (1 + x)) for k, x in batch.items()}
    found, moved = loss(other)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), moved, state)
  real = {k: jnp.where(VALID[..., None], 2 * x, x) for k, x in batch.items()}
  assert abs(loss(real)[0] - expected) > 1e-4


def test_a_mean_of_scores_is_that_of_real_tokens():
  head, x = ProjectionHead(count=5, hidden=6, bottleneck=4), jnp.ones((B, N, D))
  x = x * jnp.arange(N, dtype=jnp.float32)[None, :, None]
  params = head.init(jax.random.key(0), x)
  other = jnp.where(VALID[..., None], x, -9.0)
  mean = lambda x, valid: head.apply(params, x, valid, method="mean")
  np.testing.assert_array_equal(mean(x, VALID), mean(other, VALID))
  every = jnp.ones((B, N), bool)
  np.testing.assert_allclose(mean(x, every), mean(x, None), rtol=1e-5)


def test_cells_that_are_not_all_real_weigh_nothing():
  tokens = Parts().tokenizer(jnp.zeros((B, N, D)))
  drawn = MASK(jax.random.key(0), tokens)
  share = np.asarray(localmim.hidden_share(drawn, 4)).reshape(B, 2, 2)
  cells = np.asarray(VALID).reshape(B, 2, 2, 2, 2).all((2, 4))
  assert (share[~cells] == 0).all() and share[0].any()
  plain = dataclasses.replace(drawn, present=None)
  whole_cells = np.asarray(localmim.hidden_share(plain, 4)).reshape(B, 2, 2)[cells]
  np.testing.assert_array_equal(share[cells], whole_cells)
