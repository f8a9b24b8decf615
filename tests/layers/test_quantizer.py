"""What must hold of straight-through codes, and how they follow the data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax.errors import InputError
from mim_jax.layers import quantizer
from mim_jax.ops import vector_quantization


def quantize(**settings):
  return quantizer.Quantizer(**(dict(codes=16, width=4) | settings))


def latents(seed=0, b=3, n=5, d=12):
  return jax.random.normal(jax.random.key(seed), (b, n, d))


def drawn(model, **inputs):
  return jax.jit(model.init)(jax.random.key(1), latents(**inputs))


def step(model, variables, x, seed=2):
  """(what it returns, the state after it)."""
  run = jax.jit(
    lambda v, x, key: model.apply(v, x, mutable=[quantizer.STATE], rngs={"dropout": key})
  )
  coded, state = run(variables, x, jax.random.key(seed))
  return coded, {**variables, **state}


@pytest.mark.parametrize("unit", [True, False])
def test_values_are_codes_and_codes_are_found_again(unit):
  model = quantize(unit=unit)
  variables = drawn(model)
  coded = jax.jit(model.apply)(variables, latents())
  codes = variables[quantizer.STATE]["codes"]
  np.testing.assert_allclose(coded.values, codes[coded.ids], atol=1e-6)
  again = vector_quantization.nearest(coded.values.reshape(-1, 4), codes)
  np.testing.assert_array_equal(again, coded.ids.reshape(-1))
  used = len(set(np.asarray(coded.ids).ravel().tolist()))
  np.testing.assert_allclose(coded.usage, used / 16)
  assert 1 <= coded.perplexity <= used + 1e-3


def test_the_gradient_goes_straight_through():
  """d loss / d latents is that of a network without codes but with the codes' output gradient."""
  model = quantize(unit=False)
  variables, x = drawn(model), latents()
  weight = jax.random.normal(jax.random.key(4), (3, 5, 4))

  def through(params):
    return jnp.sum(weight * model.apply({**variables, "params": params}, x).values)

  def without(params):
    hidden, down = params["hidden"], params["down"]
    z = jnp.tanh(x @ hidden["kernel"] + hidden["bias"][None, None])
    return jnp.sum(weight * (z @ down["kernel"] + down["bias"][None, None]))

  found, expected = (jax.jit(jax.grad(f))(variables["params"]) for f in (through, without))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)


def test_the_commitment_moves_latents_and_no_code():
  model = quantize()
  variables, x = drawn(model), latents()
  gradient = jax.grad(lambda v: jnp.mean(model.apply(v, x).distance))(variables)
  assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(gradient[quantizer.STATE]))
  assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradient["params"]))
  coded = model.apply(variables, x)
  cosine = 1 - 4 * coded.distance / 2  # of unit vectors: the squared chord is 2 - 2 cos
  assert (np.asarray(cosine) >= -1 - 1e-5).all()


@pytest.mark.parametrize("unit", [True, False])
def test_codes_follow_after_the_look_up_by_the_published_rule(unit):
  model = quantize(unit=unit, revive=0.0, decay=0.9)
  before = drawn(model)
  coded, after = step(model, before, latents())
  old, new = before[quantizer.STATE], after[quantizer.STATE]
  np.testing.assert_allclose(coded.values, old["codes"][coded.ids], atol=1e-6)  # old codes
  z = [
    jnp.tanh(latents() @ before["params"]["hidden"]["kernel"]) @ before["params"]["down"]["kernel"]
  ]
  z = (vector_quantization.unit(z[0]) if unit else z[0]).reshape(-1, 4)
  count, sums = vector_quantization.totals(z, coded.ids.reshape(-1), 16)
  share = count * 16 / 15  # 15 vectors: 1 is an even share
  np.testing.assert_allclose(new["usage"], 0.9 * old["usage"] + 0.1 * share, rtol=1e-5)
  if unit:
    np.testing.assert_allclose(
      new["codes"], vector_quantization.turned(old["codes"], count, sums, 0.9), atol=1e-6
    )
  else:
    running = 0.9 * old["sums"] + 0.1 * sums * 16 / 15
    np.testing.assert_allclose(
      new["codes"], vector_quantization.averaged(new["usage"], running), atol=1e-5
    )


def test_codes_are_state_and_only_training_changes_it():
  model = quantize()
  variables = drawn(model)
  assert set(variables["params"]) == {"hidden", "down"}
  assert set(variables[quantizer.STATE]) == {"codes", "usage"}
  np.testing.assert_allclose(variables[quantizer.STATE]["usage"], 0.03)  # init made no step
  _, same = model.apply(variables, latents(), mutable=["params"])
  assert quantizer.STATE not in same


def test_codes_that_nothing_chooses_are_revived_as_vectors_of_the_batch():
  """From far away, three codes for 45 vectors on two spots: soon both spots have a code."""
  model = quantize(codes=4, width=2, unit=False, revive=1.0)
  variables = drawn(model)
  state = variables[quantizer.STATE]
  far = jnp.asarray([[90.0, 90.0], [91.0, 91.0], [92.0, 92.0], [93.0, 93.0]])
  variables = {**variables, quantizer.STATE: dict(state, codes=far, sums=0.03 * far)}
  x = latents()
  coded, after = step(model, variables, x)
  assert float(coded.usage) == 0.25
  codes = np.asarray(after[quantizer.STATE]["codes"])
  near = np.abs(codes).max(1) < 10
  assert near.sum() >= 3
  again, _ = step(model, after, x)
  assert float(again.distance.mean()) < 1e-2 * float(coded.distance.mean())
  assert float(again.usage) > 0.5


def test_a_code_in_use_is_never_replaced():
  model = quantize(revive=1.0)
  before = drawn(model)
  coded, after = step(model, before, latents())
  frozen = quantize(revive=0.0)
  _, plain = step(frozen, before, latents())
  used = np.unique(coded.ids)
  np.testing.assert_array_equal(
    after[quantizer.STATE]["codes"][used], plain[quantizer.STATE]["codes"][used]
  )
  others = np.setdiff1d(np.arange(16), used)
  assert len(others)
  assert (after[quantizer.STATE]["codes"][others] != before[quantizer.STATE]["codes"][others]).any()


def test_settings_that_make_no_sense_are_refused():
  with pytest.raises(InputError, match="revive=2.0 is a share"):
    quantize(revive=2.0).init(jax.random.key(0), latents())
