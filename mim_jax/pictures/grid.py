"""Pictures of what a network predicts. Letters: b batch, n patches, g groups, m masked, e width."""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import numpy as np

from mim_jax.errors import InputError

ORDER = ("original", "masked", "features", "attention")  # panels first, others follow by name
SIDE = 160  # pixels a picture is at least enlarged to
GAP = 6


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pictures:
  """What a method shows of a batch.

  Attributes:
    panels: {name: [b h w c]}, on the scale of batch["image"]; "original" is one of them.
    note: what a reader must know before believing the pictures. Static.
  """

  panels: dict
  note: str = dataclasses.field(default="", metadata={"static": True})


def picture_grid(panels: dict, limit: int = 8):
  """A Pillow image: a caption row, then original | masked | others of up to `limit` images.

  panels: {name: [b h w c]} in [0, 1] (values outside are clipped) or uint8. Small images are
  enlarged by whole factors, nearest neighbour. InputError where there is no image.
  """
  from PIL import Image, ImageDraw, ImageFont

  rows = strips(panels, limit)
  if not rows:
    raise InputError("reconstruction: there are no images to show. Give a batch of at least one.")
  height, width = rows[0].shape[:2]
  caption = 28
  picture = Image.new("RGB", (width + 2 * GAP, caption + len(rows) * (height + GAP)), "white")
  pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=14)
  for i, name in enumerate(ordered(panels)):
    middle = GAP + (i + 0.5) * width / len(panels)
    pen.text((middle, caption / 2), name, fill="black", font=font, anchor="mm")
  for i, row in enumerate(map(Image.fromarray, rows)):
    picture.paste(row, (GAP, caption + i * (height + GAP)), mask=row)
  return picture


def strips(panels: dict, limit: int = 8) -> list[np.ndarray]:
  """One uint8 [height width 4] an image: its panels side by side, with see-through gaps."""
  shown = [to_bytes(np.asarray(panels[name])[:limit]) for name in ordered(panels)]
  factor = max(1, -(-SIDE // max(shown[0].shape[1:3])))
  shown = [images.repeat(factor, 1).repeat(factor, 2) for images in shown]
  gap = np.zeros((*shown[0].shape[:2], GAP, 4), np.uint8)
  joined = [x for images in shown for x in (gap, images)][1:]
  return list(np.concatenate(joined, 2))


def ordered(panels: dict) -> list[str]:
  """The names of the panels from left to right."""
  first = [name for name in ORDER if name in panels]
  return first + sorted(name for name in panels if name not in ORDER)


def to_bytes(images):
  """[b h w c], [0, 1] or uint8 -> [b h w 4] uint8, opaque; at most three channels are shown."""
  if images.dtype != np.uint8:
    images = np.rint(255 * np.clip(np.nan_to_num(images), 0, 1)).astype(np.uint8)
  colour = images[..., :3] if images.shape[-1] >= 3 else images[..., :1].repeat(3, -1)
  return np.concatenate([colour, np.full_like(colour[..., :1], 255)], -1)


def save(
  workdir, pictures: Pictures, paint: Callable, limit: int = 8, name: str = "reconstructions"
) -> dict:
  """Writes grid.png and one NN.png an image into the folder `name`; returns {"note", "panels"}.

  paint: panels to images in [0, 1], see modalities. The note also stands in the PNG files. Pictures
  left by an earlier call are removed.
  """
  from PIL import Image, PngImagePlugin

  info = PngImagePlugin.PngInfo()
  info.add_text("Comment", pictures.note)
  shown = paint(pictures.panels)
  files = {"grid.png": picture_grid(shown, limit)}
  for i, row in enumerate(strips(shown, limit)):
    files[f"{i:02d}.png"] = Image.fromarray(row)
  write(pathlib.Path(workdir) / name, files, pnginfo=info)
  return {"note": pictures.note, "panels": ordered(pictures.panels)}


def write(folder: pathlib.Path, files: dict, **settings) -> None:
  """Writes {name: Pillow image} into a folder; PNG files left there by an earlier call go."""
  folder.mkdir(parents=True, exist_ok=True)
  for old in folder.glob("*.png"):
    if old.name not in files:
      old.unlink()
  for name, picture in files.items():
    half = folder / f"{name}.part"
    picture.save(half, "PNG", optimize=True, **settings)
    half.replace(folder / name)  # never half a picture in a run folder
