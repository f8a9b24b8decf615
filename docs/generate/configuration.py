"""The configuration reference, from configs and signatures."""

import importlib
import inspect
import re
from unittest import mock

import mim_jax
from docs.generate.markdown import code, code_of, escaped, first_line, table
from mim_jax import catalog
from mim_jax import config as config_lib
from mim_jax.configs import common
from mim_jax.evaluate import standard

# Where things lie that a config may name, beside those that a config does name.
SHELVES = (
  *(f"mim_jax.{room}" for room in catalog.ROOMS),
  "mim_jax.objectives",
  "mim_jax.teachers",
  "mim_jax.data.image.sources",
  "mim_jax.data.mixing",
  "mim_jax.optim.optimizers",
  "mim_jax.schedules",
)


def pages() -> dict[str, str]:
  """Arguments, keys of every config, all keys of MAE's, and the settings of every part."""
  sections = [
    (
      f"# Configuration reference\n\nMade from the configs and signatures of version "
      f"{mim_jax.__version__}.\n"
    ),
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
  return {"configuration.md": "\n".join(sections)}


def arguments() -> list[tuple]:
  """The arguments that every config takes, with what the source says beside them."""
  beside = remarks(inspect.getsource(common))
  return [(code(k), code(v), escaped(beside.get(k, ""))) for k, v in common.ARGUMENTS.items()]


def own_arguments() -> list[tuple]:
  """(method, argument, default) of what only some configs take: what they ask `common` for."""
  rows: dict[tuple, object] = {}
  for name in config_lib.names():
    with mock.patch.object(common, "arguments", wraps=common.arguments) as asked:
      config_lib.get_config(name)
    for call in asked.call_args_list:
      own = {k: v for k, v in call.kwargs.items() if k not in common.ARGUMENTS}
      for key, default in own.items():
        rows.setdefault((name, key), default)
  return [(f"[{name}](methods/{name}.md)", code(k), code(v)) for (name, k), v in rows.items()]


def shared_keys() -> list[tuple]:
  """Keys of every config that are no parts, with what the source says beside them."""
  beside = remarks(inspect.getsource(common.base))
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
  for arg in ("dataset=digits", "dataset=folder,path=."):
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
  return bool(config_lib._settings(thing)) or catalog.room(f"{thing.__module__}.") in catalog.ROOMS


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
