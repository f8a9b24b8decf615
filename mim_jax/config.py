"""Configs as calls: `part` writes a node, `build` makes it real, `get_config` finds a config by
name.

A node holds the public name of a function or class (room and name, see rooms) and every setting of
it. The rule of the star: in a function's signature, what stands before the star is given at run
time; what stands after it is a setting. All fields of a class are settings.
"""

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import json
import pathlib
import re
import types
import typing

import ml_collections
from beartype.door import is_bearable
from ml_collections import config_dict

from mim_jax import editions, errors, rooms

KEY = editions.KEY
_NOT_SETTINGS = ("parent", "name")


def part(thing: typing.Callable, **settings) -> ml_collections.ConfigDict:
  """A config node naming `thing` with all its settings, defaults included, checked here.

  Errors: InputError for an unknown, missing or wrongly typed setting, with the nearest name.
  """
  dotted = rooms.public_name(thing)
  values = complete(thing, dotted, settings)
  hints = _hints(thing)
  node = ml_collections.ConfigDict({KEY: dotted})
  for name, value in values.items():
    node[name] = _typed_none(hints.get(name)) if value is None else _as_node(value)
  return node


def _as_node(value):
  """Small parts, made real already as defaults of signatures are, as nodes; others unchanged."""
  made = dataclasses.is_dataclass(value) and rooms.is_part(type(value))
  return part(type(value), **vars(value)) if made else value


def complete(thing, where: str, settings: dict) -> dict:
  """`settings` with defaults filled in; InputError for unknown, missing or wrongly typed ones."""
  allowed = _settings(thing)
  for name in settings:
    if name not in allowed:
      raise errors.unknown(f"{where}: setting", name, allowed)
  values = {name: settings.get(name, p.default) for name, p in allowed.items()}
  missing = [name for name, value in values.items() if value is inspect.Parameter.empty]
  if missing:
    raise errors.InputError(
      f"{where}: setting {', '.join(map(repr, missing))} is missing. It has no default: "
      f"write part({where.rpartition('.')[2]}, {missing[0]}=...)."
    )
  for name, value in values.items():
    _check_type(f"{where}.{name}", value, _hints(thing).get(name))
  return values


