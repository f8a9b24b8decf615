"""The configuration reference, from configs and signatures."""

import importlib
import inspect
import pkgutil
import re
from unittest import mock

import mim_jax
from docs.generate.markdown import code, code_of, escaped, first_line, table
from mim_jax import catalog, rooms
from mim_jax import config as config_lib
from mim_jax.configs import arguments as argument_lib
from mim_jax.configs import recipe
from mim_jax.evaluate import standard

EMBEDDED = "dataset=embedded"


def pages() -> dict[str, str]:
  """Arguments, keys of every config, all keys of MAE's, and the settings of every part."""
  sections = [
    (
      f"# Configuration reference\n\nMade from the configs and signatures of version "
      f"{mim_jax.__version__}.\n"
    ),
    "## Arguments of a config\n\nAfter the colon: "
    "`--config=mae:size=S,dataset=folder,path=photos`, or "
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
  return {"configuration.md": "\n".join(sections), "moved.md": moved()}


def moved() -> str:
  """A table of the names that older files call by others, without those that only lost a file."""
  rows = [(code(old), code(new)) for old, new in sorted(rooms.MOVED.items())]
  return table(("0.1", "today"), rows)


def arguments() -> list[tuple]:
  """The arguments that every config takes, with what the source says beside them."""
  beside = remarks(inspect.getsource(argument_lib))
  known = argument_lib.ARGUMENTS.items()
  return [(code(k), code(v), escaped(beside.get(k, ""))) for k, v in known]


def own_arguments() -> list[tuple]:
  """Lists (method, argument, default) of what only some configs take."""
  return [
    (f"[{name}](methods/{name}.md)", code(key), code(value))
    for name in config_lib.names()
    for key, value in own_of(name).items()
  ]


def own_of(name: str) -> dict[str, object]:
  """Finds the arguments that a config takes beside those of all, with their defaults."""
  found = []
  read = argument_lib.read

  def noted(arg, modality, own, steps=0):
    a = read(arg, modality, own, steps)
    found.append({key: a[key] for key in own if key not in argument_lib.ARGUMENTS})
    return a

  with mock.patch.object(argument_lib, "read", noted):
    config_lib.get_config(name)
  return found[0] if found else {}


def shared_keys() -> list[tuple]:
  """Keys of every config that are no parts, with what the source says beside them."""
  beside = remarks(inspect.getsource(recipe.base))
  keys = {k: v for k, v in flat("mae").items() if k.startswith("train.") or k in beside}
  return [(code(k), code(v), escaped(beside.get(named_in(k, beside), ""))) for k, v in keys.items()]


def named_in(key: str, beside: dict[str, str]) -> str:
  """The part of a key that has a remark: 'mesh' of 'train.mesh.fsdp'."""
  return next((word for word in key.split(".")[::-1] if word in beside), "")


def remarks(source: str) -> dict[str, str]:
  """{name: text} of the lines 'name=value,  # text' and 'c.name = value  # text' of a source."""
  return dict(re.findall(r"^\s*(?:c\.)?(\w+) ?=.*?,?  # (.*)$", source, re.MULTILINE))


def flat(name: str, arg: str = "size=B") -> dict[str, object]:
  """All keys of a config, references resolved."""
  found = config_lib.flatten(config_lib.get_config(name, arg).copy_and_resolve_references())
  return dict(sorted(found.items()))


def part_sections() -> list[str]:
  """Every thing that a config may name, by room: its first line and its settings."""
  users = {name: catalog.named(catalog.config_of(name)) for name in config_lib.names()}
  found = shelved().union(*users.values())
  for arg in (EMBEDDED, "dataset=folder,path=."):
    config = config_lib.get_config("mae", arg)
    found |= catalog.named(config) | catalog.named(list(standard.entries(config).values()))
  text, last = [], ""
  for dotted in sorted(found):
    if catalog.room(dotted) != last:
      last = catalog.room(dotted)
      text.append(f"### {last}\n")
    text.append(part_entry(dotted, [name for name, used in users.items() if dotted in used]))
  return text


def shelved() -> set[str]:
  """Finds the names of the parts that rooms offer."""
  found = set(rooms.SINGLE)
  for package in map(importlib.import_module, shelves()):
    offered = [x for name, x in vars(package).items() if not name.startswith("_")]
    found |= {rooms.public_name(x) for x in offered if rooms.is_part(x) and tells(x)}
  return found


def shelves() -> list[str]:
  """Names what offers parts: rooms, the rooms inside them, and the files of methods."""
  found = []
  for room in rooms.ROOMS:
    package = importlib.import_module(f"mim_jax.{room}")
    inner = pkgutil.iter_modules(getattr(package, "__path__", []), f"{package.__name__}.")
    found += [package.__name__, *(m.name for m in inner if m.ispkg or room == "methods")]
  return found


def tells(thing) -> bool:
  """Whether a reader of configs wants to know of a part: it has settings, or a node may be it."""
  if inspect.isclass(thing):
    return hasattr(thing, "__dataclass_fields__")
  return (
    bool(config_lib._settings(thing)) or catalog.room(rooms.public_name(thing)) in catalog.ROOMS
  )


def thing_of(dotted: str):
  """Finds a part by its public name."""
  module, _, name = dotted.rpartition(".")
  return getattr(importlib.import_module(module), name)


def reference(dotted: str) -> str:
  """A link to a part's place in the reference, which lies where its file does."""
  thing = thing_of(dotted)
  role = "class" if inspect.isclass(thing) else "func"
  return f"{{py:{role}}}`{thing.__qualname__} <{thing.__module__}.{thing.__qualname__}>`"


def part_entry(dotted: str, users: list[str]) -> str:
  """One part."""
  thing = thing_of(dotted)
  settings = [
    (code_of(p.name), kind(p), "needed" if p.default is p.empty else code(p.default))
    for p in config_lib._settings(thing).values()
  ]
  used = f" In {', '.join(f'[{u}](methods/{u}.md)' for u in users)}." if users else ""
  told = table(("setting", "type", "default"), settings) if settings else "No settings.\n"
  return f"{reference(dotted)} (`{dotted}`): {escaped(first_line(thing))}{used}\n\n{told}"


def kind(parameter: inspect.Parameter) -> str:
  """The annotation as text."""
  hint = parameter.annotation
  if hint is parameter.empty:
    return ""
  return code_of(hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", ""))
