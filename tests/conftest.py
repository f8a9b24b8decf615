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
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of a test's time goes into compiling a program that runs once; processes of tests inherit it.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# XLA's older emitters compile such programs much faster than its MLIR ones.
os.environ.setdefault(
  "XLA_FLAGS",
  "--xla_cpu_use_fusion_emitters=false --xla_llvm_disable_expensive_passes=true "
  "--xla_cpu_parallel_codegen_split_count=1",
)
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
  "corruptions",
  "data",
  "heads",
  "methods",
]
install_import_hook([f"mim_jax.{room}" for room in CHECKED], "beartype.beartype")

jax.config.update("jax_num_cpu_devices", 8)
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
      nbclient.execute(notebook, cwd=folder, timeout=600, kernel_name="here")
    return notebook

  return run


def group(nodeid: str) -> str:
  """What one worker runs, and shares the compiled programs and trained networks of: a file.

  Of test_methods.py it is a method. Notebooks go together: kernels that start at once may take each
  other's ports. (pytest-xdist's marks for this are ignored with pytest 9.2, its issue 1386.)
  """
  file, _, test = nodeid.partition("::")
  if "notebook" in test:
    return "notebooks"
  return test.rpartition("[")[2] if file.endswith("test_methods.py") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
  from xdist.scheduler import LoadScopeScheduling

  class Groups(LoadScopeScheduling):
    def _split_scope(self, nodeid):
      return group(nodeid)

  return Groups(config, log)


def pytest_runtest_teardown(item, nextitem):
  """Forgets compiled programs between groups: thousands of them bring XLA down."""
  if nextitem is None or group(item.nodeid) != group(nextitem.nodeid):
    jax.clear_caches()


COMPILED: dict = {}  # method: whether each of its compiled promises was kept


@pytest.fixture(scope="module")
def is_known():
  """Whether a method's program kept all compiled promises before; asked once a method."""
  import functools

  from tests import promises

  return functools.lru_cache(maxsize=None)(promises.known)


@pytest.fixture
def unknown(request, is_known):
  """Skips a compiled promise of a method whose program is known to keep it."""
  method = request.getfixturevalue("method")
  if is_known(method):
    pytest.skip("known: this very program kept it (tests/programs); FULL=1 runs it")
  yield
  kept = getattr(request.node, "outcome_of_call", None)
  COMPILED.setdefault(method, []).append(kept is not None and kept.passed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
  report = yield
  if call.when == "call":
    item.outcome_of_call = report
  return report


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


COUNT = 7  # compiled promises of a method, the leak at two steps


def pytest_sessionfinish():
  from tests import promises

  for method, kept in COMPILED.items():
    if len(kept) == COUNT and all(kept):
      promises.remember(method)
  file = os.environ.get("MIM_JAX_DEVIATIONS")
  if file and SEEN:
    names = "network", "reference", "what"
    rows = [dict(zip(names, key, strict=True), deviation=x) for key, x in sorted(SEEN.items())]
    pathlib.Path(file).write_text(json.dumps(rows))
