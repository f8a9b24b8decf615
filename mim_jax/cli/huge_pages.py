"""Huge pages, and memory that is kept: what a process must ask for at its start."""

import os
import pathlib
import platform
import sys

SETTING = "GLIBC_TUNABLES"
# Pages of 2 MiB; and what a step gives back stays with the process, for the next one.
ASKED = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:" + ":".join(
  f"glibc.malloc.{name}_threshold={2**35}" for name in ("mmap", "trim")
)
PAGES = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def ask() -> None:
  """Restarts the process with huge pages and kept memory, where the system offers them.

  On a CPU the arrays of a step come from malloc, and much of a step can go into page faults
  (experiments/throughput). Where GLIBC_TUNABLES is set, be it to nothing, all stays unchanged.
  """
  if SETTING not in os.environ and offered():
    os.environ[SETTING] = ASKED
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def offered() -> bool:
  """Tells whether Linux leaves it to programs, and the C library (glibc from 2.35 on) can ask."""
  if sys.platform != "linux" or not PAGES.exists() or "[madvise]" not in PAGES.read_text():
    return False
  name, version = platform.libc_ver()
  return name == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
