"""What a run writes is data: no pickle, no code; and the compilation cache is private."""

import io
import pathlib
import pickletools
import sys

import jax
import pytest

from mim_jax.devices import compilation_cache
from mim_jax.errors import InputError

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import runs

KINDS = {".json", ".jsonl", ".html", ".png", ".safetensors", ".txt", ".ocdbt", ".lock", ""}


def is_pickle(data: bytes) -> bool:
  """Whether a pickle of any protocol stands at the start: opcodes up to STOP, more than one."""
  try:
    return sum(1 for _ in pickletools.genops(io.BytesIO(data))) > 1
  except Exception:
    return False


def is_code(data: bytes) -> bool:
  """A script, an ELF, Mach-O or Windows program, Python byte code, or a zip."""
  magic = (b"#!", b"\x7fELF", b"\xcf\xfa\xed\xfe", b"MZ", b"PK\x03\x04")
  return data.startswith(magic) or data[2:4] == b"\r\n"


def test_the_scan_finds_what_it_looks_for():
  import pickle

  for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
    assert is_pickle(pickle.dumps({"a": [1, 2.0]}, protocol))
  assert not is_pickle(b'{"a": 1}') and not is_pickle(b"")
  compiled = pathlib.Path(pickle.__cached__)
  assert is_code(compiled.read_bytes()) and is_code(pathlib.Path(sys.executable).read_bytes()[:64])


@pytest.mark.slow
def test_no_file_of_a_run_is_pickle_or_code(tmp_path):
  runs.finish(runs.start(tmp_path))
  files = [p for p in tmp_path.rglob("*") if p.is_file()]
  assert len(files) > 20
  for file in files:
    data = file.read_bytes()
    assert not is_pickle(data), file
    assert not is_code(data), file
    assert not file.stat().st_mode & 0o111, file
    assert file.suffix in KINDS or file.name.startswith("events.out.tfevents."), file
  assert "<script" not in (tmp_path / "report.html").read_text()


@pytest.fixture
def options_of_jax():
  names = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_compilation_cache_max_size",
  )
  before = {name: getattr(jax.config, name) for name in names}
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def test_the_cache_is_on_in_a_private_folder(tmp_path, monkeypatch, options_of_jax):
  monkeypatch.delenv(compilation_cache.NAME, raising=False)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  place = compilation_cache.start()
  assert place == tmp_path / "mim_jax" / "xla"
  assert jax.config.jax_compilation_cache_dir == str(place)
  assert place.stat().st_mode & 0o777 == 0o700
  monkeypatch.setenv(compilation_cache.NAME, str(tmp_path / "mine"))
  assert compilation_cache.start() == tmp_path / "mine"


def test_what_a_killed_process_left_in_the_cache_is_removed(tmp_path, monkeypatch, options_of_jax):
  monkeypatch.delenv(compilation_cache.NAME, raising=False)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  place = compilation_cache.default()
  place.mkdir(parents=True, mode=0o700)
  for name in ("jit_whole-1-cache", "jit_whole-1-atime", "jit_cut-2-cache"):
    (place / name).write_bytes(b"some")
  compilation_cache.start()
  assert {x.name for x in place.glob("jit_*")} == {"jit_whole-1-cache", "jit_whole-1-atime"}
  monkeypatch.setenv(compilation_cache.NAME, str(place))
  jax.config.update("jax_compilation_cache_max_size", -1)
  compilation_cache.start()
  assert jax.config.jax_compilation_cache_max_size == -1


def test_a_home_that_can_not_be_written_to_means_no_cache(tmp_path, monkeypatch, options_of_jax):
  (tmp_path / "file").write_text("")
  monkeypatch.delenv(compilation_cache.NAME, raising=False)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  assert compilation_cache.start() is None


def test_a_cache_that_others_can_write_to_is_refused(tmp_path, monkeypatch, options_of_jax):
  place = tmp_path / "a" / "cache"
  compilation_cache.check(place)
  assert place.stat().st_mode & 0o777 == 0o700
  place.chmod(0o770)
  monkeypatch.setenv(compilation_cache.NAME, str(place))
  with pytest.raises(InputError, match=r"others may write to this compilation cache.*chmod 700"):
    compilation_cache.start()
  place.chmod(0o700)
  monkeypatch.setattr(compilation_cache.os, "geteuid", lambda: 12345)
  with pytest.raises(InputError, match="belongs to user .*, not to you"):
    compilation_cache.start()


def test_one_entry_without_a_date_stops_jax_and_not_us(tmp_path):
  """JAX's own cache, which reads the dates of all entries before it keeps another."""
  from jax._src import lru_cache

  lru_cache.LRUCache(str(tmp_path), max_size=-1).put("cut", b"1")  # no limit, no date
  ours = lru_cache.LRUCache(str(tmp_path), max_size=1000)
  with pytest.raises(FileNotFoundError):
    ours.put("ours", b"2")
  compilation_cache.sweep(tmp_path)
  ours.put("ours", b"2")
  assert (ours.get("cut"), ours.get("ours")) == (None, b"2")
