"""How the commands behave: help, completion, colours, what is imported, what is said last."""

import argparse
import io
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from mim_jax import errors
from mim_jax.cli import arguments, completion
from mim_jax.cli import main as cli

ROOT = pathlib.Path(__file__).parents[2]
HEAVY = ("grain", "jax", "matplotlib", "orbax", "sklearn", "tensorflow", "torch", "wandb")
PYTHON = [sys.executable, "-m", "mim_jax"]


def shown(words, capsys):
  """What a command prints that ends by itself."""
  with pytest.raises(SystemExit) as stopped:
    cli.main(words)
  assert stopped.value.code == 0
  return capsys.readouterr().out


@pytest.mark.parametrize("command", [None, *cli.COMMANDS])
def test_help_is_one_screen_with_an_example_and_the_exit_codes(command, capsys):
  if command:
    text = shown([command, "--help"], capsys)
  else:
    assert cli.main([]) == 0
    text = capsys.readouterr().out
  lines = text.splitlines()
  assert len(lines) <= 24
  assert [line for line in lines if len(line) > 80] == []
  assert any(line.startswith("example: ") for line in lines)
  assert lines[-1] == arguments.CODES


def test_the_exit_codes_of_the_help_are_those_of_the_readme():
  readme = (ROOT / "README.md").read_text()
  for code in ("0", "1", "2", "3", "130, 143"):
    assert f"| {code} |" in readme and code in arguments.CODES


@pytest.mark.parametrize(
  "words", [["-c", "import mim_jax"], *([c, "--help"] for c in cli.COMMANDS)]
)
def test_what_only_talks_imports_nothing_heavy(words):
  """Seconds are not measured here: what is not imported costs none."""
  code = "import sys\nimport mim_jax\nfrom mim_jax.cli import main\n"
  if words[0] != "-c":
    code += f"try:\n  main.main({words!r})\nexcept SystemExit: pass\n"
  code += f"print('imported', [m for m in {HEAVY!r} if m in sys.modules])"
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.splitlines()[-1] == "imported []"


def test_the_table_of_methods_needs_no_library_for_data_or_pictures():
  code = "import sys\nfrom mim_jax import catalog\ncatalog.rows()\n"
  heavy = sorted({*HEAVY} - {"jax"})
  code += f"print([m for m in {heavy!r} if m in sys.modules])"
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "[]"


# Completion.


def offered(line, tmp_path):
  """What TAB offers at the end of a line."""
  asked = dict(COMP_LINE=line, COMP_POINT=str(len(line)), _ARGCOMPLETE="1")
  asked |= dict(_ARGCOMPLETE_STDOUT_FILENAME=str(tmp_path / "out"), _ARGCOMPLETE_SHELL="bash")
  subprocess.run(PYTHON, env=os.environ | asked, check=True, cwd=ROOT)
  return (tmp_path / "out").read_text().split("\013")


@pytest.mark.parametrize(
  ("line", "some"),
  [
    ("mim-jax ", {"train", "evaluate", "methods"}),
    ("mim-jax co", {"compare", "completion", "convert"}),
    ("mim-jax train --", {"--config", "--workdir", "--topology"}),
    ("mim-jax train --config=ma", {"--config=mae", "--config=maskalign"}),
    ("mim-jax train --config=conf", {"--config=configs/"}),
    ("mim-jax completion 'b", {"bash"}),
  ],
)
def test_a_shell_is_offered_commands_options_configs_and_files(line, some, tmp_path):
  assert {word.strip() for word in offered(line, tmp_path)} >= some


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_script_is_one_that_the_shell_understands(shell, capsys):
  assert cli.main(["completion", shell]) == 0
  script = capsys.readouterr().out
  assert f"mim-jax completion {shell}" in script and f"~/.{shell}rc" in script
  if shutil.which(shell):
    subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_every_command_has_a_parser():
  for command in cli.COMMANDS:
    assert isinstance(cli.module(command).parser(), argparse.ArgumentParser)


# Colours.


class Terminal(io.StringIO):
  """What says that it is a terminal."""

  def isatty(self):
    return True


@pytest.mark.parametrize(
  ("stream", "environment", "expected"),
  [
    (Terminal(), {}, True),
    (Terminal(), {"NO_COLOR": "1"}, False),
    (Terminal(), {"NO_COLOR": ""}, True),  # no-color.org: not when it is empty
    (Terminal(), {"TERM": "dumb"}, False),
    (io.StringIO(), {}, False),
  ],
)
def test_colours_are_for_terminals_that_want_them(monkeypatch, stream, environment, expected):
  for name in ("NO_COLOR", "TERM"):
    monkeypatch.delenv(name, raising=False)
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  monkeypatch.setattr(sys, "stderr", stream)
  assert cli.main(["trian"]) == 2
  assert ("\033[" in stream.getvalue()) == expected
  assert stream.getvalue().replace("\033[1;31m", "").startswith("error:")
  assert errors.coloured(stream) == expected


# What is said last.


@pytest.mark.parametrize("words", [["--help"], ["methods", "--help"], ["completion", "bash"]])
def test_a_reader_that_has_seen_enough_ends_a_command_without_a_traceback(words):
  reads, writes = os.pipe()
  os.close(reads)
  buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
  done = subprocess.run(
    [*PYTHON, *words], stdout=writes, stderr=subprocess.PIPE, text=True, check=False, env=buffered
  )
  os.close(writes)
  assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_a_broken_pipe_to_another_process_is_a_fault(monkeypatch):
  def broken():
    raise BrokenPipeError

  monkeypatch.setattr(cli, "main", broken)
  monkeypatch.setattr(cli.huge_pages, "ask", lambda: None)
  with open(os.devnull, "w") as out, pytest.raises(BrokenPipeError):
    monkeypatch.setattr(sys, "stdout", out)
    cli.start()


def test_a_command_ends_with_the_paths_it_wrote(capsys):
  arguments.name_files(["a/b.png", pathlib.Path("c")])
  assert capsys.readouterr().out == "\nwritten:\n  a/b.png\n  c\n"
