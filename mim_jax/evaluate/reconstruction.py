"""Pictures of what a network predicts. Letters: b batch, n patches, g groups, m masked, e width."""

import pathlib
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from mim_jax.core import Step
from mim_jax.errors import InputError
from mim_jax.ops import gather, patches
from mim_jax.targets import pixel as target

PANELS = ("original", "masked", "reconstruction")
SIDE = 160  # pixels a picture is at least enlarged to
GAP = 6


def pixels(
  parts,
  batch,
  step: Step,
  teachers=None,
  *,
  mask: Callable,
  patch: int,
  normalize: bool = True,
  signal: str = "image",
) -> dict:
  """{"original", "masked", "reconstruction"}, each [b h w c] float32 on the scale of batch[signal].

  A fourth entry, "normalized_target", repeats `normalize` for the note that goes with pictures.
  Visible patches are pasted from the original and what is neither seen nor predicted stays 0, grey.
  With `normalize` the network predicted patches of mean 0 and deviation 1, and the true mean and
  deviation are put back (see `note`). InputError where the network does not predict pixels.
  """
  image = batch[signal].astype(jnp.float32)
  tokens = parts.tokenizer(batch[signal])  # Tokens [b n d]
  drawn = mask(step.key, tokens, progress=step.progress)  # visible [b v], masked [b g m]
  predictions = parts.predictor(parts.encoder(tokens, drawn), drawn)  # [b g m e]
  cut = patches.patchify(image, patch)  # [b n e]
  n, e = cut.shape[1:]
  if predictions.shape[-1] != e:
    raise InputError(
      f"reconstruction: the network predicts {predictions.shape[-1]} numbers a token, but a patch "
      f"of {patch} has {e} pixel values. Pictures need a network that predicts pixels."
    )
  predicted = _placed(predictions.astype(jnp.float32), drawn, cut, normalize)
  seen = gather.member(drawn.visible, n, drawn.valid)[..., None]
  grid = patches.patch_grid(image.shape[1:-1], patch)
  return {
    "original": image,
    "masked": patches.unpatchify(jnp.where(seen, cut, 0.0), grid, patch),
    "reconstruction": patches.unpatchify(jnp.where(seen, cut, predicted), grid, patch),
    "normalized_target": normalize,
  }


def _placed(predictions, drawn, cut, normalize):
  """Predictions [b g m e] at their patches, brought to the pixels' scale; 0 elsewhere: [b n e]."""
  b, n, e = cut.shape
  # Entries that only fill up the draw point behind the end, where a scatter drops them.
  index = jnp.where(drawn.weight > 0, drawn.masked, n).reshape(b, -1)
  placed = gather.place(predictions.reshape(b, -1, e), index, jnp.zeros_like(cut))
  if not normalize:
    return placed
  _, mean, deviation = target.normalize_patches(cut)
  asked = gather.member(index, n + 1)[:, :n, None]
  return jnp.where(asked, placed * deviation + mean, 0.0)


def note(normalize: bool) -> str:
  """What a reader must know before believing the pictures."""
  if normalize:
    return (
      "The network predicts each masked patch only up to its brightness and contrast: mean and "
      "deviation of every patch come from the true image, so the reconstructions look better than "
      "what was predicted. Visible patches are pasted from the original."
    )
  return (
    "Masked patches are shown as predicted; nothing but the visible patches, which are pasted from "
    "the original, comes from the true image."
  )


def picture_grid(panels: dict, limit: int = 8):
  """A Pillow image: a caption row, then original | masked | reconstruction of up to `limit` images.

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
  for i, name in enumerate(PANELS):
    middle = GAP + (i + 0.5) * width / len(PANELS)
    pen.text((middle, caption / 2), name, fill="black", font=font, anchor="mm")
  for i, row in enumerate(map(Image.fromarray, rows)):
    picture.paste(row, (GAP, caption + i * (height + GAP)), mask=row)
  return picture


def strips(panels: dict, limit: int = 8) -> list[np.ndarray]:
  """One uint8 [height width 4] an image: its three panels side by side, with see-through gaps."""
  shown = [_to_bytes(np.asarray(panels[name])[:limit]) for name in PANELS]
  factor = max(1, -(-SIDE // max(shown[0].shape[1:3])))
  shown = [images.repeat(factor, 1).repeat(factor, 2) for images in shown]
  gap = np.zeros((*shown[0].shape[:2], GAP, 4), np.uint8)
  return list(np.concatenate([shown[0], gap, shown[1], gap, shown[2]], 2))


def _to_bytes(images):
  """[b h w c], [0, 1] or uint8 -> [b h w 4] uint8, opaque; at most three channels are shown."""
  if images.dtype != np.uint8:
    images = np.rint(255 * np.clip(np.nan_to_num(images), 0, 1)).astype(np.uint8)
  colour = images[..., :3] if images.shape[-1] >= 3 else images[..., :1].repeat(3, -1)
  return np.concatenate([colour, np.full_like(colour[..., :1], 255)], -1)


def denormalize(panels: dict, mean, std) -> dict:
  """The panels of `pixels` as [b h w c] in [0, 1]; mean and std are one number a channel."""
  scale, shift = (np.asarray(x, np.float32)[None, None, None] for x in (std, mean))
  return {name: np.clip(np.asarray(panels[name]) * scale + shift, 0, 1) for name in PANELS}


def save(workdir, panels: dict, *, mean, std, limit: int = 8) -> dict:
  """Writes reconstructions/grid.png and one NN.png an image; returns {"normalized_target", "note"}.

  panels: what `pixels` returned, so on a scale with this mean and deviation a channel. The note
  also stands in the PNG files. Pictures left by an earlier call are removed.
  """
  from PIL import Image, PngImagePlugin

  normalized = bool(panels["normalized_target"])
  info = PngImagePlugin.PngInfo()
  info.add_text("Comment", note(normalized))
  shown = denormalize(panels, mean, std)
  pictures = {"grid.png": picture_grid(shown, limit)}
  for i, row in enumerate(strips(shown, limit)):
    pictures[f"{i:02d}.png"] = Image.fromarray(row)
  folder = pathlib.Path(workdir) / "reconstructions"
  folder.mkdir(parents=True, exist_ok=True)
  for old in folder.glob("*.png"):
    if old.name not in pictures:
      old.unlink()
  for name, picture in pictures.items():
    half = folder / f"{name}.part"
    picture.save(half, "PNG", optimize=True, pnginfo=info)
    half.replace(folder / name)  # never half a picture in a run folder
  return {"normalized_target": normalized, "note": note(normalized)}
