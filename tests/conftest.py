"""Strict rules for every test, 8 simulated devices, and shapes in signatures checked while
testing."""

import os
import pathlib

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
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

# What has passed as a whole, on one commit, in one run. The rest is of methods that are still being
# verified: it is left out of `make test`, and run by `pytest -m unfinished`.
FINISHED_FILES = [
  "cli/test_commands.py",
  "data/test_augment.py",
  "data/test_folder.py",
  "data/test_pipeline.py",
  "data/test_sources.py",
  "encoders/test_vit.py",
  "evaluate/test_knn.py",
  "evaluate/test_linear_probe.py",
  "evaluate/test_reconstruction.py",
  "evaluate/test_report.py",
  "evaluate/test_runner.py",
  "masks/test_uniform.py",
  "ops/test_laws.py",
  "parity/test_mae_golden.py",
  "test_config.py",
  "test_contributing.py",
  "test_methods.py",
  "test_readme.py",
  "train/test_folder.py",
  "train/test_loop.py",
  "train/test_optimizer.py",
  "weights/test_native.py",
]
FINISHED_METHODS = ("mae",)


@pytest.hookimpl(tryfirst=True)  # before -m is applied
def pytest_collection_modifyitems(items):
  """Marks what is unfinished."""
  here = pathlib.Path(__file__).parent
  for item in items:
    method = getattr(item, "callspec", None) and item.callspec.params.get("method")
    finished = item.path.relative_to(here).as_posix() in FINISHED_FILES
    if not finished or (method and method not in FINISHED_METHODS):
      item.add_marker(pytest.mark.unfinished)
