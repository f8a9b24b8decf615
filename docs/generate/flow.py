"""How data flow through an objective: it is traced with every part marked, nothing is computed.

Parts, masks, targets and losses are wrapped; what a wrapped one returns carries its name, and where
values of that name go in the trace is an arrow. So an arrow is there exactly where a number counts.
"""

import dataclasses
import functools
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend import core as jex

from mim_jax import catalog, core, experiment, rooms
from mim_jax import config as config_lib
from mim_jax.data import pipeline

OWN = "own"  # the room of what lies outside mim_jax
MARKED = (*catalog.ROOMS, "ops", "methods", OWN)

_mark = jex.Primitive("mark")
_mark.multiple_results = True
_mark.def_abstract_eval(lambda *values, call: values)


@dataclasses.dataclass(frozen=True)
class Node:
  """A box of the picture.

  Attributes:
    role: how the objective calls it, "encoder", "teacher encoder", "mask".
    part: its function or class.
    room: where that lies, "" for what is no part.
    gives: what comes out, in words.
    times: how often it is called in the same way.
    learned: whether it is a network.
  """

  role: str
  part: str = ""
  room: str = ""
  gives: str = ""
  times: int = 1
  learned: bool = False


@dataclasses.dataclass(frozen=True)
class Flow:
  """Nodes, in an order in which arrows go forward, and arrows as pairs of their numbers.

  Attributes:
    grid: that the first mask was drawn on, () without one.
  """

  nodes: tuple[Node, ...]
  arrows: frozenset[tuple[int, int]]
  grid: tuple[int, ...] = ()


@functools.cache
def of(method: str) -> Flow:
  """The flow of a method's objective, for one sample at size B."""
  run, calls = experiment.build(config_of(method)), []
  traced = jax.make_jaxpr(functools.partial(_objective, run, calls))(jax.random.key(0))
  nodes, arrows = _walked(traced.jaxpr, calls)
  grids = [call.grid for call in calls if call.node.role == "mask"]
  return Flow(*_merged(nodes, arrows), grids[0] if grids else ())


def config_of(method: str):
  """The config at size B for photos, but with embedded images in their place: in one colour."""
  config = config_lib.get_config(method, catalog.task_of_all(method))
  photos = catalog.config_of(method)
  config.train.batch_size = 8
  if "mask" in config.objective:
    config.objective.mask = photos.objective.mask
  if "sample" in config.data.train:
    config.data.train.sample = photos.data.train.sample
  if config.data.augment.part == photos.data.augment.part:
    kept = {key: config.data.augment[key] for key in ("mean", "std") if key in config.data.augment}
    config.data.augment = photos.data.augment.copy_and_resolve_references()
    config.data.augment.update(kept)
  return config


@dataclasses.dataclass(frozen=True)
class _Call:
  node: Node
  grid: tuple[int, ...] = ()


class Marked:
  """Stands in for a part: calls it, and marks what comes out."""

  def __init__(self, role: str, thing, calls: list):
    self._role, self._thing, self._calls = role, thing, calls

  def __call__(self, *args, **kwargs):
    given = self._thing(*args, **kwargs)
    grid = next((x.grid for x in args if isinstance(x, core.Tokens)), ())
    owner = getattr(self._thing, "__self__", self._thing)  # of a method, the module
    owner = getattr(owner, "func", owner)  # of a partial, the function
    kind = owner if hasattr(owner, "__qualname__") else type(owner)
    room = room_of(kind)
    learned = isinstance(kind, type) and issubclass(kind, nn.Module)
    node = Node(self._role, kind.__qualname__, room, told(given), learned=learned)
    return marked(given, _Call(node, grid), self._calls)

  def __getattr__(self, name: str):
    return wrapped(f"{self._role} {name}".strip(), getattr(self._thing, name), self._calls)

  def unbind(self):
    """Takes a module and its variables apart, as Linen does; its twin is marked as well."""
    module, variables = self._thing.unbind()
    return Loose(self._role, module, self._calls), variables


class Loose:
  """Stands in for a module without variables; what is bound of it is marked."""

  def __init__(self, role: str, module: nn.Module, calls: list):
    self._role, self._module, self._calls = role, module, calls

  def clone(self, **settings) -> "Loose":
    """Makes a twin with other settings."""
    return Loose(self._role, self._module.clone(**settings), self._calls)

  def bind(self, variables) -> Marked:
    """Gives it variables."""
    return Marked(self._role, self._module.bind(variables), self._calls)


def room_of(thing) -> str:
  """Names the room of a function or class."""
  dotted = rooms.public_name(thing)
  return catalog.room(dotted) if dotted.startswith("mim_jax.") else OWN


