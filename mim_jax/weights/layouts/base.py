"""Layouts, and the parts of ours that their arrays make."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import ml_collections
import numpy as np

from mim_jax import encoders, heads, layers, predictors, tokenizers
from mim_jax.config import part
from mim_jax.errors import InputError, unknown
from mim_jax.ops import positions
from mim_jax.weights import table

# Heads of the published widths (ViT, arXiv 2010.11929; DeiT; DINOv2), where no file says them.
HEADS = {192: 3, 384: 6, 512: 8, 640: 8, 768: 12, 1024: 16, 1280: 16, 1408: 16, 1536: 24}
ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu")


@dataclasses.dataclass(frozen=True)
class Source:
  """Holds a published file.

  Attributes:
    arrays: by the layout's names.
    config: config.json beside it, {} without one.
    preprocessor: preprocessor_config.json beside it, {} without one.
    options: what the user said: heads, decoder_heads, image, activation.
  """

  arrays: dict[str, np.ndarray]
  config: dict[str, Any] = dataclasses.field(default_factory=dict)
  preprocessor: dict[str, Any] = dataclasses.field(default_factory=dict)
  options: dict[str, Any] = dataclasses.field(default_factory=dict)

  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Lists the shape of each array."""
    return {name: x.shape for name, x in self.arrays.items()}


@dataclasses.dataclass(frozen=True)
class Layout:
  """Describes how others store a network.

  Attributes:
    format: what `--format` calls it.
    kind: which of that format's networks; the model_type of Hugging Face.
    table: its rows, see table.py.
    read: (layout, source) -> our parts, as a config.
    fits: whether it can hold parts of ours, given as a config.
    write: (config) -> its config.json; None where it has none.
    prefix: of the encoder's names, which files of the encoder alone leave out.
    predictor: the class of ours that its rows are for; None where it holds none.
    left: {pattern of names that are never used: why}.
    aliases: (pattern, replacement) for names that some files have instead.
    classes: names of its class for the encoder alone, and for encoder and predictor.
    processor: the class that prepares its images.
    made: (config) -> arrays that it stores and nothing of ours holds.
    first, last: what becomes of its arrays, by its names, when they have been read, and before they
      are written.
    head: the class of ours that its head rows are for; None where it holds none.
    pool: what a classification head sees; "any" where the arrays say it.
    labelled: name of its class for the encoder and a head.
    fused: whether queries, keys and values have one bias there.
    wrappers: prefixes that training scripts put before all names.
    facts: (names of ours that a file holds) -> what neither its arrays nor config.json say.
    own: (names of ours that a file holds) -> whether it is of this layout, where others have the
      same names.
    view: mean, std and crop_pct of the images it wants, where no file says them.
    licence: of the weights that its authors published.
  """

  format: str
  kind: str
  table: str
  read: Callable
  fits: Callable
  write: Callable | None = None
  prefix: str = ""
  predictor: str | None = None
  left: dict[str, str] = dataclasses.field(default_factory=dict)
  aliases: tuple[tuple[str, str], ...] = ()
  classes: tuple[str, str] = ("", "")
  processor: str = "ViTImageProcessor"
  made: Callable = lambda config: {}
  first: Callable = lambda arrays: arrays
  last: Callable = lambda arrays: arrays
  head: str | None = None
  pool: str = "any"
  labelled: str = ""
  fused: bool = False
  wrappers: tuple[str, ...] = ()
  facts: Callable = lambda has: {}
  own: Callable = lambda has: True
  view: dict[str, Any] = dataclasses.field(default_factory=dict)
  licence: str = "unknown"

  @property
  def name(self) -> str:
    """Joins format and kind."""
    return f"{self.format}:{self.kind}"


def blocks(text: str, ours: str, theirs: str) -> str:
  """Makes the rows of a block, with our and their names of a block in place of @ and %."""
  return text.replace("@", ours).replace("%", theirs)


def heads_of(source: Source, width: int, option: str = "heads", *, known=HEADS) -> int:
  """Finds the attention heads: what the user or timm says, or `known` of that width.

  Else InputError.
  """
  stated = source.config.get("model_args", {}).get("num_heads") if option == "heads" else None
  heads = source.options.get(option) or stated or known.get(width)
  if heads is None:
    raise InputError(
      f"weights: no file says how many attention heads a network of width {width} has. Say it: "
      f"--{option.replace('_', '-')}=N."
    )
  return heads


def activation_of(source: Source, stated: str) -> str:
  """Chooses the user's activation, or the one `stated`; InputError for an unknown one."""
  said = source.options.get("activation", stated)
  if said not in ACTIVATIONS:
    raise unknown("--activation", said, ACTIVATIONS)
  return said


