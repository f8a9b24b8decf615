"""Run folders: one run at a time, held to its config and its data, refused at once if unusable."""

import pathlib
import signal
import subprocess
import sys
import time

import pytest

from mim_jax import config as config_lib
from mim_jax.errors import InputError
from mim_jax.train import folder, loop

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import runs


class Trainable:
  """What is trained, as far as check_dataset asks."""

  class spec:
    class data:
      train = range(1438)

    def fingerprint():
      return "b0b"


def test_changed_data_are_refused_with_counts():
  with pytest.raises(
    InputError,
    match=r"changed since the checkpoint \(1,500 samples, fingerprint a1c then; 1,438 samples, "
    r"fingerprint b0b now\)",
  ):
    loop.check_dataset({"dataset": "a1c", "images": 1500}, Trainable())
  with pytest.raises(InputError, match=r"\(fingerprint a1c then; 1,438"):  # of an older checkpoint
    loop.check_dataset({"dataset": "a1c"}, Trainable())
  loop.check_dataset({"dataset": "b0b"}, Trainable())


@pytest.mark.parametrize("place", ["gs://bucket/run", "s3://bucket/run", "gs:/bucket/run"])
def test_an_address_is_no_run_folder(place):
  with pytest.raises(InputError, match="is an address.*--config.train.checkpoints=gs://BUCKET"):
    with folder.opened(place, config_lib.get_config(str(runs.QUICK))):
      pass
  assert not pathlib.Path("gs:").exists()


HOLD = """
import sys, time
from mim_jax import config
from mim_jax.train import folder
with folder.opened(sys.argv[1], config.get_config(sys.argv[2])):
  print("open", flush=True)
  time.sleep(600)
"""


def test_a_second_run_is_refused_and_a_killed_one_frees_the_folder(tmp_path):
  holder = subprocess.Popen(
    [sys.executable, "-c", HOLD, str(tmp_path), str(runs.QUICK)],
    stdout=subprocess.PIPE,
    text=True,
    env=runs.environment(),
    cwd=runs.ROOT,
  )
  config = config_lib.get_config(str(runs.QUICK))
  try:
    assert holder.stdout.readline() == "open\n"
    began = time.monotonic()
    with pytest.raises(InputError, match=rf"in use by process {holder.pid} on .*, started "):
      with folder.opened(tmp_path, config):
        pass
    assert time.monotonic() - began < 2
  finally:
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
  with folder.opened(tmp_path, config):
    pass
