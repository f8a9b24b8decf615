"""Checkpoints that can be believed: damage named, bad disks told of, the last good one kept."""

import pathlib
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from mim_jax import experiment as experiment_lib
from mim_jax.checkpoint import digests, store
from mim_jax.devices import mesh
from mim_jax.errors import InputError
from mim_jax.train import folder, loop

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import runs

GOLDEN = pathlib.Path(__file__).parent / "golden" / "format_1"


# Damage.

FILES = (
  "digests.json",
  "extra/metadata",
  "state/_METADATA",
  "state/_sharding",
  "state/array_metadatas/process_0",
  "state/manifest.ocdbt",
  "state/d/*",
  "state/ocdbt.process_0/manifest.ocdbt",
  "state/ocdbt.process_0/d/*",
)
# Orbax writes them last; nothing that is restored stands in them (see digests._AFTERWARDS).
OTHER = ("_CHECKPOINT_METADATA", "commit_success.txt")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
  path = tmp_path_factory.mktemp("good")
  runs.written(path)
  return path


def test_the_kinds_of_files_are_all_of_them(good):
  step = good / "2"
  known = {p for kind in FILES for p in step.glob(kind)}
  files = {p for p in step.rglob("*") if p.is_file() and p.name not in OTHER}
  assert files == known


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_damage_to_any_kind_of_file_is_found_and_the_file_named(good, tmp_path, kind, how):
  path = shutil.copytree(good, tmp_path / "checkpoints")
  file = sorted((path / "2").glob(kind))[0]
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 1
  if how == "gone":
    file.unlink()
  else:
    file.write_bytes(data if how == "flip" else data[: len(data) // 2])
  with store.Checkpoints(path) as saves:
    if kind == "digests.json" and how == "gone":  # arrays have digests of their own
      assert saves.restore(runs.abstract(runs.a_state()))[1]["data"] == {"next_batch": 2}
      return
    name = str(file.relative_to(path / "2"))
    word = "missing" if how == "gone" else "damaged"
    with pytest.raises(store.DamageError, match=rf"/2: .*the file {name} is {word}.*previous"):
      saves.restore(runs.abstract(runs.a_state()))


def test_an_array_that_is_not_the_saved_one_is_named(tmp_path, monkeypatch):
  real = digests.of_arrays
  monkeypatch.setattr(digests, "of_arrays", lambda state: real(state) | {"a": 1})
  runs.written(tmp_path)
  monkeypatch.setattr(digests, "of_arrays", real)
  with store.Checkpoints(tmp_path) as saves:
    with pytest.raises(store.DamageError, match=r"/2: the array 'a' is damaged"):
      saves.restore(runs.abstract(runs.a_state()))


def test_by_policy_the_newest_whole_one_is_used_with_a_notice(good, tmp_path, capsys):
  path = shutil.copytree(good, tmp_path / "checkpoints")
  (path / "2" / "extra" / "metadata").write_text("{}")
  with store.Checkpoints(path) as saves:
    state, extra = loop.restored(saves, runs.abstract(runs.a_state()), "previous")
    np.testing.assert_array_equal(state["a"], runs.a_state(1)["a"])
    assert extra["data"] == {"next_batch": 1}
    saves.save(2, runs.a_state(2), {})  # the step can be saved anew
  assert (path / "damaged_2").is_dir() and (path / "2").is_dir()
  told = capsys.readouterr().err
  assert "notice: " in told and "the file extra/metadata is damaged" in told
  assert "It was moved to damaged_2, and the run continues from step 1" in told


def test_when_no_other_is_left_the_damage_is_an_error(good, tmp_path):
  path = shutil.copytree(good, tmp_path / "checkpoints")
  shutil.rmtree(path / "1")
  (path / "2" / "extra" / "metadata").write_text("{}")
  with store.Checkpoints(path) as saves:
    with pytest.raises(store.DamageError, match="extra/metadata"):
      loop.restored(saves, runs.abstract(runs.a_state()), "previous")
    with pytest.raises(InputError, match="on_damage: 'ask' is unknown. Allowed: stop, previous"):
      loop.restored(saves, runs.abstract(runs.a_state()), "ask")
  assert (path / "2").is_dir()


def test_what_a_killed_save_left_is_ignored_and_removed(good, tmp_path):
  path = shutil.copytree(good, tmp_path / "checkpoints")
  half = shutil.copytree(path / "2", path / "3.orbax-checkpoint-tmp")
  with store.Checkpoints(path) as saves:
    assert saves.latest() == 2
  assert not half.exists()


@pytest.mark.parametrize("left", ["state/d", "extra", "_CHECKPOINT_METADATA", "commit_success.txt"])
def test_what_a_killed_deletion_left_does_no_harm(good, tmp_path, left):
  path = shutil.copytree(good, tmp_path / "checkpoints")
  for entry in list((path / "1").iterdir()):
    if not left.startswith(entry.name):
      shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
  with store.Checkpoints(path) as saves:
    assert saves.restore(runs.abstract(runs.a_state()))[1]["data"] == {"next_batch": 2}
    saves.save(3, runs.a_state(3), {})
    saves.save(4, runs.a_state(4), {})
    saves.wait()
    assert saves.steps() == [3, 4]


@given(st.integers(0, 599), st.integers(0, 31))
@settings(max_examples=40, deadline=None)
def test_every_changed_bit_changes_the_digest(position, bit):
  x = np.arange(600, dtype=np.float32).reshape(20, 30)
  before = digests.of_arrays({"x": jnp.asarray(x)})
  x.view(np.uint32).ravel()[position] ^= np.uint32(1) << np.uint32(bit)
  assert digests.of_arrays({"x": jnp.asarray(x)}) != before


@pytest.mark.parametrize("dtype", [bool, np.uint8, jnp.bfloat16, np.float16, np.int32, np.float32])
def test_digests_are_the_same_however_arrays_are_sharded(dtype):
  x = jnp.asarray(np.random.RandomState(0).rand(16, 24) * 3).astype(dtype)
  devices = mesh.make(data=2, fsdp=4)
  places = (PartitionSpec(), PartitionSpec("fsdp"), PartitionSpec("data", "fsdp"))
  found = [digests.of_arrays({"x": jax.device_put(x, NamedSharding(devices, p))}) for p in places]
  assert found[0] == found[1] == found[2] == digests.of_arrays({"x": x})


# What is kept.


def test_policies_keep_the_newest_the_regular_and_the_best(tmp_path):
  steps = range(1, 9)  # step 3 has the least loss
  assert runs.written(tmp_path / "newest", steps, keep=2) == [7, 8]
  assert runs.written(tmp_path / "regular", steps, keep=1, keep_every=3) == [3, 6, 8]
  assert runs.written(tmp_path / "best", steps, keep=1, keep_best=2) in ([2, 3, 8], [3, 4, 8])
  with store.Checkpoints(tmp_path / "best", keep=1, keep_best=1) as saves:
    saves.save(9, runs.a_state(9), {}, loss=9.0)
    saves.wait()
    assert saves.steps() == [3, 9]


# Versions.


def golden(tmp_path):
  path = shutil.copytree(GOLDEN, tmp_path / "run")
  config = folder.read_config(path)
  return path, config


def test_a_checkpoint_of_format_1_loads(tmp_path):
  path, config = golden(tmp_path)
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  with store.Checkpoints(path / "checkpoints") as saves:
    state, extra = saves.restore(experiment.trainable.abstract_state())
  assert (int(state.step), extra["format"], extra["data"]) == (2, 1, {"next_batch": 2})


def test_damage_to_format_1_is_found(tmp_path):
  path, config = golden(tmp_path)
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  file = next((path / "checkpoints/2/state/d").iterdir())
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 1
  file.write_bytes(data)
  with store.Checkpoints(path / "checkpoints") as saves:
    with pytest.raises(store.DamageError, match="/2: "):
      saves.restore(experiment.trainable.abstract_state())


def test_a_format_of_the_future_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(store, "FORMAT", 99)
  runs.written(tmp_path)
  with store.Checkpoints(tmp_path) as saves:
    with pytest.raises(InputError, match=r"format 99, but this version reads 1 and 2. Resume it"):
      saves.extra()
