"""Strict rules for every test, 8 simulated devices, and shapes in signatures checked while
testing."""

import os

# Two workers on two cores would wait for each other's thread pools: one core a worker.
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
  cores = sorted(os.sched_getaffinity(0))
  os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
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

# Most of a test's time goes into compiling a program that runs once.
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_runtest_teardown(item, nextitem):
  """Forgets compiled programs between files (and methods): thousands of them bring XLA down."""
  groups = [
    i and (i.path, getattr(i.get_closest_marker("xdist_group"), "args", None))
    for i in (item, nextitem)
  ]
  if groups[0] != groups[1]:
    jax.clear_caches()