def wrapped(role: str, thing, calls: list):
  """Marked, where it is a part or holds parts."""
  if isinstance(thing, nn.Module) or getattr(thing, "__self__", None) is not None:
    return Marked(role, thing, calls)
  if hasattr(thing, "items"):
    # An entry that holds parts itself is told by its own name: "depth target", of the tasks.
    names = {n: n if hasattr(part, "items") else f"{role} {n}" for n, part in thing.items()}
    return {n: wrapped(names[n], part, calls) for n, part in thing.items()}
  function = getattr(thing, "func", None)
  if function is not None and room_of(function) in MARKED:
    return Marked(role, thing, calls)
  return thing


def marked(tree, call: _Call, calls: list):
  """The same arrays, which now carry the call's number."""
  leaves, shape = jax.tree.flatten(tree)
  calls.append(call)
  return jax.tree.unflatten(shape, _mark.bind(*map(jnp.asarray, leaves), call=len(calls) - 1))


def _objective(run: experiment.Experiment, calls: list, key):
  """Calls the objective on two samples, as parameters come into being; marks its loss."""
  spec = run.spec
  rows = pipeline.first(spec.data.train, 2, 0)
  batch = spec.augment(key, {k: jnp.asarray(v) for k, v in rows.items()})
  batch = {k: marked(v, _Call(Node("batch", k)), calls) for k, v in batch.items()}
  function = spec.objective.func
  keywords = {k: wrapped(k, v, calls) for k, v in spec.objective.keywords.items()}

  def body(parts):
    unborn = {name: teacher.init(None) for name, teacher in spec.teachers.items()}
    teachers = vars(spec.bind_teachers(unborn, {}, parts)).items()
    teachers = types.SimpleNamespace(**{k: Marked("teacher", v, calls) for k, v in teachers})
    found = function(Marked("", parts, calls), batch, spec.step(0), teachers, **keywords)
    room = room_of(function)
    marked(found.loss, _Call(Node("objective", function.__name__, room)), calls)

  spec.parts.init({"params": key, "dropout": key}, method=body)
  return ()


def _walked(jaxpr, calls: list) -> tuple[list[Node], set]:
  """The calls as nodes, and who reads whom."""
  carried: dict = {}
  arrows = set()
  for equation in jaxpr.eqns:
    read = (carried.get(v, frozenset()) for v in equation.invars if isinstance(v, jex.Var))
    sources = frozenset().union(*read)
    if equation.primitive is _mark:
      number = equation.params["call"]
      arrows |= {(source, number) for source in sources}
      sources = frozenset([number])
    carried.update(dict.fromkeys(equation.outvars, sources))
  return [call.node for call in calls], arrows


def _merged(nodes: list[Node], arrows: set) -> tuple[tuple[Node, ...], frozenset]:
  """Calls of one part with readings alike become one node; so do the entries of the batch.

  What nothing reads is left out, but for the objective.
  """
  used = {a for a, _ in arrows} | {len(nodes) - 1}
  place: dict[int, int] = {}
  found: dict[tuple, int] = {}
  kept: list[list[Node]] = []
  for number, node in enumerate(nodes):
    if number not in used:
      continue
    sources = frozenset(place[a] for a, b in arrows if b == number)
    what = ("batch",) if node.role == "batch" else (node.role, node.gives, sources)
    if what not in found:
      found[what] = len(kept)
      kept.append([])
    place[number] = found[what]
    kept[found[what]].append(node)
  joined = frozenset((place[a], place[b]) for a, b in arrows if a in place and b in place)
  return tuple(map(_one, kept)), joined


def _one(alike: list[Node]) -> Node:
  first = alike[0]
  if first.role == "batch":
    return dataclasses.replace(first, part=", ".join(node.part for node in alike))
  return dataclasses.replace(first, times=len(alike))


def told(given) -> str:
  """What a part returned, for one sample: '196 tokens of 768'."""
  if isinstance(given, core.Mask):
    g, m = given.masked.shape[1:]
    groups = f"{g} × {m}" if g > 1 else str(m)
    return f"{given.visible.shape[1]} visible, {groups} masked"
  if isinstance(given, core.Tokens):
    return "{1} tokens of {2}".format(*given.values.shape)
  if isinstance(given, core.Latents):
    k = given.prefix.shape[1]
    prefix = f"{k} + " if k else ""
    return "{0}{2} latents of {3}".format(prefix, *given.values.shape)
  if isinstance(given, list | tuple) and given and isinstance(given[0], core.Latents):
    return f"{len(given)} layers, {told(given[-1])}"
  leaves = jax.tree.leaves(given)
  return " × ".join(map(str, leaves[0].shape[1:])) if len(leaves) == 1 else ""
