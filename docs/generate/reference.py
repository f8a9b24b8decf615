"""The API reference, a page a room, and the configuration reference, from code and configs."""

import ast
import importlib
import inspect
import pkgutil
import re

import mim_jax
from mim_jax import config as config_lib
from mim_jax import methods
from mim_jax.configs import common
from mim_jax.evaluate import standard

# Where things lie that a config may name, beside those that a config does name.
SHELVES = (
  *(f"mim_jax.{room}" for room in methods.ROOMS),
  "mim_jax.objectives",
  "mim_jax.teachers",
  "mim_jax.data.sources",
  "mim_jax.data.mixing",
  "mim_jax.train.optimizer",
  "mim_jax.train.schedules",
)
NAMED = re.compile(r"([a-z_]\w*(?:, [a-z_]\w*)*): (.*)")  # "mean, std: of the pixels"


def pages() -> dict[str, str]:
  """{file: text} of both references."""
  rooms = rooms_and_modules()
  made = {f"api/{room}.rst": api_page(room, modules) for room, modules in rooms.items()}
  return {**made, "api/index.md": api_index(rooms), "configuration.md": configuration()}


# The API.


def rooms_and_modules() -> dict[str, list[str]]:
  """{room: its modules}, all of mim_jax but the configs and what starts the command."""
  rooms: dict[str, list[str]] = {}
  for found in pkgutil.walk_packages(mim_jax.__path__, "mim_jax."):
    room = found.name.split(".")[1]
    if room not in ("__main__", "configs"):
      rooms.setdefault(room, []).append(found.name)
  return rooms


def first_line(thing) -> str:
  """The first paragraph of a docstring, on one line."""
  return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def api_page(room: str, modules: list[str]) -> str:
  """A room: every public name of every module."""
  text = [f"{room}\n{'=' * len(room)}\n"]
  for name in sorted(modules):
    title = name.removeprefix("mim_jax.")
    title = [] if title == room else [f"{title}\n{'-' * len(title)}\n"]
    text += [*title, f".. automodule:: {name}\n"]
  return "\n".join(text)


def api_index(rooms: dict[str, list[str]]) -> str:
  """All rooms, each with what it says of itself."""
  rows = [
    f"| [{room}](./{room}.rst) | {escaped(first_line(importlib.import_module(f'mim_jax.{room}')))} |"
    for room in sorted(rooms)
  ]
  listed = "\n".join(sorted(rooms))
  return "\n".join([
    "# API reference\n",
    "Every public name, by room. In a signature, what stands before the star is given at run "
    "time; what stands after it is a setting of a config.\n",
    "| room | what it is |\n| --- | --- |",
    *rows,
    f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n",
  ])


def docstring(app, what, name, thing, options, lines):
  """Sphinx's hook: our docstrings are plain text; makes reStructuredText of them, in place.

  A line "name: ..." or "mean, std: ..." becomes an entry of a list. Backticks are code.
  """
  blocks, entry = [[]], False
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
  del entry
  text = []
  for block in filter(None, blocks):
    text += [*block, ""] if block[0].startswith(">>>") else [" ".join(block), ""]
  if inspect.isclass(thing) and "__call__" in vars(thing):
    call = inspect.signature(thing.__call__)
    text += [f"Called with ``{', '.join(spelled(p) for p in list(call.parameters.values())[1:])}``.", ""]
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
  return shown, returned


# The configuration.


def configuration() -> str:
  """Arguments, keys of every config, all keys of MAE's, and the settings of every part."""
  sections = [
    (f"# Configuration reference\n\nMade from the configs and signatures of version "
     f"{mim_jax.__version__}.\n"),
    "## Arguments of a config\n\nAfter the colon: "
    "`--config=configs/mae.py:size=S,dataset=folder,path=photos`, or "
    '`mim_jax.get_config("mae", "size=S")`.\n',
    table(("argument", "default", "meaning"), arguments()),
    "Some methods take more:\n",
    table(("method", "argument", "default"), own_arguments()),
    "## Keys of every config\n\n`--config.KEY=VALUE` on the command line, type-checked.\n",
    table(("key", "default", "meaning"), shared_keys()),
    "## MAE's config, whole\n\nAt size B. How others differ is on the "
    "[page of each method](methods/index.md).\n",
    table(("key", "value"), [(code(k), code(v)) for k, v in flat("mae").items()]),
    "## Settings of the parts\n\nWhat a node may name. A node is written "
    "`part(thing, setting=value)` and stores every setting.\n",
    *part_sections(),
  ]
  return "\n".join(sections)


