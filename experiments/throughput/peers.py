"""What input.py compares with: PyTorch's DataLoader over PIL transforms. Needs torch.

The crop is torchvision's RandomResizedCrop as published (ten tries, then the middle), since
torchvision itself is not at hand everywhere; resizing, flip and decoding are Pillow's, as there.
"""

import io
import math
import random

import numpy as np
import torch
from PIL import Image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Photos(torch.utils.data.Dataset):
  """Files as they are trained on: decoded, cropped, flipped, and (floats) normalised."""

  def __init__(self, paths, size, kernel=Image.BICUBIC, floats=True):
    self.paths, self.size, self.kernel, self.floats = paths, size, kernel, floats
    self.mean = torch.tensor(MEAN)[:, None, None]
    self.std = torch.tensor(STD)[:, None, None]

  def __len__(self):
    return len(self.paths)

  def __getitem__(self, index):
    with open(self.paths[index], "rb") as file:
      image = Image.open(io.BytesIO(file.read())).convert("RGB")
    left, top, width, height = box(*image.size)
    image = image.crop((left, top, left + width, top + height))
    image = image.resize((self.size, self.size), self.kernel)
    if random.random() < 0.5:
      image = image.transpose(Image.FLIP_LEFT_RIGHT)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return pixels.float().div(255).sub(self.mean).div(self.std) if self.floats else pixels


def box(width, height, scale=(0.2, 1.0), aspect=(3 / 4, 4 / 3)):
  """(left, top, width, height) of one random resized crop."""
  for _ in range(10):
    area = random.uniform(*scale) * width * height
    ratio = math.exp(random.uniform(math.log(aspect[0]), math.log(aspect[1])))
    w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    if 0 < w <= width and 0 < h <= height:
      return random.randint(0, width - w), random.randint(0, height - h), w, h
  w, h = min(width, round(height * aspect[1])), min(height, round(width / aspect[0]))
  return (width - w) // 2, (height - h) // 2, w, h


def loader(paths, size, batch, workers, **settings):
  """An endless stream of batches."""
  data = torch.utils.data.DataLoader(
    Photos(paths, size, **settings),
    batch_size=batch,
    shuffle=True,
    num_workers=workers,
    drop_last=True,
    persistent_workers=True,
    multiprocessing_context="spawn",
  )
  while True:
    yield from data
