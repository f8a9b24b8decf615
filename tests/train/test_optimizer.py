"""Optimizer and schedules against torch.optim.AdamW under MAE's recipe; see
parity/golden/README.md."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mim_jax import core, editions, encoders, layers, masks, schedules
from mim_jax.devices import mesh
from mim_jax.errors import InputError
from mim_jax.ops import positions
from mim_jax.optim import optimizers, rules

GOLDEN = pathlib.Path(__file__).parents[1] / "parity" / "golden" / "adamw.npz"


@pytest.fixture(scope="module")
def golden():
  return dict(np.load(GOLDEN))


def mae_rate(golden, prefix):
  get = lambda key: float(golden[f"{prefix}/{key}"])
  total = round(get("epochs") * get("iters_per_epoch"))
  settings = dict(
    peak=get("peak_lr"), end=get("min_lr"), warmup=get("warmup_epochs") / get("epochs")
  )
  return total, lambda progress: schedules.cosine(progress, **settings)


@pytest.mark.parametrize(("prefix", "recorded"), [("schedule", "lr"), ("long", "long/lr")])
def test_learning_rate_step_by_step(golden, prefix, recorded):
  total, rate = mae_rate(golden, prefix)
  expected = golden[recorded]
  found = np.asarray([rate(i / total) for i in range(len(expected))])
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)
  assert found[0] == 0


def test_parameters_after_each_step(golden):
  leaves = {"weight": "layer/kernel", "bias": "layer/bias", "cls_token": "class_token"}
  total, rate = mae_rate(golden, "schedule")
  transform = optimizers.adamw(
    total, learning_rate=rate, weight_decay=lambda p: jnp.float32(0.05), b2=0.95
  )
  params = {leaves[k]: jnp.asarray(golden[f"params/{k}"][0]) for k in leaves}
  state = transform.init(params)
  for step in range(5):
    grads = {leaves[k]: jnp.asarray(golden[f"grads/{k}"][step]) for k in leaves}
    updates, state = transform.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    for key, name in leaves.items():
      np.testing.assert_allclose(
        params[name], golden[f"params/{key}"][step + 1], rtol=1e-5, atol=1e-7
      )


def test_no_decay_on_biases_and_norms_even_when_stacked():
  params = {
    "stack": {
      "blocks": {
        "norm1": {"scale": jnp.ones((3, 4))},
        "up": {"kernel": jnp.ones((3, 4, 4)), "bias": jnp.ones((3, 4))},
      }
    }
  }
  transform = optimizers.add_decayed_weights(lambda count: jnp.float32(0.1), optimizers.DECAY)
  zeros = jax.tree.map(jnp.zeros_like, params)
  found = {
    n: float(x.max())
    for n, x in rules.named_leaves(transform.update(zeros, transform.init(params), params)[0])
  }
  assert found == {
    "stack/blocks/norm1/scale": 0.0,
    "stack/blocks/up/bias": 0.0,
    "stack/blocks/up/kernel": pytest.approx(0.1),
  }


def test_every_parameter_of_a_vit_has_a_rule_and_no_learned_position_decays():
  stack = layers.Stack(depth=2, heads=2)
  for relative in (None, layers.RelativeTable(), layers.RelativeTable(each=True)):
    encoder = encoders.ViT(
      stack,
      positions=layers.Learned(),
      relative=relative,
      masking=layers.Replace(),
      registers=1,
    )
    where = jnp.broadcast_to(positions.grid_positions((2, 2)), (1, 4, 2))
    tokens = core.Tokens(jnp.zeros((1, 4, 8)), where, grid=(2, 2))
    draw = lambda encoder=encoder, tokens=tokens: encoder.init(
      jax.random.key(0), tokens, masks.random(jax.random.key(1), tokens, ratio=0.5)
    )
    found = rules.match_rules(optimizers.DECAY, jax.eval_shape(draw)["params"], "decay")
    factors = dict(rules.named_leaves(found))
    kept = {"positions_table", "class_positions"}
    kept |= {name for name in factors if name.startswith("relative_table")}
    assert len(kept) == (2 if relative is None else 3)
    assert {factors[name] for name in kept} == {0.0}
    assert {factors[f"{name}_token"] for name in ("class", "register", "mask")} == {1.0}


def test_a_parameter_without_a_rule_is_an_error():
  with pytest.raises(
    InputError, match=r"optimizer.weight_decay_rules: no rule covers the parameter 'odd'.*kernel"
  ):
    optimizers.add_decayed_weights(lambda count: 0.1, optimizers.DECAY).init({"odd": jnp.ones(2)})
  with pytest.raises(InputError, match=r"train.sharding: no rule covers the parameter 'odd'"):
    mesh.state_sharding({"odd": jnp.ones(2)}, mesh.make(), (("kernel$", "fsdp"),))


def test_clip_bounds_the_global_norm():
  transform = optimizers.adamw(
    10,
    learning_rate=lambda p: 1.0,
    weight_decay=lambda p: jnp.float32(0.0),
    clip=1.0,
    b1=0.0,
    b2=0.0,
    epsilon=1e3,
  )
  params = {"kernel": jnp.zeros(4)}
  updates, _ = transform.update({"kernel": jnp.full(4, 100.0)}, transform.init(params), params)
  # With epsilon far above the gradient Adam divides by a constant, so that the clipped gradient is
  # seen.
  np.testing.assert_allclose(updates["kernel"], -0.5 / (0.5 + 1e3), rtol=1e-4)


def test_mesh_sizes_and_batches_that_do_not_fit():
  assert dict(mesh.make(data=-1, fsdp=2).shape) == {"data": 4, "fsdp": 2, "tensor": 1}
  with pytest.raises(InputError, match="data=3, fsdp=1, tensor=1 do not multiply to the 8 devices"):
    mesh.make(data=3)
  with pytest.raises(InputError, match=r"batch_size: 20 does not divide over 8 devices.*16, 24"):
    mesh.check_batch(20, mesh.make())


def test_fsdp_splits_kernels_and_their_moments():
  state = {"params": {"up": {"kernel": jnp.zeros((6, 16)), "bias": jnp.zeros(16)}}}
  state["mu"] = state["params"]
  found = mesh.state_sharding(
    state, mesh.make(data=2, fsdp=4), (("kernel$", "fsdp"), (".*", "replicate"))
  )
  for tree in (found["params"], found["mu"]):
    assert tree["up"]["kernel"].spec == jax.P(None, "fsdp")
    assert tree["up"]["bias"].spec == jax.P()


def test_tensor_splits_what_a_first_map_puts_out_and_a_second_takes_in():
  state = {name: {"kernel": jnp.zeros((3, 8, 16))} for name in ("up", "down", "odd")}
  state["odd"]["kernel"] = jnp.zeros((8, 5))
  rules = (("down", "rows"), (".*", "columns"))
  found = mesh.state_sharding(state, mesh.make(data=2, fsdp=2, tensor=2), rules)
  found = {name: tree["kernel"].spec for name, tree in found.items()}
  assert found == dict(
    up=jax.P(None, "fsdp", "tensor"), down=jax.P(None, "tensor", "fsdp"), odd=jax.P("fsdp", None)
  )
  with pytest.raises(InputError, match="train.sharding: 'row' is unknown; did you mean 'rows'"):
    mesh.state_sharding(state, mesh.make(), ((".*", "row"),))


def test_settings_of_the_first_edition_are_read():
  decay, rate, late = [["kernel$", 1.0]], [[".*", 0.5]], [["^head/", 0.1]]
  for name in ("adamw", "lamb"):
    old = dict(part=f"mim_jax.train.optimizer.{name}", decay=decay, rate=rate)
    new = dict(part=f"mim_jax.optim.{name}", weight_decay_rules=decay, lr_rules=rate)
    assert editions.current(old) == new
  old = dict(part="mim_jax.train.late.late_adamw", decay=decay, late=late)
  new = dict(part="mim_jax.optim.late_adamw", weight_decay_rules=decay, start_rules=late)
  assert editions.current(old) == new
