"""The progress of a run in a terminal, in a notebook and in a log file, each for real."""

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios

import nbformat
import pytest

CODE = """
from mim_jax.monitor import progress
bar = progress.Progress(start=0, total=40, batch_size=8)
for step in range(1, 41):
  bar.advance()
  if step % 10 == 0:
    bar.show(step, 1 / step, rate=8.0, seconds=float(step))
  if step == 20:
    bar.say("step 20/40  knn accuracy 0.5")
bar.close()
"""


def in_terminal(code, columns):
  """What a process writes to a terminal of this width."""
  ours, theirs = os.openpty()
  fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
  with subprocess.Popen([sys.executable, "-c", code], stderr=theirs, stdout=theirs) as process:
    os.close(theirs)
    written, ended = b"", False
    while not ended:
      ended = process.poll() is not None  # asked first, so that nothing is left to read behind it
      while select.select([ours], [], [], 0.1)[0]:
        try:
          read = os.read(ours, 4096)
        except OSError:  # so Linux says that nobody writes any more
          read = b""
        if not read:
          break
        written += read
  os.close(ours)
  assert process.returncode == 0
  return written.decode()


@pytest.mark.parametrize("columns", [100, 0])  # containers often have a terminal of no width
def test_a_terminal_has_a_bar_with_rate_time_left_and_loss(columns):
  shown = in_terminal(CODE, columns)
  last = [line for line in shown.split("\r") if "train" in line][-1]
  assert re.search(r"train: 100%.*320/320 \[\d\d:\d\d<\d\d:\d\d, .* samples/s", last), shown
  assert "loss=0.0250, step=40" in last
  assert re.search(r"\rstep 20/40  knn accuracy 0.5\r\n", shown)  # on a line of its own


def test_a_log_file_has_a_line_now_and_then_and_no_carriage_return():
  done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True)
  assert done.stdout == b""
  lines = done.stderr.decode().split("\n")
  assert lines == [  # of four that came within ten seconds, the first and the last
    "step 10/40  loss 0.1000  8 samples/s  00:30 left",
    "step 20/40  knn accuracy 0.5",
    "step 40/40  loss 0.0250  8 samples/s  00:00 left",
    "",
  ]


def test_a_notebook_has_a_bar_and_no_warning(notebook_runs):
  made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
  texts = [x["text"] for x in notebook_runs(made).cells[0].outputs if x["output_type"] == "stream"]
  shown = "".join(texts)
  assert "arning" not in shown
  assert "loss=0.0250, step=40" in shown.split("\r")[-1], shown
  assert "\nstep 20/40" in shown or "\rstep 20/40" in shown
