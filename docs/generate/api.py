"""The API reference: a page a room, from docstrings and signatures."""

import importlib
import inspect
import pkgutil
import re

import mim_jax
from docs.generate.markdown import escaped, first_line

NAMED = re.compile(r"([a-z_]\w*(?:, [a-z_]\w*)*): (.*)")  # "mean, std: of the pixels"


def pages() -> dict[str, str]:
  """{file: text}."""
  rooms = rooms_and_modules()
  made = {f"api/{room}.rst": page(room, modules) for room, modules in rooms.items()}
  return {**made, "api/index.md": index(rooms)}


def rooms_and_modules() -> dict[str, list[str]]:
  """{room: its modules}, all of mim_jax but the configs and what starts the command."""
  rooms: dict[str, list[str]] = {}
  for found in pkgutil.walk_packages(mim_jax.__path__, "mim_jax."):
    room = found.name.split(".")[1]
    if room not in ("__main__", "configs"):
      rooms.setdefault(room, []).append(found.name)
  return rooms


def page(room: str, modules: list[str]) -> str:
  """A room: every public name of every module."""
  text = [f"{room}\n{'=' * len(room)}\n"]
  for name in sorted(modules):
    title = name.removeprefix("mim_jax.")
    title = [] if title == room else [f"{title}\n{'-' * len(title)}\n"]
    text += [*title, f".. automodule:: {name}\n"]
  return "\n".join(text)


def index(rooms: dict[str, list[str]]) -> str:
  """All rooms, each with what it says of itself."""
  rows = [
    f"| [{room}](./{room}.rst) | {escaped(first_line(importlib.import_module(modules[0])))} |"
    for room, modules in sorted(rooms.items())
  ]
  listed = "\n".join(sorted(rooms))
  return "\n".join(
    [
      "# API reference\n",
      "Every public name, by room. In a signature, what stands before the star is given at run "
      "time; what stands after it is a setting of a config.\n",
      "| room | what it is |\n| --- | --- |",
      *rows,
      f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n",
    ]
  )


def docstring(app, what, name, thing, options, lines):
  """Sphinx's hook: our docstrings are plain text; makes reStructuredText of them, in place.

  A line "name: ..." or "mean, std: ..." becomes an entry of a list. Backticks are code.
  """
  blocks: list[list[str]] = [[]]
  for line in lines:
    told, text = NAMED.match(line.strip()), line.strip()
    if not text or text == "Attributes:":
      blocks.append([])
    elif text.startswith(">>>") or (blocks[-1] and blocks[-1][0].startswith(">>>")):
      blocks[-1].append(text)
    elif told:
      blocks.append([f"- **{told[1]}**: {plain(told[2])}"])
    else:
      blocks[-1].append(plain(text))
  text = []
  for block in filter(None, blocks):
    text += [*block, ""] if block[0].startswith(">>>") else [" ".join(block), ""]
  if inspect.isclass(thing) and "__call__" in vars(thing):
    call = inspect.signature(thing.__call__)
    text += [
      f"Called with ``{', '.join(spelled(p) for p in list(call.parameters.values())[1:])}``.",
      "",
    ]
  lines[:] = text


def plain(text: str) -> str:
  """Text in which nothing but `code` means anything to reStructuredText."""
  parts = text.split("`")
  if len(parts) % 2 == 0:
    return re.sub(r"([\\*|`]|_(?!\w))", r"\\\1", text)
  return "".join(
    f"``{part}``" if i % 2 else re.sub(r"([\\*|]|_(?!\w))", r"\\\1", part)
    for i, part in enumerate(parts)
  )


def spelled(parameter: inspect.Parameter) -> str:
  """'mask' or 'mask=None'."""
  if parameter.default is inspect.Parameter.empty:
    return str(parameter).partition(":")[0]
  return f"{parameter.name}={parameter.default!r}"


def signature(app, what, name, thing, options, shown, returned):
  """Sphinx's hook: Linen's own fields are no settings."""
  if what == "class" and shown:
    shown = re.sub(r", parent:.*(?=\)$)", "", shown)
  return tuple(text and text.replace("jaxlib._jax.", "") for text in (shown, returned))
