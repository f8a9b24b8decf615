"""The runner: numbers over seeds, one evaluation's trouble is not another's."""

import json
import types

import numpy as np
import pytest

from mim_jax import errors
from mim_jax.data.image import sources
from mim_jax.evaluate import features, numbers, runner
from mim_jax.evaluate.frozen import neighbours


def share(encode, data, seed):
  return {"accuracy": [0.2, 0.4, 0.9][seed] / encode.encode.scale}


def broken(encode, data, seed):
  if encode.encode.scale == 2:
    raise errors.InputError("too large. Halve it.")
  return {"accuracy": 1.0}


def crashing(encode, data, seed):
  raise KeyError("deep")


def unlabelled(encode, data, seed):
  raise features.NoLabels("needs labels")


class Encode:
  def __init__(self, scale=1):
    self.scale, self.calls = scale, 0

  def __call__(self, batch, layer=None, pool="mean"):
    self.calls += 1
    return batch["image"].reshape(len(batch["image"]), -1).astype(np.float32)


def test_numbers_over_seeds():
  encoders = {"pretrained": [Encode()] * 3, "random": [Encode(2), Encode(2), Encode(2)]}
  found = runner.run({"share": (share, {"k": 3})}, encoders, None, [0, 1, 2])
  assert json.loads(json.dumps(found)) == found
  assert found["share"]["protocol"] == {"k": 3, "seeds": [0, 1, 2]}
  number = found["share"]["results"]["pretrained"]["accuracy"]
  assert number["mean"] == pytest.approx(0.5)
  assert number["spread"] == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1))
  assert number["values"] == [0.2, 0.4, 0.9]
  assert found["share"]["results"]["random"]["accuracy"]["mean"] == pytest.approx(0.25)
  assert "share accuracy" in runner.table(found)
  assert "50.0 ± 36.1 %" in runner.table(found)


def test_one_seed_has_no_spread():
  found = runner.run({"share": (share, {})}, {"pretrained": [Encode()]}, None, [0])
  assert found["share"]["results"]["pretrained"]["accuracy"]["spread"] is None
  assert "20.0 %" in runner.table(found)


def test_trouble_is_reported_and_stops_nothing():
  evaluations = {f.__name__: (f, {}) for f in (broken, crashing, unlabelled, share)}
  encoders = {"pretrained": [Encode()] * 2, "random": [Encode(2)] * 2}
  found = runner.run(evaluations, encoders, None, [0, 1])
  assert found["broken"]["failed"] == "random: too large. Halve it."
  assert list(found["broken"]["results"]) == ["pretrained"]
  assert found["crashing"]["failed"] == "pretrained: KeyError: 'deep'; random: KeyError: 'deep'"
  assert found["crashing"]["results"] == {} == found["unlabelled"]["results"]
  assert found["unlabelled"]["skipped"] == "needs labels"
  assert "failed" not in found["unlabelled"]
  assert set(found["share"]["results"]) == {"pretrained", "random"}
  text = runner.table(found)
  assert "unlabelled skipped: needs labels" in text
  assert "broken failed: random: too large" in text


def test_every_source_is_encoded_once_an_encoder():
  image = np.random.default_rng(0).integers(0, 256, (24, 2, 2)).astype(np.uint8)
  make = lambda: sources.Arrays(image, np.arange(24) % 3, ("a", "b", "c"))
  data = types.SimpleNamespace(train=make(), test=make())
  evaluations = {
    "one": (lambda *a: neighbours.knn(*a, k=1), {}),
    "three": (lambda *a: neighbours.knn(*a, k=3), {}),
  }
  same, drawn = Encode(), [Encode(), Encode()]
  found = runner.run(evaluations, {"pretrained": [same] * 2, "random": drawn}, data, [0, 1])
  assert [same.calls, *(encode.calls for encode in drawn)] == [2, 2, 2]
  assert found["one"]["results"]["pretrained"]["accuracy"]["values"] == [1.0, 1.0]


def test_what_draws_nothing_runs_once_an_encoder():
  calls = []

  @features.deterministic
  def still(encode, data, seed):
    calls.append(seed)
    return {"accuracy": 0.5}

  same = Encode()
  encoders = {"pretrained": [same] * 3, "random": [Encode(), Encode(), same]}
  found = runner.run({"still": (still, {})}, encoders, None, [0, 1, 2])
  assert calls == [0, 0, 1, 2]
  assert found["still"]["results"]["pretrained"]["accuracy"]["values"] == [0.5] * 3


def test_needs_one_encoder_a_seed():
  with pytest.raises(ValueError, match="zip"):
    runner.run({"share": (share, {})}, {"pretrained": [Encode()]}, None, [0, 1])


def test_in_words():
  """A fraction is printed in per cent, anything else with its unit; old results have none."""
  number = lambda mean, spread=None, **unit: dict(mean=mean, spread=spread, **unit)
  assert numbers.in_words(None) == ""
  assert numbers.in_words(number(12.345, 0.5)) == "12.35 ± 0.5"
  assert numbers.in_words(number(0.931, 0.004)) == "93.1 ± 0.4 %"
  assert numbers.in_words(number(0.42, 0.01, unit="RMSE")) == "0.42 ± 0.01 RMSE"
  assert numbers.in_words(number(1.5, unit="fraction")) == "150.0 %"
  assert numbers.in_words(number(float("nan"))) == "not finite"


def test_a_number_keeps_its_unit_through_the_seeds():
  def error(encode, data, seed):
    return {"error": numbers.Number(0.2 + 0.1 * seed, "RMSE"), "accuracy": 0.5}

  encoders = {"pretrained": [Encode()] * 2}
  found = runner.run({"error": (error, {})}, encoders, None, [0, 1])
  found = json.loads(json.dumps(found))["error"]["results"]["pretrained"]
  assert (found["error"]["unit"], found["error"]["mean"]) == ("RMSE", pytest.approx(0.25))
  assert numbers.in_words(found["error"]) == "0.25 ± 0.071 RMSE"
  assert numbers.in_words(found["accuracy"]) == "50.0 ± 0.0 %"
  assert numbers.best([0.3, 0.2, float("nan")], "RMSE") == 0.2
  assert numbers.best([0.3, 0.2], "fraction") == 0.3
