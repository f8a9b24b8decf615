"""Strict rules for every test, 8 simulated devices, and shapes in signatures checked while
testing."""

import json
import os
import pathlib
import sys

# Two workers on two cores would wait for each other's thread pools: one core a worker.
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
  cores = sorted(os.sched_getaffinity(0))
  os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of a test's time goes into compiling a program that runs once; processes of tests inherit it.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# What commands have compiled is found again by the next test, and not left in the user's home.
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).parents[1] / ".pytest_cache" / "xla")
)
os.environ.setdefault("GLIBC_TUNABLES", "")  # no process starts anew for large pages

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


@pytest.fixture(scope="session")
def notebook_runs(tmp_path_factory):
  """run(notebook, folder=None): the notebook as it is after all cells ran in this Python."""
  import nbclient

  home = tmp_path_factory.mktemp("jupyter")
  kernel = home / "kernels" / "here"
  kernel.mkdir(parents=True)
  command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
  spec = dict(argv=command, display_name="here", language="python")
  (kernel / "kernel.json").write_text(json.dumps(spec))

  def run(notebook, folder=None):
    with pytest.MonkeyPatch.context() as patched:
      patched.setenv("JUPYTER_PATH", str(home))
      patched.setenv("IPYTHONDIR", str(home / "ipython"))
      patched.delenv("XLA_FLAGS", raising=False)
      nbclient.execute(notebook, cwd=folder, timeout=600, kernel_name="here")
    return notebook

  return run


def pytest_runtest_teardown(item, nextitem):
  """Forgets compiled programs between files (and methods): thousands of them bring XLA down."""
  groups = [
    i and (i.path, getattr(i.get_closest_marker("xdist_group"), "args", None))
    for i in (item, nextitem)
  ]
  if groups[0] != groups[1]:
    jax.clear_caches()


SEEN: dict = {}


@pytest.fixture(scope="session")
def record():
  """record(network, reference, what, deviation): the largest ones make experiments/parity's table.

  They are written where $MIM_JAX_DEVIATIONS names a file.
  """

  def add(network, reference, what, deviation):
    key = network, reference, what
    SEEN[key] = max(SEEN.get(key, 0.0), float(deviation))

  return add


def pytest_sessionfinish():
  file = os.environ.get("MIM_JAX_DEVIATIONS")
  if file and SEEN:
    names = "network", "reference", "what"
    rows = [dict(zip(names, key, strict=True), deviation=x) for key, x in sorted(SEEN.items())]
    pathlib.Path(file).write_text(json.dumps(rows))
