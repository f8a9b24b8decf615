"""Student layers mixed and mapped to layers of a teacher."""

import jax
import numpy as np
import pytest

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.methods import maskalign


def layers_of(count, b=2, v=3, d=4):
  values = jax.random.normal(jax.random.key(0), (count, b, v + 1, d))
  return [core.Latents(x[:, 1:], x[:, :1]) for x in values], values


@pytest.mark.parametrize(
  ("start", "expected"),
  [
    ("own", [[0.01, 1.01, 0.01], [0.01, 0.01, 1.01]]),
    ("mean", [[1 / 3] * 3] * 2),
  ],
)
def test_each_row_is_a_mixture_of_all_layers_and_its_own_linear_map(start, expected):
  latents, values = layers_of(3)
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
  latents, _ = layers_of(3)
  with pytest.raises(InputError, match=r"layer 4 does not exist.*1\.\.3"):
    maskalign.DynamicAlignment(width=5, rows=(4,)).init(jax.random.key(1), latents)
  with pytest.raises(InputError, match="'sum' is unknown"):
    maskalign.DynamicAlignment(width=5, rows=(1,), start="sum").init(jax.random.key(1), latents)
