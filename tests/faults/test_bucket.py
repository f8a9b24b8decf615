"""Checkpoints in a bucket: the promises of a directory's, held on one that bucket.py serves.

gcsfs, google-cloud-storage and TensorStore are those of a pod, and speak Google's protocol to it.
"""

import importlib.util
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax.checkpoint import location, store
from mim_jax.errors import InputError
from mim_jax.monitor import metrics
from mim_jax.train import folder

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import runs

needs_gcsfs = pytest.mark.skipif(
  importlib.util.find_spec("gcsfs") is None, reason="needs gcsfs, of the extra gcs"
)
nightly = pytest.mark.skipif("NIGHTLY" not in os.environ, reason="NIGHTLY=1 runs it")
WORDS = (
  "--config.train.steps=24",
  "--config.train.checkpoint_every=2",
  "--config.train.log_every=1",
)


@pytest.fixture(scope="module")
def bucket():
  """The address of an empty bucket; processes that are started know where it is."""
  server = subprocess.Popen(
    [sys.executable, pathlib.Path(__file__).with_name("bucket.py")],
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,  # clients that hang up
    text=True,
  )
  at = server.stdout.readline().strip()
  with pytest.MonkeyPatch.context() as patched:
    for name in ("STORAGE_EMULATOR_HOST", "TENSORSTORE_GCS_HTTP_URL"):
      patched.setenv(name, at)
    patched.setenv("GOOGLE_CLOUD_PROJECT", "none")
    patched.setenv("NO_GCE_CHECK", "true")
    patched.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # bucket.py has no gRPC
    yield "gs://bucket"
  server.kill()
  server.communicate()


def a_config(address, **train):
  config = config_lib.get_config(str(runs.QUICK))
  config.train.update(train, checkpoints=address)
  return config


# Checkpoints.


@needs_gcsfs
def test_what_was_saved_comes_back_and_old_steps_go(bucket):
  at = f"{bucket}/kept"
  assert runs.written(at, (1, 2, 3, 4), keep=1, keep_every=2) == [2, 4]
  with store.Checkpoints(at) as saves:
    state, extra = saves.restore(runs.abstract(runs.a_state()))
  np.testing.assert_array_equal(state["a"], runs.a_state(4)["a"])
  assert extra["data"] == {"next_batch": 4}


@needs_gcsfs
@pytest.mark.parametrize("kind", ["state/d/*", "extra/metadata", "state/_METADATA"])
def test_damage_is_named_and_the_step_before_is_gone_back_to(bucket, kind):
  at = f"{bucket}/damaged/{kind.partition('/')[2].strip('/d*') or 'd'}"
  runs.written(at)
  file = next(iter((location.resolve(at) / "2").glob(kind)))
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 1
  file.write_bytes(bytes(data))
  with store.Checkpoints(at) as saves:
    with pytest.raises(store.DamageError, match=rf"{at}/2: the file .*{file.name} is damaged"):
      saves.restore(runs.abstract(runs.a_state()))
    assert str(saves.set_aside()) == f"{at}/damaged_2"
    assert saves.restore(runs.abstract(runs.a_state()))[1]["data"] == {"next_batch": 1}
    saves.save(2, runs.a_state(2), {})
    saves.wait()
    assert saves.steps() == [1, 2]


@needs_gcsfs
def test_a_save_that_was_killed_is_ignored_and_removed(bucket):
  at = f"{bucket}/killed"
  runs.written(at)
  (location.resolve(at) / "2" / "commit_success.txt").unlink()
  with store.Checkpoints(at) as saves:
    assert saves.latest() == 1 and location.steps(saves.folder) == [1]
    saves.save(2, runs.a_state(2), {})
    saves.wait()
    assert saves.restore(runs.abstract(runs.a_state()))[1] is not None


# Runs.


def started(workdir, address, cache):
  return runs.start(workdir, *WORDS, f"--config.train.checkpoints={address}", cache=cache)


@needs_gcsfs
@pytest.mark.slow
def test_kills_and_a_lost_machine_cost_nothing(bucket, tmp_path):
  """Killed twice at random moments, and then all that the machine had is lost."""
  cache, work, address = tmp_path / "cache", tmp_path / "run", f"{bucket}/run"
  runs.finish(runs.start(tmp_path / "whole", *WORDS, cache=cache))
  chance = random.Random(0)
  for turn in range(2):
    process = started(work, address, cache)
    before = len(metrics.read(work / metrics.FILE))
    deadline = time.monotonic() + 120 * runs.PATIENCE
    while len(metrics.read(work / metrics.FILE)) in range(before + 4):
      assert process.poll() is None and time.monotonic() < deadline
      time.sleep(0.01)
    time.sleep(chance.uniform(0.0, 0.3))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if turn:
      shutil.rmtree(work)
  _, lost = runs.finish(started(work, address, cache))
  assert "metrics.jsonl: lines were missing, and were put back from the checkpoint." in lost
  assert not (work / "checkpoints").exists()
  runs.same_run(work, tmp_path / "whole")