def arguments() -> list[tuple]:
  """The arguments that every config takes, with what the source says beside them."""
  beside = remarks(inspect.getsource(common))
  return [(code(k), code(v), escaped(beside.get(k, ""))) for k, v in common.ARGUMENTS.items()]


def own_arguments() -> list[tuple]:
  """(method, argument, default) of what only some configs take."""
  rows = []
  for name in config_lib.names():
    tree = ast.parse((config_lib.folder() / f"{name}.py").read_text())
    for node in ast.walk(tree):
      if isinstance(node, ast.Call) and ast.unparse(node.func) == "common.arguments":
        own = [k for k in node.keywords if k.arg and k.arg not in common.ARGUMENTS]
        rows += [(name, code(k.arg), f"`{ast.unparse(k.value)}`") for k in own]
  return rows


def shared_keys() -> list[tuple]:
  """Keys of every config that are no parts, with what the source says beside them."""
  beside = remarks(inspect.getsource(common.base))
  keys = {k: v for k, v in flat("mae").items() if k.startswith("train.") or "." not in k}
  return [(code(k), code(v), escaped(beside.get(k.split(".")[-1], ""))) for k, v in keys.items()]


def remarks(source: str) -> dict[str, str]:
  """{name: text} of the lines 'name=value,  # text' of a source."""
  return dict(re.findall(r"^\s*(\w+)=.*?,  # (.*)$", source, re.MULTILINE))


def flat(name: str, arg: str = "size=B") -> dict[str, object]:
  """All keys of a config, references resolved."""
  found = config_lib.flatten(config_lib.get_config(name, arg).copy_and_resolve_references())
  return dict(sorted(found.items()))


def part_sections() -> list[str]:
  """Every thing that a config may name, by room: its first line and its settings."""
  users = {name: methods.named(methods.config_of(name)) for name in config_lib.names()}
  found = shelved().union(*users.values())
  for arg in ("dataset=digits", "dataset=folder,path=."):
    config = config_lib.get_config("mae", arg)
    found |= methods.named(config) | methods.named(list(standard.entries(config).values()))
  text, last = [], ""
  for dotted in sorted(found):
    if methods.room(dotted) != last:
      last = methods.room(dotted)
      text.append(f"### {last}\n")
    text.append(part_entry(dotted, [name for name, used in users.items() if dotted in used]))
  return text


def shelved() -> set[str]:
  """Dotted names of the parts that rooms offer."""
  found = set()
  for shelf in SHELVES:
    for name, thing in vars(importlib.import_module(shelf)).items():
      own = getattr(thing, "__module__", "").startswith(shelf.rpartition(".")[0])
      if callable(thing) and own and not name.startswith("_") and is_part(thing):
        found.add(f"{thing.__module__}.{thing.__qualname__}")
  return {dotted for dotted in found if "mim_jax." in dotted and "configs" not in dotted}


def is_part(thing) -> bool:
  """A module or data class, or a function with settings or of run-time arguments alone."""
  if inspect.isclass(thing):
    return hasattr(thing, "__dataclass_fields__")
  return bool(config_lib._settings(thing)) or methods.room(f"{thing.__module__}.") in methods.ROOMS


def part_entry(dotted: str, users: list[str]) -> str:
  """One part."""
  module, _, name = dotted.rpartition(".")
  thing = getattr(importlib.import_module(module), name)
  role = "class" if inspect.isclass(thing) else "func"
  settings = [
    (code_of(p.name), kind(p), "needed" if p.default is p.empty else code(p.default))
    for p in config_lib._settings(thing).values()
  ]
  used = f" In {', '.join(f'[{u}](methods/{u}.md)' for u in users)}." if users else ""
  told = table(("setting", "type", "default"), settings) if settings else "No settings.\n"
  return f"{{py:{role}}}`~{dotted}`: {escaped(first_line(thing))}{used}\n\n{told}"


def kind(parameter: inspect.Parameter) -> str:
  """The annotation as text."""
  hint = parameter.annotation
  if hint is parameter.empty:
    return ""
  return code_of(hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", ""))


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
