"""Crops on the host: the boxes of the device and of the published draw, the pixels of Pillow."""

import io
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from mim_jax import config, errors, experiment
from mim_jax.data import pipeline, sample_order
from mim_jax.data.image import augment, decode, host, jpeg, sources

SCALE, ASPECT = (0.2, 1.0), (3 / 4, 4 / 3)
MANY = 4000


def published(height, width, random):
  """One box (top, left, height, width) by torchvision's RandomResizedCrop.get_params.

  It rounds to whole pixels; a uniform share of a pixel undoes that, so that distributions compare.
  """
  for _ in range(10):
    area = random.uniform(*SCALE) * height * width
    aspect = math.exp(random.uniform(*np.log(ASPECT)))
    w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    if 0 < w <= width and 0 < h <= height:
      places = []
      for room in (height - h, width - w):
        places.append((random.integers(0, room + 1) + random.uniform()) * room / (room + 1))
      return *places, h + random.uniform(-0.5, 0.5), w + random.uniform(-0.5, 0.5)
  w, h = width, height
  if width / height < ASPECT[0]:
    h = round(w / ASPECT[0])
  elif width / height > ASPECT[1]:
    w = round(h * ASPECT[1])
  return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize("size", [(375, 500), (1024, 1024), (400, 2000), (1800, 300)])
def test_boxes_of_host_device_and_published_draw_have_one_distribution(size):
  random = np.random.default_rng(0)
  whole = np.tile(np.float64(size), (MANY, 1))
  draws = sample_order.uniform(0, np.arange(MANY), augment.DRAWS)
  sizes = jnp.tile(jnp.asarray(size, jnp.int32), (MANY, 1))
  found = dict(
    published=np.array([published(*size, random) for _ in range(MANY)], np.float64),
    host=augment.boxes(draws, whole, SCALE, ASPECT, np),
    device=np.asarray(augment.random_boxes(jax.random.key(0), sizes, SCALE, ASPECT), np.float64),
  )
  facts = {
    # In steps, since many boxes of long images are the same one but for rounding.
    name: dict(
      area=np.round(b[:, 2] * b[:, 3] / np.prod(size) / 0.02),
      aspect=np.round(np.log(b[:, 3] / b[:, 2]) / 0.04),
      top=np.round(b[:, 0] / size[0] / 0.02),
      left=np.round(b[:, 1] / size[1] / 0.02),
    )
    for name, b in found.items()
  }
  for one, other in (("host", "device"), ("host", "published"), ("device", "published")):
    for fact in ("area", "aspect", "top", "left"):
      distance = stats.ks_2samp(facts[one][fact], facts[other][fact], method="asymp").statistic
      assert distance < 1.95 * math.sqrt(2 / MANY), (one, other, fact)  # one in a thousand


def test_uniform_draws_are_uniform_and_functions_of_seed_and_position():
  draws = sample_order.uniform(3, np.arange(20_000), 4)
  for column in draws.T:
    assert stats.kstest(column, "uniform").pvalue > 1e-3
  assert np.abs(np.corrcoef(draws.T) - np.eye(4)).max() < 0.03
  np.testing.assert_array_equal(sample_order.uniform(3, np.array([77, 5]), 4), draws[[77, 5]])
  assert not np.isin(sample_order.uniform(4, np.arange(1000), 4), draws).any()


# --- Pixels ---------------------------------------------------------------------------------------


def photo(height, width, seed):
  noise = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
  return Image.fromarray(noise).resize((width, height), Image.BICUBIC)


