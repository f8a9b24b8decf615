"""Classes of patches, and masks carried through clips."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import errors
from mim_jax.data.image import sources
from mim_jax.data.pool import pseudo
from mim_jax.evaluate import features, network
from mim_jax.evaluate.frozen import carried, pixel_classes


@pytest.fixture(scope="module")
def program():
  config = config_lib.get_config("mae", "dataset=embedded,size=nano")
  return network.EncoderProgram(config.copy_and_resolve_references())


@pytest.fixture(scope="module")
def data():
  return types.SimpleNamespace(**{s: pseudo.digits_with_maps(split=s) for s in ("train", "test")})


def test_patches_are_classified_and_pixels_compared(program, data):
  linear = pixel_classes.segmentation(program.plain, data, 0, strength=10.0, patches=4000)
  near = pixel_classes.segmentation(program.plain, data, 0, classifier="knn", patches=4000)
  best = oracle(program, data.test)
  assert 0.5 * best["miou"] < linear["miou"] <= best["miou"]
  assert 0.7 * best["miou"] < near["miou"] <= best["miou"]
  given = pixel_classes.segmentation(
    program.plain,
    types.SimpleNamespace(train=None, test=None),
    0,
    classifier="knn",
    patches=4000,
    train=lambda: data.train,
    test=lambda: data.test,
  )
  assert given == near


def oracle(program, source):
  """The scores of who knows the class that most pixels of a patch have."""
  _, truth = pixel_classes.read(program.plain, source, "semantic", 256)
  t = 64 // program.config.parts.tokenizer.patch**2
  return pixel_classes.scores(
    pixel_classes.enlarged(pixel_classes.majority(truth, t), (8, 8)), truth
  )


def test_images_without_maps_are_skipped(program):
  plain = types.SimpleNamespace(train=sources.digits(split="train"), test=None)
  plain.test = plain.train
  with pytest.raises(features.NoLabels, match="needs maps 'semantic'"):
    pixel_classes.segmentation(program.plain, plain, 0)


def test_majority_and_its_way_back():
  classes = np.array([[[1, 1, 0, 2], [1, 3, 2, 2]]])
  np.testing.assert_array_equal(pixel_classes.majority(classes, 2), [[1, 2]])
  back = pixel_classes.enlarged(np.array([[1, 2]]), (2, 4))
  np.testing.assert_array_equal(back, [[[1, 1, 2, 2], [1, 1, 2, 2]]])
  with pytest.raises(errors.InputError, match="3 tokens are no grid of patches"):
    pixel_classes.grid_of(3, (8, 8))


def test_scores_leave_out_what_has_no_class():
  truth = np.array([[[0, 0, 1, 255]]])
  found = np.array([[[0, 1, 1, 1]]])
  assert pixel_classes.scores(found, truth) == pytest.approx({"miou": 0.5, "pixel_accuracy": 2 / 3})


def test_a_mask_follows_the_patches_it_lies_on():
  random = np.random.default_rng(0)
  t, side = 5, 6
  back = np.broadcast_to(random.normal(size=(1, 1, 1, 8)), (t, side, side, 8)).copy()
  thing, truth = random.normal(size=8), np.zeros((t, side, side), np.float32)
  for i in range(t):
    back[i, 1 + i % 3 : 3 + i % 3, i : i + 2] = thing
    truth[i, 1 + i % 3 : 3 + i % 3, i : i + 2] = 1
  tokens = jnp.asarray(back.reshape(t, -1, 8), jnp.float32)
  near = jnp.asarray(carried.close(side, side, 12.0))
  found = carried.carried(3, 2, 0.1, tokens, jnp.asarray(truth[0].reshape(-1)), near)
  np.testing.assert_allclose(found, truth.reshape(t, -1), atol=1e-3)


def test_radius_bounds_the_search():
  near = carried.close(3, 4, 1.0)
  assert near.sum(1).tolist() == [4, 6, 6, 4, 6, 9, 9, 6, 4, 6, 6, 4]


def test_j_and_f():
  truth = np.zeros((12, 12), bool)
  truth[3:9, 3:9] = True
  moved = np.roll(truth, 3, 1)
  assert carried.overlap(truth, truth) == carried.boundary(truth, truth, 0.01) == 1.0
  assert carried.overlap(moved, truth) == pytest.approx(1 / 3)
  assert carried.boundary(moved, truth, 0.01) < carried.boundary(moved, truth, 0.2) == 1.0
  empty = np.zeros_like(truth)
  assert carried.overlap(empty, empty) == carried.boundary(empty, empty, 0.01) == 1.0
  assert carried.boundary(empty, truth, 0.01) == 0.0


def test_refuses(program):
  pair = lambda: sources.Arrays(np.zeros((2, 8, 8), np.uint8))
  with pytest.raises(errors.InputError, match="three frames or more"):
    carried.propagation(program.plain, None, 0, clips=pair)
  with pytest.raises(errors.InputError, match="does not say which part of an image"):
    pixel_classes.view_of(lambda batch: batch)


def test_moving_digits_are_followed(program):
  net = network.Encoder(
    program, program.init(jax.random.key(0), program.view(sources.digits()[np.arange(2)]))
  )
  found = carried.propagation(net, None, 0, count=2, size=12, radius=2.0, context=2)
  assert 0.2 < found["j"] <= 1
  assert found["j_and_f"] == pytest.approx((found["j"] + found["f"]) / 2)