def vit(layout: Layout, source: Source, facts: dict[str, Any]) -> ml_collections.ConfigDict:
  """Makes our parts for a ViT: what the arrays show, and `facts` that no array shows."""
  has = table.look(layout.table, source.shapes())
  kernel = has["tokenizer/embed/kernel"]
  width, channels, *cube = kernel
  classes = "encoder/class_token" in has
  parts = ml_collections.ConfigDict(
    dict(tokenizer=_tokenizer(width, cube, "tokenizer/embed/bias" in has))
  )
  head = head_of(layout, has, facts.get("head_epsilon", facts.get("epsilon", 1e-6)))
  normed = "encoder/norm/scale" in has and not (head and head.get("norm"))
  relative = _relative(has)
  registers = has.get("encoder/register_token")
  parts.encoder = part(
    encoders.ViT,
    stack=part(layers.Stack, **stack(has, "encoder/stack/block_", width, facts)),
    class_tokens=1 if classes else 0,
    masking=part(layers.Replace if "encoder/mask_token" in has or relative else layers.Drop),
    norm="affine" if normed else "none",
    positions=_positions(layout, source, has, facts),
    relative=relative,
    registers=registers[-2] if registers else 0,
    pre_norm="encoder/pre_norm/scale" in has,
  )
  if "predictor/head/kernel" in has:
    parts.predictor = _predictor(layout, has, facts, math.prod(cube) * channels)
  if head:
    parts.head = head
  return parts


def head_of(layout: Layout, has, epsilon: float):
  """Finds the head that a file holds, None without one.

  A norm alone is the encoder's if it has none.
  """
  if layout.head == "ProjectionHead":
    return _projection(has)
  norm, kernel = "head/norm/scale" in has, has.get("head/classifier/kernel")
  if layout.head is None or (kernel is None and (not norm or "encoder/norm/scale" in has)):
    return None
  pool = layout.pool
  if pool == "any":
    pool = "class" if "encoder/class_token" in has and not norm else "mean"
  count, bias = kernel[0] if kernel else 0, "head/classifier/bias" in has
  return part(heads.Classifier, count=count, pool=pool, norm=norm, bias=bias, epsilon=epsilon)


def _projection(has):
  if "head/codes" not in has:
    return None
  (hidden, _), (count, bottleneck) = has["head/first/kernel"], has["head/codes"]
  return part(heads.ProjectionHead, count=count, hidden=hidden, bottleneck=bottleneck, gains=True)


def _tokenizer(width: int, cube: list[int], bias: bool):
  if len(cube) == 3:
    return part(tokenizers.VideoCubes, tubelet=cube[0], patch=cube[1], width=width)
  return part(tokenizers.ImagePatches, patch=cube[0], width=width, bias=bias)


def _relative(has):
  each = "encoder/relative_tables" in has
  known = each or "encoder/relative_table" in has
  return part(layers.RelativeTable, each=each) if known else None


def stack(has: dict, prefix: str, width: int, facts: dict) -> dict[str, Any]:
  """Reads the settings of the blocks whose names begin with `prefix`."""
  first = f"{prefix}00/"
  up, down = (has[f"{first}mlp/{name}/kernel"] for name in ("up", "down"))
  gated = up[0] == 2 * down[1]
  fused, apart = f"{first}attention/qkv/bias" in has, f"{first}attention/query_bias" in has
  return dict(
    depth=sum(name.startswith(prefix) and name.endswith("/norm1/scale") for name in has),
    heads=facts["heads"],
    mlp_ratio=facts.get("mlp_ratio", 4.0) if gated else up[0] / width,
    activation="swiglu" if gated else facts.get("activation", "gelu"),
    qkv_bias=fused or apart,
    key_bias=not apart,
    layer_scale=1.0 if f"{first}residual1/scale" in has else None,
    epsilon=facts.get("epsilon", 1e-6),
  )


def _positions(layout: Layout, source: Source, has, facts):
  """Makes the node of absolute positions: what their array shows, or else the layout implies."""
  width, _, *cube = has["tokenizer/embed/kernel"]
  name = table.name_of(layout.table, "encoder/positions_table")
  if name is None or name not in source.arrays:
    return part(layers.SinCos if len(cube) == 3 else layers.NoPositions)  # a video's are fixed
  found = source.arrays[name].reshape(-1, width)
  first = 1 if "encoder/class_token" in has else 0
  grid = square(len(found) - first, name)
  code = positions.sincos(positions.grid_positions(grid), width) if width % 4 == 0 else None
  fixed = code is not None and np.allclose(found[first:], code, atol=1e-4)
  if fixed and not np.abs(found[:first]).any():
    return part(layers.SinCos)
  resizing = {k: facts[k] for k in ("antialias", "grid_offset") if k in facts}
  return part(layers.Learned, grid=grid, **resizing)


def square(count: int, name: str) -> tuple[int, int]:
  """Finds the sides of a square grid of `count` cells; InputError where there is none."""
  side = math.isqrt(count)
  if side * side != count:
    raise InputError(f"weights: {name!r} has {count} positions, which is no square grid.")
  return side, side


def _predictor(layout: Layout, has, facts, values: int):
  """Makes MAE's decoder, or a linear head, whichever the layout holds."""
  head = has["predictor/head/kernel"]
  if layout.predictor == "Linear":
    return part(predictors.Linear, target_width=head[0], cell=1)
  width = has["predictor/embed/kernel"][0]
  settings = stack(has, "predictor/stack/block_", width, facts | dict(heads=facts["decoder_heads"]))
  return part(
    predictors.Transformer,
    width=width,
    target_width=head[0],
    stack=part(
      layers.Stack, **{k: settings[k] for k in ("depth", "heads", "mlp_ratio", "epsilon")}
    ),
    bias="predictor/embed/bias" in has,
    last_epsilon=facts.get("last_epsilon"),
  )
