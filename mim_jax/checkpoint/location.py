"""The location of checkpoints: in the run folder, or in a bucket that all hosts reach."""

import os
import shutil
import urllib.parse

import jax
from etils import epath

from mim_jax.devices import mesh
from mim_jax.errors import InputError

BUCKET = "gs://"
WAIT = 30.0  # seconds for an answer of the bucket
REMEDY = (
  "Needed are `pip install 'mim-jax[gcs]'`; credentials (`gcloud auth application-default login`, "
  "GOOGLE_APPLICATION_CREDENTIALS=FILE.json, or the machine's service account) that may read the "
  "bucket itself (storage.buckets.get) and read, write, list and delete its objects; and that the "
  "bucket exists (`gcloud storage buckets create`)."
)


def resolve(path) -> epath.Path:
  """Resolves a directory to an absolute path; the address of a bucket is unchanged.

  InputError for other addresses, which Orbax can't write to.
  """
  text = os.fspath(path)
  if text.startswith(BUCKET):
    return epath.Path(text)
  if "://" in text:
    raise InputError(
      f"train.checkpoints: {text} is no place for checkpoints. Allowed: gs://BUCKET/FOLDER, or a "
      "directory, into which other kinds of buckets can be mounted."
    )
  return epath.Path(os.path.abspath(text))


def checkpoint_dir(workdir, config) -> epath.Path:
  """Finds the checkpoints of a run: at `train.checkpoints`, or else in the run folder."""
  return resolve(config.train.get("checkpoints", "") or os.path.join(workdir, "checkpoints"))


def steps(place: epath.Path) -> list[int]:
  """Lists the steps of which there is anything, oldest first."""
  return sorted(int(x.name) for x in place.iterdir() if x.name.isdigit()) if place.exists() else []


def free_bytes(place: epath.Path) -> int | None:
  """Measures free disk space; None where there is no such number: a bucket has no end."""
  return shutil.disk_usage(place).free if place.as_posix().startswith("/") else None


def check(place: epath.Path) -> None:
  """Checks that every process can write to the directory and read process 0's file.

  All processes must call this; all return or all raise. Errors: InputError with the remedy.
  """
  name = ".check_{}".format
  mine = place / name(jax.process_index())
  on_all_processes(place, lambda: _write(mine))
  try:
    on_all_processes(place, lambda: _read(place / name(0)))
  finally:
    mine.unlink(missing_ok=True)


def on_all_processes(place, act) -> None:
  """Calls act() in all processes: all continue, or all raise, its error or an InputError."""
  trouble: Exception | None = None
  try:
    act()
  except Exception as error:
    trouble = error
  if mesh.all_reduce_max(trouble is not None):
    raise trouble or InputError(f"{place}: another process can't use this; it says why.")


def _write(file: epath.Path) -> None:
  try:
    if os.fspath(file).startswith(BUCKET):
      _probe_bucket(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("checked")
  except Exception as error:
    raise refused(file.parent, error) from error


def _probe_bucket(file: epath.Path) -> None:
  """Asks for the bucket, as Orbax will: gcsfs alone tries for minutes, without credentials too."""
  from google.cloud import storage  # of the extra gcs

  storage.Client().get_bucket(file.parts[2], timeout=WAIT, retry=None)


def _read(file: epath.Path) -> None:
  """Reads as arrays are read: TensorStore finds its credentials automatically."""
  import tensorstore  # heavy

  folder = os.fspath(file.parent)
  folder = folder if folder.startswith(BUCKET) else f"file://{urllib.parse.quote(folder)}"
  try:
    found = tensorstore.KvStore.open(f"{folder}/").result(WAIT).read(file.name).result(WAIT)
  except Exception as error:
    raise refused(file.parent, error) from error
  if found.state != "value":
    raise InputError(
      f"{file.parent}: process {jax.process_index()} does not see what process 0 wrote there. "
      "Checkpoints must lie where all processes see the same: give --workdir on a shared disk, or "
      "--config.train.checkpoints=gs://BUCKET/FOLDER."
    )


def refused(place: epath.Path, error: Exception) -> InputError:
  """Makes the InputError for checkpoints that can't be written or read."""
  said = f"{type(error).__name__}: {str(error) or f'no answer within {WAIT:.0f} s'}".splitlines()[0]
  remedy = REMEDY if os.fspath(place).startswith(BUCKET) else "Choose one that you may write."
  return InputError(f"train.checkpoints: {place} can't be used ({said[:300]}). {remedy}")
