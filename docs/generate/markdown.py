"""What the made pages share: text and tables that Markdown takes as they are."""

import inspect
import re


def first_line(thing) -> str:
  """The first paragraph of a docstring, on one line."""
  return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def table(head: tuple, rows: list[tuple]) -> str:
  """A Markdown table."""
  lines = [head, ("---",) * len(head), *rows]
  return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def code(value) -> str:
  """A value as code; keys (text that is one) without quotes."""
  text = value if isinstance(value, str) and re.fullmatch(r"[\w.]+", value) else repr(value)
  return code_of(text)


def code_of(text: str) -> str:
  """Text as code in a cell of a table."""
  return f"`{text}`".replace("|", "\\|")


def escaped(text: str) -> str:
  """Text in which nothing but `code` means anything to Markdown."""
  parts = text.split("`")
  if len(parts) % 2 == 0:
    return re.sub(r"([\\*|_<\[\]`$])", r"\\\1", text)
  return "".join(
    f"`{part}`".replace("|", "\\|") if i % 2 else re.sub(r"([\\*|_<\[\]$])", r"\\\1", part)
    for i, part in enumerate(parts)
  )
