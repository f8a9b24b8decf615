import io

import numpy as np
import pytest
import tensorflow_datasets
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mim_jax import errors
from mim_jax.data import splits
from mim_jax.data.image import sources


def everything(source):
  return source[np.arange(len(source))]


# --- Splits ---------------------------------------------------------------------------------------


@given(st.integers(2, 300), st.data())
def test_the_two_sides_of_a_cut_are_disjoint_and_cover_the_split(n, data):
  cut = data.draw(
    st.integers(1, n - 1).map(str)
    | st.integers(1 - n, -1).map(str)
    | st.integers((100 + n - 1) // n, 99).map("{}%".format)
  )
  drawn = []
  for split in (f"train[:{cut}]", f"train[{cut}:]"):
    name, start, stop = splits.resolve(split, {"train": n, "test": 1})
    assert name == "train"
    drawn.append(splits.draw(n, start, stop))
  np.testing.assert_array_equal(np.sort(np.concatenate(drawn)), np.arange(n))
  assert all((np.diff(part) > 0).all() for part in drawn)


def test_a_whole_split_keeps_its_order():
  assert splits.resolve(" train ", {"train": 7}) == ("train", 0, 7)
  np.testing.assert_array_equal(splits.draw(7, 0, 7), np.arange(7))


def test_percentages_round_down():
  assert splits.resolve("a[12.5%:50%]", {"a": 1_001}) == ("a", 125, 500)
  assert splits.resolve("a[-1_000:]", {"a": 1_001}) == ("a", 1, 1_001)


@pytest.mark.parametrize(
  ("split", "words"),
  [
    ("trian", "'train'"),
    ("train[", "not understood"),
    ("train[ten:]", "not understood"),
    ("train[:0]", "holds no image"),
    ("train[5:5]", "holds no image"),
    ("train[:101]", "101 of 100 images"),
    ("train[:101%]", "101% of 100 images"),
  ],
)
def test_splits_that_cannot_be_are_explained(split, words):
  with pytest.raises(errors.InputError, match=r"data\.split") as caught:
    splits.resolve(split, {"train": 100, "test": 10})
  assert words in str(caught.value)


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=200), st.floats(0, 0.99))
def test_a_fraction_of_each_class_is_held_out(label, fraction):
  label = np.array(label)
  test = splits.held_out(label, fraction)
  for value in np.unique(label):
    assert test[label == value].sum() == round((label == value).sum() * fraction)


# --- Digits ---------------------------------------------------------------------------------------


def test_digits_are_split_once_and_for_all():
  train, test, whole = (sources.digits(split=s) for s in ("train", "test", "all"))
  assert (len(train), len(test), len(whole)) == (1438, 359, 1797)
  # The same images in every version: results are compared across them.
  assert (train.fingerprint, test.fingerprint) == ("043b3971d57d3af6", "8adb08d6daaa3090")
  assert train.classes == tuple("0123456789")
  rows = [image.tobytes() for part in (train, test) for image in everything(part)["image"]]
  assert sorted(rows) == sorted(image.tobytes() for image in everything(whole)["image"])
  assert np.bincount(everything(test)["label"]).min() >= 35


def test_digits_are_scaled_by_rounding():
  from sklearn import datasets

  batch = sources.digits(split="all")[np.array([3, 1])]
  raw = datasets.load_digits().images[[3, 1]]
  np.testing.assert_array_equal(batch["image"][..., 0], np.floor(raw * 255 / 16 + 0.5))
  assert batch["image"].dtype == np.uint8
  assert batch["image"].shape == (2, 8, 8, 1)
  np.testing.assert_array_equal(batch["size"], np.full((2, 2), 8, np.int32))
  np.testing.assert_array_equal(batch["label"], np.array([3, 1], np.int32))


def test_part_of_the_digits_holds_all_classes():
  assert set(everything(sources.digits(split="train[:10%]"))["label"]) == set(range(10))


# --- Arrays ---------------------------------------------------------------------------------------


def pictures(n, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (n, 5, 6, 3), np.uint8)


def test_arrays_from_npz(tmp_path):
  label = np.repeat([0, 1], 20)
  np.savez(tmp_path / "a.npz", images=pictures(40), labels=label[:, None])
  train, test = (sources.arrays(path=str(tmp_path / "a.npz"), split=s) for s in ("train", "test"))
  assert (len(train), len(test)) == (36, 4)
  np.testing.assert_array_equal(everything(test)["label"], [0, 0, 1, 1])
  assert test.names(np.array([2]))[0].endswith("a.npz test 2")
  assert train.fingerprint != test.fingerprint


def test_arrays_with_named_splits(tmp_path):
  path = str(tmp_path / "a.npz")
  np.savez(path, train_images=pictures(9), train_labels=np.arange(9), val_image=pictures(3, 1))
  train, val = sources.arrays(path=path, split="train[:5]"), sources.arrays(path=path, split="val")
  chosen = everything(train)
  np.testing.assert_array_equal(chosen["image"], pictures(9)[chosen["label"]])
  np.testing.assert_array_equal(everything(val)["image"], pictures(3, 1))
  assert set(everything(val)["label"]) == {-1}
  assert val.classes == train.classes == tuple("012345678")
  with pytest.raises(errors.InputError, match="'train'"):
    sources.arrays(path=path, split="trains")


def test_arrays_from_npy_are_unlabelled_and_may_be_grey(tmp_path):
  np.save(tmp_path / "a.npy", pictures(10)[..., 0])
  batch = everything(sources.arrays(path=str(tmp_path / "a.npy"), split="all"))
  np.testing.assert_array_equal(batch["image"], pictures(10)[..., :1])
  assert type(batch["image"]) is np.ndarray


