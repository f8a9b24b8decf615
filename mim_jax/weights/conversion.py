"""Conversion of weights from one layout to another, with their licence."""

import os
import pathlib
import re
from typing import Any

from mim_jax import errors
from mim_jax.weights import adapt, export, files, layouts, native, published

OPTIONS = ("heads", "decoder_heads", "image", "activation")


def load(
  path: str | os.PathLike,
  sha256: str | None = None,
  *,
  allow_pickle: bool = False,
  leave: tuple[str, ...] = (),
  licence: str | None = None,
  channels: int | None = None,
  patch: int | None = None,
  grid: tuple[int, int] | None = None,
  window: int | None = None,
  **options: int | str,
) -> tuple[dict, Any]:
  """Loads (variables, config) of a finished run or of published weights, without torch.

  path: a safetensors file, the index of several, or a folder that holds one, with config.json and
    preprocessor_config.json beside it where there are any. Of a .pth file only with `allow_pickle`:
    torch then opens it in a process of its own and takes nothing but arrays.
  leave: patterns of names to leave out, beside those that are never used; config.source lists them.
  licence: of the weights, where no file states it.
  channels, patch, grid, window: other ones for the network, see adapt.py.
  options: `heads`, `decoder_heads`, `image` (its side) and `activation` ("gelu", "gelu_tanh",
    "quick_gelu"), where no file says them.

  `config.parts` are the parts, `config.data.view` what images they want. InputError for arrays that
  are missing, have no place, or have another shape, with the nearest name.
  """
  for name in options:
    if name not in OPTIONS:
      raise errors.unknown("weights.load: option", name, OPTIONS)
  pinned = native.pinned(path)
  native.check(pinned, sha256)
  file = pathlib.Path(pinned["path"])
  variables, config, metadata = _read(file, allow_pickle, leave, options)
  if metadata.get("format") != native.FORMAT:
    stated = licence or metadata.get("licence") or files.licence(file)
    config.source.update(pinned | dict(licence=stated or unstated(config.source.layout)))
  elif licence:
    config.source = dict(config.get("source", {})) | dict(licence=licence)
  other = dict(channels=channels, patch=patch, grid=grid, window=window)
  return adapt.adapted(variables, config, **other)


def _read(file: pathlib.Path, allow_pickle: bool, leave, options) -> tuple[dict, Any, dict]:
  if file.suffix in files.PICKLED:
    if not allow_pickle:
      raise errors.InputError(
        f"{file}: a pickle can run code when it is opened. Take the safetensors file of these "
        "weights; or, if you trust whoever made this one, say --allow-pickle: torch then opens it "
        "in a process of its own, with weights_only."
      )
    source = files.source(file, files.unpickled(file), options)
    return *published.read(source, leave), {}
  arrays, metadata = files.arrays(file)
  if metadata.get("format") == native.FORMAT:
    return *native.load(file), metadata
  return *published.read(files.source(file, arrays, options), leave), metadata


def unstated(name: str) -> str:
  """Says that no file states the licence of the weights."""
  layout = next(x for x in layouts.ALL if x.name == name)
  return f"not stated; that of the authors' own weights of this layout: {layout.licence}"


def reasons(name: str | None, left: tuple[str, ...]) -> dict[str, str]:
  """Explains why arrays were left out, {name: why}; `name` is the layout's."""
  known = next((x.left for x in layouts.ALL if x.name == name), {})
  whys = {k: [why for rule, why in known.items() if re.fullmatch(rule, k)] for k in left}
  return {name: why[0] if why else "as asked" for name, why in whys.items()}


def convert(
  source: str | os.PathLike, target: str | os.PathLike, *, format: str, **settings
) -> dict[str, Any]:
  """Writes weights as `format`; returns what was done: {"layout", "licence", "left", "files", ...}.

  target: a file for "mim_jax", a folder for all others. `settings` as in `load`.
  """
  target = pathlib.Path(target)
  variables, config = load(source, **settings)
  origin = dict(config.get("source", {}))
  note = {k: str(origin[k]) for k in ("licence", "layout", "sha256") if origin.get(k)}
  lost: list[str] = []
  if format == "mim_jax":
    target = target / native.FILE if target.suffix != ".safetensors" else target
    target.parent.mkdir(parents=True, exist_ok=True)
    native.save(target, variables, config, note)
    made = [target]
  else:
    lost = export.write(target, variables, config, format=format, note=note)
    made = export.written(target)
  return dict(
    layout=origin.get("layout", "mim_jax"),
    licence=origin.get("licence", "that of the run"),
    left=reasons(origin.get("layout"), tuple(origin.get("left", ()))),
    lost=tuple(lost),
    written=native.pinned(target),
    files=tuple(made),
  )
