"""Errors a user can act on: where, what came, what is allowed, the nearest name, what to do."""

import difflib
import os
import sys
from collections.abc import Iterable

COLOURS = {"error": 31, "warning": 33, "notice": 36}  # red, yellow, cyan


class InputError(ValueError):
  """A mistake in what the user gave; the command line shows its text without a traceback."""


class UnreadableError(InputError):
  """One entry of a data set cannot be used; training goes on without it, within a limit."""


class RunError(RuntimeError):
  """A run that can't go on through no mistake of the user; shown without a traceback, too."""


def nearest(name: str, allowed: Iterable[str]) -> str:
  """The allowed name most like `name`, as the end of a sentence."""
  close = difflib.get_close_matches(str(name), [str(a) for a in allowed], n=1, cutoff=0.5)
  return f"; did you mean {close[0]!r}?" if close else "."


def unknown(what: str, name: str, allowed: Iterable[str], remedy: str = "") -> InputError:
  """The error for a name that is not among the allowed ones."""
  allowed = sorted(str(a) for a in allowed)
  return InputError(
    f"{what}: {name!r} is unknown{nearest(name, allowed)} Allowed: {', '.join(allowed)}. {remedy}"
  )


def tell(kind: str, text: str) -> None:
  """Says "error: ..." (or warning, notice) on stderr, above a progress bar if there is one.

  The first word is coloured in a terminal, unless NO_COLOR is set (no-color.org) or TERM is "dumb".
  """
  import tqdm

  word = f"\033[1;{COLOURS[kind]}m{kind}:\033[0m" if coloured(sys.stderr) else f"{kind}:"
  tqdm.tqdm.write(f"{word} {text}", file=sys.stderr)
  sys.stderr.flush()


def coloured(stream) -> bool:
  """Whether colours may be written to a stream."""
  plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
  return stream.isatty() and not plain