def save(path, image, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  image.save(path, **options)


def cropped(path, size=(32, 32), **settings):
  def source():
    return sources.folder(path=str(path), split="all", canvas=512)

  return host.cropped(source=source, size=size, **settings)


@pytest.mark.parametrize(
  ("name", "options"),
  [
    ("1.jpg", dict(quality=95)),
    ("1.jpg", dict(quality=95, progressive=True)),
    ("1.jpg", dict(quality=95, subsampling=0)),
    ("1.png", {}),
  ],
)
def test_pixels_are_those_of_the_box_by_pillow(tmp_path, name, options):
  for kind, shape in (("small", (150, 200)), ("large", (700, 500))):
    save(tmp_path / kind / name, photo(*shape, 0), **options)
  source = cropped(tmp_path)
  indices, positions = np.repeat([0, 1], 12), np.arange(24)
  batch = source.draw(indices, positions, 0)
  np.testing.assert_array_equal(batch["size"], np.full((24, 2), 32))
  draws = sample_order.uniform(0, positions, augment.DRAWS + 1)
  for i, index in enumerate(indices):
    with Image.open(tmp_path / source.source.files[index]) as opened:
      whole = opened.convert("RGB")
    fitted = source.source.decoder.fit(*whole.size) if name.endswith("png") else whole.size
    scale = whole.width / fitted[0]
    sizes = np.array([[fitted[1], fitted[0]]], np.float64)
    top, left, height, width = augment.boxes(draws[i : i + 1], sizes, SCALE, ASPECT, np)[0] * scale
    box = (left, top, left + width, top + height)
    expected = np.asarray(whole.resize((32, 32), Image.BILINEAR, box=box)).astype(int)
    expected = expected[:, ::-1] if draws[i, -1] < 0.5 else expected
    assert np.abs(batch["image"][i] - expected).mean() < 4, (index, box)


def test_the_upper_rows_are_those_of_the_whole_file():
  for seed, options in enumerate([{}, dict(subsampling=0), dict(subsampling=1), dict(quality=30)]):
    file = io.BytesIO()
    photo(101, 77, seed).save(file, "JPEG", **options)
    data = file.getvalue()
    header = jpeg.header(data)
    assert (header.height, header.width, header.whole) == (101, 77, True)
    whole = jpeg.read(data, 3, (101, 77))
    np.testing.assert_array_equal(whole, np.asarray(Image.open(file)))
    for rows in (1, 15, 16, 17, 64, 100, 101):
      part = jpeg.read(jpeg.upper(data, header, rows), 3, (rows, 77), strict=False)
      np.testing.assert_array_equal(part[:rows], whole[:rows])
    assert jpeg.upper(data[:-40], header, 16) is None  # cut short: it must not pass unseen
  file = io.BytesIO()
  photo(40, 40, 0).save(file, "JPEG", progressive=True)
  assert jpeg.upper(file.getvalue(), jpeg.header(file.getvalue()), 16) is None
  assert jpeg.header(b"\xff\xd8\xff\xe0") is None


def test_a_cut_file_is_unreadable_wherever_the_crop_lies(tmp_path):
  file = io.BytesIO()
  photo(300, 300, 0).save(file, "JPEG")
  (tmp_path / "1.jpg").write_bytes(file.getvalue()[:-200])
  source = cropped(tmp_path)
  for position in range(8):
    with pytest.raises(errors.UnreadableError, match=r"1\.jpg cannot be read"):
      source.draw(np.array([0]), np.array([position]), 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_plain_jpegs_are_decoded_as_pillow_does(channels):
  file = io.BytesIO()
  photo(60, 90, 1).convert("L" if channels == 1 else "RGB").save(file, "JPEG")
  found = decode.Decoder(90, channels).picture(file.getvalue(), "1.jpg")
  np.testing.assert_array_equal(found.squeeze(), np.asarray(Image.open(file)))
  rotated = Image.Exif()
  rotated[0x0112] = 6
  file = io.BytesIO()
  photo(60, 90, 1).save(file, "JPEG", exif=rotated)
  assert decode.Decoder(90, 3).picture(file.getvalue(), "1.jpg").shape == (90, 60, 3)


# --- In a run -------------------------------------------------------------------------------------


def a_config(path, *more):
  made = config.get_config("mae", f"dataset=folder,path={path},size=nano,image=16,patch=4")
  made.train.update(dict(batch_size=8, steps=2, epochs=None))
  made.data.crop = "host"
  return made


def test_a_config_moves_its_crop_to_the_host(tmp_path):
  for i in range(8):
    save(tmp_path / "photos" / "train" / f"{i}.jpg", photo(40, 50, i))
    save(tmp_path / "photos" / "test" / f"{i}.jpg", photo(40, 50, i))
  made = experiment.build(a_config(tmp_path / "photos")).spec
  batches = made.batches()
  batch = next(batches)
  assert batch["image"].shape == (8, 16, 16, 3)
  again = experiment.build(a_config(tmp_path / "photos")).spec.batches()
  again.set_state({"next_batch": 0})
  np.testing.assert_array_equal(next(again)["image"], batch["image"])
  viewed = made.augment(jax.random.key(0), {k: jnp.asarray(v) for k, v in batch.items()})
  assert viewed["image"].shape == (8, 16, 16, 3)
  assert made.data.train[np.arange(2)]["image"].shape == (2, 32, 32, 3)  # evaluations
  assert next(pipeline.in_order(made.data.test, 4))[0]["image"].shape == (4, 32, 32, 3)


def test_what_cannot_be_cropped_on_the_host_is_explained(tmp_path, monkeypatch):
  digits = config.get_config("mae", "dataset=digits")
  digits.data.crop = "host"
  with pytest.raises(errors.InputError, match="only images that are decoded"):
    experiment.build(digits).spec.data  # noqa: B018
  views = config.get_config("ibot", "dataset=digits")
  views.data.crop = "host"
  with pytest.raises(errors.InputError, match="multi_crop needs whole images"):
    experiment.build(views)
  monkeypatch.setitem(__import__("sys").modules, "cv2", None)
  with pytest.raises(errors.InputError, match=r"needs OpenCV.*mim-jax\[fast\]"):
    experiment.build(digits)
