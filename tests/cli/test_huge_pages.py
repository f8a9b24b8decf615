"""Commands that compute ask for large pages, once, and only where they are to be had."""

import pytest

from mim_jax.cli import huge_pages


@pytest.fixture
def machine(tmp_path, monkeypatch):
  """What is executed instead of this process, on a machine that offers large pages."""
  kernel, executed = tmp_path / "enabled", []
  kernel.write_text("always [madvise] never\n")
  monkeypatch.setattr(huge_pages, "PAGES", kernel)
  monkeypatch.setattr(huge_pages.platform, "libc_ver", lambda: ("glibc", "2.36"))
  monkeypatch.setattr(huge_pages.sys, "platform", "linux")
  monkeypatch.setattr(huge_pages.sys, "orig_argv", ["python", "-m", "mim_jax", "train"])
  monkeypatch.setattr(huge_pages.os, "execv", lambda *words: executed.append(words))
  monkeypatch.delenv(huge_pages.SETTING, raising=False)
  return kernel, executed


def test_the_process_starts_anew_with_its_own_words(machine):
  huge_pages.ask()
  assert [words[1][1:] for words in machine[1]] == [["-m", "mim_jax", "train"]]
  assert huge_pages.os.environ[huge_pages.SETTING].startswith("glibc.malloc.hugetlb=1:")
  huge_pages.ask()
  assert len(machine[1]) == 1


@pytest.mark.parametrize("why", ["user", "kernel", "library"])
def test_nothing_happens_where_the_user_or_the_machine_says_no(machine, monkeypatch, why):
  kernel, executed = machine
  if why == "user":
    monkeypatch.setenv(huge_pages.SETTING, "")
  elif why == "kernel":
    kernel.write_text("[always] madvise never\n")
  else:
    monkeypatch.setattr(huge_pages.platform, "libc_ver", lambda: ("", ""))
  huge_pages.ask()
  assert not executed