def test_array_files_that_cannot_be_used_are_explained(tmp_path):
  pickled, other, missing = (str(tmp_path / name) for name in ("p.npz", "o.npz", "missing.npz"))
  np.savez(pickled, images=np.array([{}], object), allow_pickle=True)
  np.savez(other, x=pictures(2))
  with pytest.raises(errors.InputError, match="plain arrays"):
    sources.arrays(path=pickled)
  with pytest.raises(errors.InputError, match=r"Its keys: x; wanted: images"):
    sources.arrays(path=other)
  np.savez(other, images=pictures(4), labels=np.arange(3))
  with pytest.raises(errors.InputError, match=r"integers \[4\] are wanted"):
    sources.arrays(path=other)
  with pytest.raises(errors.InputError, match=r"FileNotFoundError.*missing\.npz"):
    sources.arrays(path=missing)


@pytest.mark.parametrize(
  ("image", "label", "words"),
  [
    (np.zeros((2, 3, 3), np.float32), None, "float32"),
    (np.zeros((2, 3), np.uint8), None, "is wanted"),
    (np.zeros((2, 3, 3), np.uint8), np.zeros(3, int), r"integers \[2\]"),
    (np.zeros((2, 3, 3), np.uint8), np.zeros(2), "float64"),
  ],
)
def test_arrays_that_disagree_are_explained(image, label, words):
  with pytest.raises(errors.InputError, match=words):
    sources.Arrays(image, label)


# --- TFDS -----------------------------------------------------------------------------------------


def encoded(i):
  file = io.BytesIO()
  Image.fromarray(np.full((4 + i % 3, 7, 3), i, np.uint8)).save(file, "PNG")
  return io.BytesIO(file.getvalue())


class MimTiny(tensorflow_datasets.core.GeneratorBasedBuilder):
  """A data set that TFDS writes without TensorFlow, since its images are encoded already."""

  VERSION = tensorflow_datasets.core.Version("1.0.0")
  url_infos = {}  # nothing is downloaded; TFDS would look for a list beside this file
  FEATURES = {
    "image": tensorflow_datasets.features.Image(shape=(None, None, 3)),
    "label": tensorflow_datasets.features.ClassLabel(names=["cat", "dog"]),
  }

  def _info(self):
    features = tensorflow_datasets.features.FeaturesDict(self.FEATURES)
    return tensorflow_datasets.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples(range(20)), "test": self._generate_examples(range(4))}

  def _generate_examples(self, numbers):
    for i in numbers:
      example = {"image": encoded(i), "label": i % 2, "number": i}
      yield i, {key: example[key] for key in self.FEATURES}


class MimUnlabelled(MimTiny):
  """Images only."""

  FEATURES = {"image": MimTiny.FEATURES["image"]}


class MimNumbers(MimTiny):
  """Something that is no image."""

  FEATURES = {"number": tensorflow_datasets.features.Scalar(np.int64)}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  folder = str(tmp_path_factory.mktemp("tfds"))
  for kind in (MimTiny, MimUnlabelled, MimNumbers):
    kind(data_dir=folder, file_format="array_record").download_and_prepare()
  return folder


def test_tfds_reads_what_was_prepared(data_dir):
  source = sources.tfds(name="mim_tiny", split="train", canvas=8, data_dir=data_dir)
  batch = everything(source)
  value = batch["image"][:, 0, 0, 0].astype(int)
  assert sorted(value) == list(range(20))
  np.testing.assert_array_equal(batch["label"], value % 2)
  np.testing.assert_array_equal(batch["size"], np.stack([4 + value % 3, np.full(20, 7)], 1))
  assert batch["image"].shape == (20, 8, 8, 3)
  assert source.classes == ("cat", "dog")
  assert source.names(np.array([3])) == ["mim_tiny/1.0.0 train 3"]
  part = sources.tfds(name="mim_tiny", split="train[75%:]", canvas=8, data_dir=data_dir)
  np.testing.assert_array_equal(everything(part)["image"], batch["image"][15:])
  assert source.fingerprint != part.fingerprint


def test_tfds_errors_name_the_remedy(data_dir, tmp_path):
  with pytest.raises(errors.InputError, match="did you mean 'cifar10'"):
    sources.tfds(name="cifar_10", data_dir=data_dir)
  with pytest.raises(
    errors.InputError, match=r"not prepared.*tfds build cifar10 --file_format=arr"
  ):
    sources.tfds(name="cifar10", data_dir=str(tmp_path))
  with pytest.raises(errors.InputError, match="Allowed: test, train"):
    sources.tfds(name="mim_tiny", split="validation", data_dir=data_dir)
  with pytest.raises(errors.InputError, match=r"mim_tiny/1\.0\.0 train 0 has .* limit of 5 "):
    sources.tfds(name="mim_tiny", data_dir=data_dir, limits=(5, 1000))[np.arange(1)]
  with pytest.raises(
    errors.InputError, match=r"'mim_numbers' has no feature 'image'.*It has: number"
  ):
    sources.tfds(name="mim_numbers", data_dir=data_dir)


def test_tfds_sets_may_be_unlabelled(data_dir):
  source = sources.tfds(name="mim_unlabelled", canvas=8, channels=1, data_dir=data_dir)
  assert source.classes == ()
  batch = source[np.array([1, 0])]
  np.testing.assert_array_equal(batch["label"], np.array([-1, -1], np.int32))
  assert batch["image"].shape == (2, 8, 8, 1)
