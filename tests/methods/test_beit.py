"""BEiT as published, and with the codes of a finished run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.errors import InputError
from mim_jax.train import state
from mim_jax.weights import native
from mim_jax.weights import parts as parts_lib

NANO = "dataset=digits,size=nano"


@pytest.mark.parametrize(("size", "published"), [("B", 91_965_776), ("L", 311_534_016)])
def test_parameters_are_as_many_as_published(size, published):
  c = config_lib.get_config("beit", f"size={size}")
  mask = config_lib.build(c.objective.mask)

  def run(parts):
    tokens = parts.tokenizer(jnp.zeros((1, 224, 224, 3)))
    drawn = mask(jax.random.key(0), tokens)
    return parts.predictor(parts.encoder(tokens, drawn), drawn)

  shapes = jax.eval_shape(lambda: parts_lib.parts_of(c).init(jax.random.key(0), method=run))
  assert state.count(shapes["params"]) == published


def test_the_recipe():
  c = config_lib.get_config("beit", "size=B")
  rate = config_lib.build(c.optimizer.learning_rate)
  assert float(rate(0.0)) == 0
  assert float(rate(10 / 800)) == pytest.approx(1.5e-3)
  assert float(rate(1.0)) == pytest.approx(1e-5)
  assert c.train.batch_size == 2048
  assert c.parts.predictor.target_width == 8192
  assert c.parts.encoder.stack.layer_scale == 0.1
  assert config_lib.get_config("beit", "size=L").parts.encoder.stack.layer_scale == 1e-5
  assert (c.optimizer.clip, c.optimizer.b2, c.data.augment.jitter[0]) == (3.0, 0.999, 0.4)


@pytest.fixture(scope="module")
def book(tmp_path_factory):
  """The weights file of a codebook that has made no step."""
  c = config_lib.get_config("codebook", NANO)
  c.train.update(dict(steps=2, batch_size=16))
  drawn = experiment_lib.build(c, devices=jax.devices()[:1]).trainable.init(jax.random.key(3))
  file = tmp_path_factory.mktemp("book") / native.FILE
  native.save(file, {"params": drawn.params, **drawn.stats}, c)
  return file.parent


def test_the_codes_are_those_of_the_run(book):
  c = config_lib.get_config("beit", f"{NANO},teacher={book}")
  c.train.update(dict(steps=2, batch_size=16))
  experiment = experiment_lib.build(
    config_lib.from_json(config_lib.to_json(c)), devices=jax.devices()[:1]
  )
  begun = experiment.trainable.init(jax.random.key(0))
  batch = next(experiment.spec.batches())
  target = config_lib.build(c.objective.target)
  found = target(
    experiment.spec.view(batch), experiment.spec.bind_teachers(begun.teacher, begun.stats)
  )
  variables, known = native.load(book)
  variables = jax.tree.map(jnp.asarray, variables)
  network = parts_lib.parts_of(known).bind(variables)
  image = experiment.spec.view(batch)["image"]
  ids = network.quantizer(network.encoder(network.tokenizer(image)).values).ids
  np.testing.assert_array_equal(found[..., 0], ids)
  assert len(np.unique(ids)) > 1
  pictures = experiment.viewer.pictures(begun, batch)
  assert set(pictures.panels) == {"original", "masked", "predicted", "target"}


def test_codes_on_another_grid_are_refused(book):
  with pytest.raises(
    InputError, match=r"grid of \(4, 4\), the student's patches on one of \(2, 2\)"
  ):
    config_lib.get_config("beit", f"{NANO},patch=4,teacher={book}")


def test_without_codes_it_says_what_to_do():
  c = config_lib.get_config("beit", "size=nano,dataset=arrays,path=x.npz")
  with pytest.raises(InputError, match="teacher=FOLDER: there is no"):
    config_lib.build(c.teachers.codes).init(None)
