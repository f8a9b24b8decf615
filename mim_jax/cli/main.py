"""`mim-jax COMMAND`: finds the command, and shows input errors as one message."""

import importlib
import os
import select
import signal
import sys

from mim_jax import errors
from mim_jax.cli import arguments, huge_pages

COMMANDS = {
  "train": "pre-train a method, evaluate it, write the report; resume it",
  "evaluate": "run evaluations on a run folder",
  "compare": "put runs beside each other: results, curves, config differences",
  "reconstruct": "draw what a run predicts for your images",
  "pack": "decode a data set once, into a store that reads much faster",
  "convert": "published weights in, ours out, in other layouts",
  "methods": "list the methods with paper, objective and numbers",
  "doctor": "show versions, devices, data folders, and what would fail",
  "completion": "print what makes bash or zsh complete commands and options",
}
USAGE = (
  "usage: mim-jax COMMAND [--help] ...\n\n"
  + "\n".join(f"  {name:<12} {text}" for name, text in COMMANDS.items())
  + "\n\nexample: mim-jax train --config=mae:dataset=embedded --workdir=runs/mae\n"
  + arguments.CODES
)


COMPUTE = ("train", "evaluate")


def start() -> None:
  """Runs the process of a command."""
  if sys.argv[1:2] and sys.argv[1] in COMPUTE:
    huge_pages.ask()
  try:
    try:
      code = main()
    finally:
      sys.stdout.flush()
  except BrokenPipeError:
    if not unread():  # a pipe to some other process, which is a fault
      raise
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # at exit Python flushes again
    code = 128 + signal.SIGPIPE
  sys.exit(code)


def unread() -> bool:
  """Tells whether nobody reads standard output any more, as `head` once it has seen enough."""
  poll = select.poll()
  poll.register(sys.stdout, 0)
  return any(event & select.POLLERR for _, event in poll.poll(0))


def main(argv: list[str] | None = None) -> int:
  """Runs a command and returns its exit code.

  0 done, 1 failed, 2 wrong input, 3 hung, 128 + n stopped by signal n.
  """
  if "_ARGCOMPLETE" in os.environ:
    module("completion").complete(COMMANDS, module)
  argv = sys.argv[1:] if argv is None else argv
  if not argv or argv[0] in ("-h", "--help"):
    print(USAGE)
    return 0
  try:
    if argv[0] not in COMMANDS:
      raise errors.unknown("mim-jax: command", argv[0], COMMANDS)
    return module(argv[0]).main(argv[1:])
  except errors.InputError as error:
    errors.tell("error", str(error))
    return 2
  except errors.RunError as error:
    errors.tell("error", str(error))
    return 1
  except KeyboardInterrupt:
    print("\nstopped before there was anything to save.", file=sys.stderr)
    return 130


def module(command: str):
  """Imports the module of a command, which has `parser` and `main`."""
  return importlib.import_module(f"mim_jax.cli.{command}")
