"""Negative controls: what the promises of every method are there to catch, they catch."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import objectives
from mim_jax.experiment import spec as spec_lib
from tests import promises


def broken(monkeypatch, objective):
  """MAE's experiment with another objective."""
  trainable, batch = promises.traced.__wrapped__("mae")
  spec = trainable.spec
  keywords = spec.objective.keywords
  monkeypatch.setattr(spec, "objective", functools.partial(objective, **keywords))
  return trainable, batch


def stopped(parts, batch, step, teachers, **settings):
  inner = parts.encoder
  cut = lambda *args, **kwargs: jax.lax.stop_gradient(inner(*args, **kwargs))
  parts = core_parts(parts, encoder=cut)
  return objectives.predict_masked(parts, batch, step, teachers, **settings)


def leaky(parts, batch, step, teachers, *, mask, **settings):
  """Shows the encoder the first masked token as well, and tells nobody."""

  def wide(key, tokens, scores=None, progress=None):
    drawn = mask(key, tokens, scores, progress)
    more = jnp.concatenate([drawn.visible, drawn.masked[:, 0, :1]], 1)
    return dataclasses.replace(drawn, visible=more)

  outcome = objectives.predict_masked(parts, batch, step, teachers, mask=wide, **settings)
  honest = dataclasses.replace(outcome.mask, visible=outcome.mask.visible[:, :-1])
  return dataclasses.replace(outcome, mask=honest)


def half(parts, batch, step, teachers, **settings):
  outcome = objectives.predict_masked(parts, batch, step, teachers, **settings)
  return dataclasses.replace(outcome, loss=outcome.loss.astype(jnp.bfloat16))


def core_parts(parts, **other):
  names = ("tokenizer", "encoder", "predictor")
  return type("Parts", (), {n: staticmethod(other.get(n, getattr(parts, n))) for n in names})


def test_a_stop_gradient_is_caught(monkeypatch):
  trainable, batch = broken(monkeypatch, stopped)
  missing, _ = promises.without_gradient(trainable, batch)
  assert any(name.startswith("encoder/") for name in missing)
  assert not any(name.startswith("predictor/") for name in missing)


def test_a_leak_is_caught(monkeypatch):
  experiment, _, batch = promises.built.__wrapped__("mae", 1)
  state = experiment.trainable.init(jax.random.key(0))
  keywords = experiment.spec.objective.keywords
  fine = promises.leak(experiment, state, batch, 0)
  np.testing.assert_array_equal(fine.latents.values, fine.other_hidden.values)
  monkeypatch.setattr(experiment.spec, "objective", functools.partial(leaky, **keywords))
  found = promises.leak(experiment, state, batch, 0)
  assert not np.array_equal(found.latents.values, found.other_hidden.values)


def test_a_wrong_type_is_caught(monkeypatch):
  trainable, batch = broken(monkeypatch, half)
  assert promises.loss_and_parameters(trainable, batch)[0].dtype == jnp.bfloat16


def test_a_stack_that_sees_more_than_its_mask_says_is_caught(monkeypatch):
  trainable, batch = broken(monkeypatch, objectives.predict_masked)
  assert all(seen == wanted for seen, wanted in promises.stack_lengths(trainable, batch))
  trainable, batch = broken(monkeypatch, leaky)
  assert any(seen != wanted for seen, wanted in promises.stack_lengths(trainable, batch))


def test_a_program_is_known_by_what_it_computes(monkeypatch, tmp_path):
  monkeypatch.setattr(promises, "PROGRAMS", tmp_path / "programs")
  monkeypatch.setattr(promises, "SOURCES", ())
  monkeypatch.delenv("FULL", raising=False)
  assert not promises.known("mae")
  promises.remember("mae")
  assert promises.known("mae")
  assert list(json.loads((tmp_path / "programs" / "mae.json").read_text())) == [jax.__version__]
  monkeypatch.setenv("FULL", "1")
  assert not promises.known("mae")
  monkeypatch.delenv("FULL")
  trainable, _ = promises.traced("mae")
  monkeypatch.setattr(
    trainable.spec, "objective", functools.partial(half, **trainable.spec.objective.keywords)
  )
  assert not promises.known("mae")


def test_a_batch_larger_than_the_data_is_fitted_and_found_again():
  config = promises.small_config("mae")
  config.train.update(dict(batch_size=5000, fit_batch=True))
  assert spec_lib.fitted(config).train.batch_size == 1024
  assert config.train.fit_batch is False
  assert spec_lib.fitted(config).train.batch_size == 1024


@pytest.mark.parametrize("size", [5000, 1438])
def test_who_names_a_batch_keeps_it(size):
  config = promises.small_config("mae")
  config.train.update(dict(batch_size=size, fit_batch=False))
  assert spec_lib.fitted(config).train.batch_size == size