def several(folders, *words):
  """Two processes of one run, each with its own run folder, as hosts without a shared disk."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  joined = dict(JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}", JAX_NUM_PROCESSES="2")
  axes = ("--config.train.mesh.data=1", "--config.train.mesh.fsdp=2")
  return [
    runs.start(at, *WORDS, *axes, *words, **joined, JAX_PROCESS_ID=str(index))
    for index, at in enumerate(folders)
  ]


@needs_gcsfs
@nightly
def test_hosts_that_share_no_disk_share_a_bucket(bucket, tmp_path):
  hosts, address = [tmp_path / "one", tmp_path / "two"], f"{bucket}/hosts"
  words = [f"--config.train.checkpoints={address}"]
  processes = several(hosts, *words)
  while len(metrics.read(hosts[0] / metrics.FILE)) < 8:
    assert processes[0].poll() is None
    time.sleep(0.02)
  processes[1].send_signal(signal.SIGTERM)
  for process in processes:
    runs.finish(process, 143)
  assert not hosts[1].exists()
  for process in several(hosts[::-1], *words):  # process 0 is now on the other host
    runs.finish(process)
  assert [line["step"] for line in runs.lines(hosts[1])] == list(range(1, 25))
  runs.finish(runs.start(tmp_path / "alone", *WORDS))
  first, second = runs.lines(hosts[1]), runs.lines(tmp_path / "alone")
  np.testing.assert_allclose(*([x["loss"] for x in lines] for lines in (first, second)), rtol=1e-4)


@nightly
def test_hosts_that_share_nothing_are_told(tmp_path):
  processes = several([tmp_path / "one", tmp_path / "two"])
  troubles = [runs.finish(process, 2)[1] for process in processes]
  assert "another process can't use this; it says why" in troubles[0]
  assert "process 1 does not see what process 0 wrote" in troubles[1]


@needs_gcsfs
def test_a_new_run_folder_is_held_to_the_config_in_the_bucket(bucket, tmp_path):
  address = f"{bucket}/begun"
  with store.Checkpoints(address) as saves:
    text = config_lib.to_json(a_config(address))
    saves.save(4, runs.a_state(), {"config": text, "metrics": ""})
  with pytest.raises(
    InputError, match=r"begun: this run was begun(.|\n)*train.batch_size: 16 there"
  ):
    with folder.opened(tmp_path, a_config(address, batch_size=32)):
      pass
  assert not (tmp_path / "config.json").exists()
  with folder.opened(tmp_path, a_config(address, keep=7)):
    pass


# What a user can mend, found before anything else is done.


@needs_gcsfs
def test_a_bucket_that_is_not_there(bucket, tmp_path):
  with pytest.raises(
    InputError, match=r"gs://nowhere/run can't be used \(NotFound.*buckets create"
  ):
    with folder.opened(tmp_path, a_config("gs://nowhere/run")):
      pass


@needs_gcsfs
def test_missing_credentials_are_told_in_seconds(tmp_path, monkeypatch):
  for name in ("STORAGE_EMULATOR_HOST", "TENSORSTORE_GCS_HTTP_URL"):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
  began = time.monotonic()
  with pytest.raises(
    InputError,
    match=r"gs://bucket/run can't be used \(DefaultCredentialsError: .*key.json was not found.*"
    r"gcloud auth application-default login.*storage.buckets.get",
  ):
    with folder.opened(tmp_path / "run", a_config("gs://bucket/run")):
      pass
  assert time.monotonic() - began < 10 * runs.PATIENCE
  with folder.opened(tmp_path / "run", a_config("")):  # nothing is left locked
    pass


def test_a_missing_package_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "google.cloud", None)
  with pytest.raises(InputError, match=r"can't be used \(ModuleNotFoundError.*mim-jax\[gcs\]"):
    with folder.opened(tmp_path, a_config("gs://bucket/run")):
      pass


def test_other_addresses_are_refused(tmp_path):
  with pytest.raises(InputError, match="s3://bucket/run is no place.*Allowed: gs://BUCKET/FOLDER"):
    with folder.opened(tmp_path, a_config("s3://bucket/run")):
      pass


def test_checkpoints_can_be_moved_but_not_lost_from_sight(tmp_path):
  run, old, new = tmp_path / "run", tmp_path / "old", tmp_path / "new"
  with folder.opened(run, a_config(str(old))):
    (old / "10").mkdir()
  with pytest.raises(InputError, match=rf"are in {old}, and there are none in {new}. Copy them"):
    with folder.opened(run, a_config(str(new))):
      pass
  shutil.copytree(old, new, dirs_exist_ok=True)
  with folder.opened(run, a_config(str(new))):
    pass
  assert sorted(os.listdir(new)) == ["10"]


def test_a_directory_that_not_all_processes_see_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(location.jax, "process_index", lambda: 1)
  with pytest.raises(InputError, match=r"process 1 does not see what process 0 wrote.*shared disk"):
    location.check(location.resolve(tmp_path))
  assert os.listdir(tmp_path) == []


def test_metrics_are_put_back_only_where_lines_are_missing(tmp_path, capsys):
  file, saved = tmp_path / metrics.FILE, '{"step": 1}\n{"step": 2}\n'
  file.write_text(saved + '{"step": 3}\n')
  metrics.restore(tmp_path, saved)
  assert [line["step"] for line in metrics.read(file)] == [1, 2, 3]
  assert capsys.readouterr().err == ""
  file.write_text('{"step": 1}\n')  # of a host on which process 0 ran before
  metrics.restore(tmp_path, saved)
  assert file.read_text() == saved
  assert "put back from the checkpoint" in capsys.readouterr().err
