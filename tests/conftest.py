"""Strict rules for every test, 8 simulated devices, and shapes in signatures checked while
testing."""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
from jaxtyping import install_import_hook

CHECKED = [
  "ops",
  "layers",
  "tokenizers",
  "masks",
  "encoders",
  "predictors",
  "targets",
  "losses",
  "objectives",
  "data",
]
install_import_hook([f"mim_jax.{room}" for room in CHECKED], "beartype.beartype")

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
