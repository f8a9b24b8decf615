"""Errors a user can act on: where, what came, what is allowed, the nearest name, what to do."""

import difflib
from collections.abc import Iterable


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
