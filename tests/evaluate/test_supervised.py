"""Training on labels: what learns, what stays, and from how many labels."""

import types

import jax
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import errors
from mim_jax.data.image import sources
from mim_jax.evaluate import features, network
from mim_jax.evaluate.trained import supervised, tuning

MILD = dict(scale=(0.9, 1.0), flip=False)
PLAIN = dict(changes=0, erase=0.0, mixup=0.0, cutmix=0.0)


def bars(n, seed):
  """Images of a bright horizontal or a darker vertical bar on noise: a class each."""
  random = np.random.default_rng(seed)
  image, label = random.integers(0, 60, (n, 8, 8)), np.arange(n) % 2
  place = random.integers(1, 7, n)
  for i in range(n):
    image[(i, place[i]) if label[i] else (i, slice(None), place[i])] += 60 + 120 * label[i]
  return sources.Arrays(image.astype(np.uint8), label, ("vertical", "horizontal"))


@pytest.fixture(scope="module")
def data():
  return types.SimpleNamespace(train=bars(128, 0), test=bars(64, 1))


@pytest.fixture(scope="module")
def net(data):
  config = config_lib.get_config("mae", "dataset=embedded,size=nano")
  program = network.EncoderProgram(config.copy_and_resolve_references())
  return network.Encoder(
    program, program.init(jax.random.key(0), program.view(data.test[np.arange(2)]))
  )


def moved(before, after):
  old, new = (supervised.flat(n.variables["params"]) for n in (before, after))
  return {name for name in new if name not in old or not np.array_equal(old[name], new[name])}


def test_fine_tuning_learns_and_moves_the_encoder(net, data):
  settings = dict(rate=5e-3, warmup=1.0, layer_decay=0.9, weight_decay=0.05, b2=0.999)
  tuned, recipe = tuning.tuned(
    net,
    data,
    **settings,
    epochs=10.0,
    batch_size=32,
    drop_path=0.1,
    blocks=1,
    pool="mean",
    ema=0.5,
    **PLAIN,
    **MILD,
    smoothing=0.1,
  )
  fitted = supervised.fit(tuned, data, 0, recipe)
  assert supervised.score(fitted, data.test, recipe) > 0.8
  changed = moved(tuned, fitted.net)
  assert {name.split("/")[2] for name in changed if "/stack/" in name} == {"block_01"}
  assert not any(name.startswith("tokenizer") for name in changed)


@pytest.mark.parametrize("probe", ["attentive", "linear_lars"])
def test_probes_learn_and_leave_the_encoder(net, data, probe):
  few = dict(epochs=30.0, batch_size=64, warmup=2.0, **MILD)
  if probe == "attentive":
    found = tuning.attentive(net, data, 0, rate=2e-2, **few)
  else:
    found = tuning.linear_lars(net, data, 0, rate=30.0, pool="mean", **few)
  assert found["accuracy"] > 0.8


def test_divergence_is_told(net, data):
  with pytest.raises(errors.InputError, match="diverged: its loss is not finite"):
    tuning.attentive(net, data, 0, rate=1e38, epochs=4.0, batch_size=64, warmup=0.0, **MILD)


def test_few_labels_are_drawn(data):
  chosen = supervised.labelled(data.train, 0, per_class=3)
  assert np.bincount(chosen.label).tolist() == [3, 3]
  assert np.bincount(supervised.labelled(data.train, 0, share=0.25).label).tolist() == [16, 16]
  assert len(supervised.labelled(data.train, 0)) == 128
  with pytest.raises(errors.InputError, match="per_class = 3 or share = 0.5, not both"):
    supervised.labelled(data.train, 0, per_class=3, share=0.5)
  with pytest.raises(errors.InputError, match="share = 0, but it must lie above 0"):
    supervised.labelled(data.train, 0, share=0)


def test_images_without_label_are_no_lesson(data, net):
  image = data.train[np.arange(10)]["image"]
  mixed = sources.Arrays(image, np.array([0, 1, -1] * 3 + [0]), data.train.classes)
  assert len(supervised.labelled(mixed, 0)) == 7
  bare = types.SimpleNamespace(train=sources.Arrays(image), test=sources.Arrays(image))
  with pytest.raises(features.NoLabels):
    tuning.finetune(net, bare, 0)


def test_what_has_no_network_is_told_so(net, data):
  with pytest.raises(network.NoNetwork, match="needs a network"):
    tuning.attentive(net.program.plain, data, 0)
