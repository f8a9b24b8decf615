"""Corrupted copies of a source."""

import numpy as np
import pytest

from mim_jax import errors
from mim_jax.data.image import noise, sources

KINDS = list(noise.SEVERITIES)


def source(channels=3):
  random = np.random.default_rng(0)
  image = random.integers(0, 256, (5, 20, 24, channels)).astype(np.uint8)
  image[..., :12, :] //= 4
  return sources.Arrays(image, np.arange(5) % 2, ("a", "b"), size=np.full((5, 2), [16, 24]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_each_time_and_more_with_severity(kind):
  clean = source()
  batch = clean[np.arange(5)]
  before = batch["image"].copy()
  away = []
  for severity in (1, 5):
    made = noise.Corrupted(clean, kind, severity)[np.arange(5)]
    assert made["image"].dtype == np.uint8
    np.testing.assert_array_equal(made["label"], batch["label"])
    away.append(np.abs(made["image"][:, :16].astype(int) - before[:, :16]).mean())
    alone = noise.Corrupted(clean, kind, severity)[np.array([3])]
    np.testing.assert_array_equal(alone["image"][0], made["image"][3])
    np.testing.assert_array_equal(made["image"][:, 16:], before[:, 16:])
  assert 0 < away[0] < away[1]
  np.testing.assert_array_equal(clean[np.arange(5)]["image"], before)


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_channels(kind):
  for channels in (1, 4):
    made = noise.Corrupted(source(channels), kind, 3)[np.arange(2)]
    assert made["image"].shape == (2, 20, 24, channels)


def test_pixelate_keeps_means_and_contrast_keeps_the_mean():
  image = np.zeros((8, 8, 1), np.uint8)
  image[::2] = 200
  small = noise.corrupted(image, "pixelate", 5, 0)
  assert len(np.unique(small[:4, :4])) == 1
  flat = noise.corrupted(image, "contrast", 5, 0)
  assert abs(flat.mean() - 100) < 1
  assert np.ptp(flat) == pytest.approx(10, abs=1)


def test_copies_differ_by_fingerprint():
  clean = source()
  made = [noise.Corrupted(clean, "jpeg", s).fingerprint for s in (1, 2)]
  made += [noise.Corrupted(clean, "contrast", 1).fingerprint, clean.fingerprint]
  assert len(set(made)) == 4


def test_refuses():
  with pytest.raises(errors.InputError, match="'gausian_noise' is unknown; did you mean 'gauss"):
    noise.Corrupted(source(), "gausian_noise", 1)
  with pytest.raises(errors.InputError, match="severity 6 must be one of 1, 2, 3, 4, 5"):
    noise.Corrupted(source(), "jpeg", 6)
