"""Run folders: written by one, held to their config."""

import json
import os
import pathlib
import stat
import subprocess
import sys

import filelock
import pytest

from mim_jax import config as config_lib
from mim_jax.errors import InputError
from mim_jax.train import folder


def a_config(**train):
  config = config_lib.get_config("mae", "dataset=digits,size=nano")
  config.train.update(train)
  return config


def test_a_folder_in_use_names_its_owner(tmp_path):
  with folder.opened(tmp_path, a_config()):
    with pytest.raises(
      InputError, match=rf"in use by process {os.getpid()} on .*, started .*--workdir"
    ):
      with folder.opened(tmp_path, a_config()):
        pass
  with folder.opened(tmp_path, a_config()):  # free again
    pass


def test_a_lock_left_by_a_killed_process_is_free(tmp_path):
  holder = (
    "import filelock, os, signal; "
    f"filelock.FileLock({str(tmp_path / '.lock')!r}).acquire(); os.kill(os.getpid(), signal.SIGKILL)"
  )
  subprocess.run([sys.executable, "-c", holder], check=False)
  (tmp_path / ".owner").write_text("process 1 on nowhere")
  with folder.opened(tmp_path, a_config()) as path:
    assert "nowhere" not in (path / ".owner").read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
  tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
  with pytest.raises(InputError, match=r"can't be written \(Permission denied\).*--workdir"):
    with folder.opened(tmp_path / "run", a_config()):
      pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError, match=r"can't be written \(Not a directory\)"):
    with folder.opened(tmp_path / "file" / "run", a_config()):
      pass
  with pytest.raises(InputError, match=r"can't be written \(File exists\)"):
    with folder.opened(tmp_path / "file", a_config()):
      pass


def test_a_failing_lock_is_refused_like_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
  def refuse(self, *args, **kwargs):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
  with pytest.raises(InputError, match=r"can't be written \(Permission denied\)"):
    with folder.opened(tmp_path / "run", a_config()):
      pass


def test_another_config_is_refused_key_by_key(tmp_path):
  with folder.opened(tmp_path, a_config(batch_size=32)):
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
  other = a_config(batch_size=64)
  other.objective.mask.ratio = 0.5
  with pytest.raises(InputError) as error:
    with folder.opened(tmp_path, other):
      pass
  text = str(error.value)
  assert "objective.mask.ratio: 0.75 there, 0.5 now" in text
  assert "train.batch_size: 32 there, 64 now" in text
  assert "evaluations., pictures., train.checkpoint_every" in text


def test_before_the_first_checkpoint_a_config_can_be_corrected(tmp_path):
  with folder.opened(tmp_path, a_config(batch_size=32)):
    pass
  with folder.opened(tmp_path, a_config(batch_size=64)):
    assert folder.read_config(tmp_path).train.batch_size == 64


def test_what_may_change_may_change(tmp_path):
  with folder.opened(tmp_path, a_config(log_every=5)):
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
  with folder.opened(tmp_path, a_config(log_every=7, steps=9999)):
    pass
  assert json.loads((tmp_path / "config.json").read_text())["train"]["log_every"] == 7
  assert not list(pathlib.Path(tmp_path).glob("*.tmp"))


def test_a_folder_without_config_is_no_run_folder(tmp_path):
  with pytest.raises(InputError, match=r"no config.json here.*--workdir"):
    folder.read_config(tmp_path)
