"""Commands that compute ask for large pages, once, and only where they are to be had."""

import pytest

from mim_jax.cli import pages


@pytest.fixture
def machine(tmp_path, monkeypatch):
  """What is executed instead of this process, on a machine that offers large pages."""
  kernel, executed = tmp_path / "enabled", []
  kernel.write_text("always [madvise] never\n")
  monkeypatch.setattr(pages, "PAGES", kernel)
  monkeypatch.setattr(pages.platform, "libc_ver", lambda: ("glibc", "2.36"))
  monkeypatch.setattr(pages.sys, "platform", "linux")
  monkeypatch.setattr(pages.sys, "orig_argv", ["python", "-m", "mim_jax", "train"])
  monkeypatch.setattr(pages.os, "execv", lambda *words: executed.append(words))
  monkeypatch.delenv(pages.SETTING, raising=False)
  return kernel, executed


def test_the_process_starts_anew_with_its_own_words(machine):
  pages.ask()
  assert [words[1][1:] for words in machine[1]] == [["-m", "mim_jax", "train"]]
  assert pages.os.environ[pages.SETTING].startswith("glibc.malloc.hugetlb=1:")
  pages.ask()
  assert len(machine[1]) == 1


@pytest.mark.parametrize("why", ["user", "kernel", "library"])
def test_nothing_happens_where_the_user_or_the_machine_says_no(machine, monkeypatch, why):
  kernel, executed = machine
  if why == "user":
    monkeypatch.setenv(pages.SETTING, "")
  elif why == "kernel":
    kernel.write_text("[always] madvise never\n")
  else:
    monkeypatch.setattr(pages.platform, "libc_ver", lambda: ("", ""))
  pages.ask()
  assert not executed