def _settings(thing) -> dict[str, inspect.Parameter]:
  parameters = inspect.signature(thing).parameters
  if inspect.isclass(thing):
    return {k: p for k, p in parameters.items() if k not in _NOT_SETTINGS}
  return {k: p for k, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


@functools.cache
def _hints(thing) -> dict:
  try:
    return typing.get_type_hints(thing)
  except (NameError, TypeError):
    return {}


def _check_type(where: str, value, hint):
  value = value.get() if isinstance(value, config_dict.FieldReference) else value
  if hint is None or value is None or isinstance(value, ml_collections.ConfigDict):
    return
  is_float = hint is float or (float in typing.get_args(hint))
  if is_float and isinstance(value, int) and not isinstance(value, bool):
    return
  if not is_bearable(_tuples(value), hint):
    shown = getattr(hint, "__name__", str(hint)) if isinstance(hint, type) else str(hint)
    raise errors.InputError(
      f"{where}: {value!r} is a {type(value).__name__}, but a {shown} is needed."
    )


def _typed_none(hint):
  """None that an override of the command line can still replace by a value of the right type."""
  options = [t for t in typing.get_args(hint) if t is not types.NoneType]
  simple = len(options) == 1 and options[0] in (int, float, str, bool)
  return config_dict.placeholder(options[0]) if simple else None


def _tuples(value):
  """Lists (as JSON has them) as tuples, all the way down."""
  return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value


def is_node(value) -> bool:
  """Whether `value` is a node that `build` can make real."""
  return isinstance(value, ml_collections.ConfigDict) and KEY in value


def build(value, allow: tuple[str, ...] = (), where: str = "config"):
  """Makes nodes real: classes to instances, functions to partials; other values as they are.

  Errors: InputError for a name outside `mim_jax` (or the packages in `allow`), a name that does not
  exist, and everything that `part` refuses.
  """
  if is_node(value):
    thing = _find(value[KEY], allow, where)
    settings = {k: v for k, v in value.items() if k != KEY}
    settings = complete(thing, f"{where} ({value[KEY]})", settings)
    made = {k: build(v, allow, f"{where}.{k}") for k, v in settings.items()}
    return thing(**made) if inspect.isclass(thing) else functools.partial(thing, **made)
  if isinstance(value, ml_collections.ConfigDict):
    return {k: build(v, allow, f"{where}.{k}") for k, v in value.items()}
  if isinstance(value, list | tuple):
    return tuple(build(v, allow, f"{where}[{i}]") for i, v in enumerate(value))
  return value


def _find(dotted: str, allow: tuple[str, ...], where: str):
  dotted = rooms.current(dotted)
  root = dotted.partition(".")[0]
  if root not in ("mim_jax", *allow):
    raise errors.InputError(
      f"{where}: {dotted!r} lies outside mim_jax. If you trust that package, list it: "
      f"config.allow_modules = ({root!r},)."
    )
  module, _, name = dotted.rpartition(".")
  try:
    found = importlib.import_module(module)
  except ModuleNotFoundError as error:
    raise errors.InputError(f"{where}: there is no module {module!r} ({error}).") from error
  if not hasattr(found, name):
    public = [n for n in vars(found) if not n.startswith("_")]
    raise errors.unknown(f"{where}: {module} has no", name, public)
  thing = getattr(found, name)
  if root == "mim_jax" and not rooms.is_part(thing):
    raise errors.InputError(
      f"{where}: {dotted!r} is no part. A config may name what the __init__ of a room offers "
      f"({', '.join(rooms.ROOMS)}), and what a file of methods/ holds."
    )
  return thing


def to_json(config: ml_collections.ConfigDict) -> str:
  """The whole config as JSON, references resolved."""
  return config.to_json(indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> ml_collections.ConfigDict:
  """The config that `to_json` wrote, in the words of today: data only, no code is run."""

  def revive(value):
    if isinstance(value, dict):
      return ml_collections.ConfigDict({k: revive(v) for k, v in value.items()})
    return _tuples(value)

  return revive(editions.read(json.loads(text)))


def flatten(config, prefix: str = "") -> dict[str, object]:
  """{'objective.mask.ratio': 0.75, ...} of a ConfigDict."""
  flat = {}
  for key, value in config.items():
    inner = isinstance(value, ml_collections.ConfigDict)
    flat.update(flatten(value, f"{prefix}{key}.") if inner else {prefix + key: _tuples(value)})
  return flat


def folder() -> pathlib.Path:
  """Where the configs lie: beside the modules in an installation, at the top of a checkout."""
  package = pathlib.Path(__file__).parent
  installed = package / "configs"
  return installed if installed.is_dir() else package.parent / "configs"


@functools.cache
def files() -> dict[str, pathlib.Path]:
  """Finds the configs that come with mim_jax: {name: file}, one folder a modality.

  Errors: InputError where two folders have a config of one name.
  """
  found: dict[str, pathlib.Path] = {}
  for path in sorted(folder().glob("*/*.py")):
    if path.stem in found:
      raise errors.InputError(
        f"{path}: {found[path.stem]} has the same name. Names of configs are unique: rename one."
      )
    if re.search(r"^def get_(config|stages)\(", path.read_text(), re.MULTILINE):
      found[path.stem] = path
  return found


def names() -> list[str]:
  """Lists the names of all configs that come with mim_jax."""
  return sorted(files())


def get_config(name: str, arg: str = "") -> ml_collections.ConfigDict:
  """Builds the config `name` (a config of mim_jax, or the path of a .py file), called with `arg`.

  >>> get_config("mae", "dataset=digits").train.batch_size > 0
  True
  """
  path = _path(name)
  with _explained(path):
    made = _module(path).get_config(arg)
  made.method = path.stem  # a label for people; no objective, part or loop asks for it
  return made


def _path(name: str) -> pathlib.Path:
  path = pathlib.Path(name)
  known = files()
  if path.suffix != ".py":
    if name not in known:
      raise errors.unknown("config", name, known)
    return known[name]
  if path.exists():
    return path
  if path.stem in known and path.parent.name in ("configs", known[path.stem].parent.name):
    return known[path.stem]  # configs/mae.py, as the first edition had it, and from any folder
  raise errors.unknown(
    "config file", name, [f"configs/{p.parent.name}/{n}.py" for n, p in known.items()]
  )


def _module(path: pathlib.Path):
  spec = importlib.util.spec_from_file_location(f"mim_jax_config_{path.stem}", path)
  if spec is None or spec.loader is None:
    raise errors.InputError(f"{path} can't be read as a Python file.")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@contextlib.contextmanager
def _explained(path: pathlib.Path):
  """Says of a config that asks for what is not there where to read what has changed."""
  try:
    yield
  except (ImportError, AttributeError, KeyError) as error:
    raise errors.InputError(
      f"{path}: {error}. If this config was written for mim_jax 0.1: names have moved, and "
      "docs/second_edition.md says what changed and how to follow."
    ) from error
