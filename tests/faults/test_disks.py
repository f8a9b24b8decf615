"""Disks that refuse: told at once, with one message, and the last good checkpoint stays."""

import contextlib
import gc
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from mim_jax.checkpoint import digests, store

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import runs


@contextlib.contextmanager
def someone_else(path):
  """Within it the process is nobody, where it was root, who may write anywhere."""
  if os.geteuid():
    yield
    return
  gc.collect()  # what other tests left behind could not be removed by nobody
  shutil.chown(path, 65534)
  os.seteuid(65534)
  try:
    yield
  finally:
    os.seteuid(0)


def test_lost_permission_is_told_and_the_last_good_one_kept():
  with tempfile.TemporaryDirectory() as place, someone_else(place):
    path = pathlib.Path(place) / "checkpoints"
    saves = store.Checkpoints(path, keep=1)
    saves.save(1, runs.a_state(1), {})
    saves.wait()
    path.chmod(0o500)
    try:
      with pytest.raises(store.SaveError) as error:
        saves.save(2, runs.a_state(2), {})
        saves.wait()
      assert "/2: saving failed (PermissionError" in str(error.value)
      assert "The one of step 1 was kept." in str(error.value)
    finally:
      path.chmod(0o700)
    with store.Checkpoints(path) as again:
      np.testing.assert_array_equal(
        again.restore(runs.abstract(runs.a_state()))[0]["a"], runs.a_state(1)["a"]
      )
    with contextlib.suppress(store.SaveError):
      saves.close()


def test_no_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
  path = tmp_path / "checkpoints"
  runs.written(path)
  monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9999, 9000, 999))
  with store.Checkpoints(path) as saves:
    with pytest.raises(
      store.SaveError,
      match=r"disk is full. A checkpoint needs 2,644 bytes, 999 are free. The one of step 2 was kept",
    ):
      saves.save(3, runs.a_state(3), {})
  assert sorted(p.name for p in path.iterdir()) == ["1", "2"]


def test_a_save_that_fails_in_the_background_is_told_at_the_next_check(tmp_path, monkeypatch):
  with store.Checkpoints(tmp_path, keep=1) as saves:
    saves.save(1, runs.a_state(1), {})
    saves.wait()

    def fail(folder):
      raise OSError(28, "No space left on device")

    monkeypatch.setattr(digests, "write", fail)
    saves.save(2, runs.a_state(2), {})
    saves._manager._checkpointer._async_manager._thread.join()
    with pytest.raises(store.SaveError, match=r"/2: saving failed \(.*No space left.*step 1 was"):
      saves.check()
      saves.wait()
    assert (tmp_path / "1").is_dir()


FULL = """
import pathlib, resource, signal, sys
sys.argv = ["mim-jax", "train", "--config=" + sys.argv[2], "--workdir=" + sys.argv[1]]
from mim_jax.checkpoint import store
real = store.Checkpoints.save
def save(self, step, *more, **words):
  self.wait()
  if step > 3:  # from now on no file may grow beyond 8 kB: writing fails inside of TensorStore
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
  return real(self, step, *more, **words)
store.Checkpoints.save = save
from mim_jax.cli.main import main
sys.exit(main())
"""


@pytest.mark.slow
def test_a_disk_that_refuses_ends_the_run_with_one_message_and_loses_nothing(tmp_path):
  done = subprocess.run(
    [sys.executable, "-c", FULL, str(tmp_path / "run"), str(runs.QUICK)],
    capture_output=True,
    text=True,
    env=runs.environment(tmp_path / "cache"),
    cwd=runs.ROOT,
    check=False,
  )
  assert done.returncode == 1, done.stderr
  assert "/6: saving failed (" in done.stderr
  assert "The one of step 3 was kept." in done.stderr
  assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
  runs.finish(runs.start(tmp_path / "run", cache=tmp_path / "cache"))
  runs.finish(runs.start(tmp_path / "whole", cache=tmp_path / "cache"))
  runs.same_run(tmp_path / "run", tmp_path / "whole")
