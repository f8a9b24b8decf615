"""`mim-jax completion`: shell completion of commands and options."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterable

from mim_jax import config as config_lib
from mim_jax.cli import arguments

SHELLS = ("bash", "zsh")
HOW = """
# To complete in every new shell:   echo 'eval "$(mim-jax completion SHELL)"' >> ~/.SHELLrc"""


def main(argv: list[str]) -> int:
  """Prints a script that makes the shell ask mim-jax at every TAB."""
  options = parser().parse_args(argv)

  import argcomplete

  print(
    argcomplete.shellcode(["mim-jax"], shell=options.shell), HOW.replace("SHELL", options.shell)
  )
  return 0


def parser() -> argparse.ArgumentParser:
  """Makes the parser of `mim-jax completion`."""
  made = arguments.parser(
    "completion",
    "bash | zsh",
    "Print what makes the shell complete commands, options, files, configs.",
    'eval "$(mim-jax completion bash)"',
  )
  made.add_argument("shell", choices=SHELLS, help="for which shell")
  return made


def complete(commands: Iterable[str], module: Callable) -> None:
  """Answers the shell (argcomplete's protocol: COMP_LINE in, words on file 8 out) and exits."""
  import argcomplete

  line, point = os.environ["COMP_LINE"], int(os.environ["COMP_POINT"])
  words = _words(line[:point])
  if len(words) > 2 and words[1] in commands:
    os.environ["_ARGCOMPLETE"] = "2"  # words that are no options: mim-jax and the command
    asked = module(words[1]).parser()
    for action in asked._actions:
      if action.dest == "config":
        action.completer = _configs
  else:
    asked = argparse.ArgumentParser()
    asked.add_argument("command", choices=list(commands))
  argcomplete.autocomplete(asked)
  sys.exit(0)


def _words(text: str) -> list[str]:
  """Splits a line up to the cursor into words, the last one as far as it is typed."""
  try:
    return [*shlex.split(text), *([""] if text.endswith(" ") else [])]
  except ValueError:  # a quote is open
    return text.split(" ")


def _configs(prefix: str, **_) -> list[str]:
  """Lists what --config may begin with: files here, and mim_jax's own configs by name."""
  import argcomplete

  return [*config_lib.names(), *argcomplete.completers.FilesCompleter()(prefix)]
