"""Runs, weights and checkpoints of the first edition: opened and resumed. See golden/first_edition."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax import rooms
from mim_jax.cli import arguments
from mim_jax.evaluate import network
from mim_jax.monitor import metrics
from mim_jax.train import folder, loop
from mim_jax.weights import native

GOLDEN = pathlib.Path(__file__).parent / "golden" / "first_edition"
METHODS = ("mae", "ibot", "hpm")
CONFIGS = json.loads((GOLDEN / "configs.json").read_text())
COMMAND = dict(steps=9, batch_size=16, log_every=1, checkpoint_every=3)


def the_command(method):
  """The config of the command that the runs were made with, as of today."""
  words = [f"--config.train.{name}={value}" for name, value in COMMAND.items()]
  return arguments.config(f"configs/{method}.py:dataset=digits,size=nano", words)


def nodes(value):
  """All nodes of a config."""
  if isinstance(value, tuple):
    return [node for inner in value for node in nodes(inner)]
  if not hasattr(value, "items"):
    return []
  inner = [node for _, v in value.items() for node in nodes(v)]
  return [value, *inner] if config_lib.is_node(value) else inner


@pytest.mark.parametrize("method", METHODS)
def test_a_run_goes_on_with_the_same_command(method, tmp_path):
  path = shutil.copytree(GOLDEN / method / "cut", tmp_path / "run")
  config = the_command(method)
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  with folder.opened(path, config):
    _, facts = loop.train(experiment.trainable, path)
  assert (facts["start"], facts["step"]) == (4, 9)
  found, whole = (
    {line["step"]: line for line in metrics.read(run / "metrics.jsonl")}
    for run in (path, GOLDEN / method / "whole")
  )
  assert list(found) == list(whole) == list(range(1, 10))
  for name in ("loss", "learning_rate", "gradient_norm"):
    values = ([lines[step][name] for step in whole] for lines in (found, whole))
    np.testing.assert_allclose(*values, rtol=1e-6 if name == "loss" else 1e-5, err_msg=name)
  assert found[9].keys() == whole[9].keys()  # metrics keep the names that a first line has


@pytest.mark.parametrize("method", CONFIGS)
def test_every_method_s_runs_may_go_on(method):
  old = config_lib.from_json(json.dumps(CONFIGS[method]))
  new = config_lib.get_config(method, "dataset=digits,size=nano")
  new.train.fit_batch = False  # as it is once a batch was found
  folder.check_same("a run", old, new)


@pytest.mark.parametrize("method", CONFIGS)
def test_a_config_is_read_in_the_words_of_today(method):
  config = config_lib.from_json(json.dumps(CONFIGS[method]))
  found = nodes(config)
  assert len(found) > 12
  for node in found:
    made = config_lib.build(node)  # refuses settings by other names
    thing = getattr(made, "func", type(made))
    assert rooms.public_name(thing) == node[config_lib.KEY] == rooms.current(node[config_lib.KEY])
  again = config_lib.from_json(config_lib.to_json(config))
  assert config_lib.flatten(again) == config_lib.flatten(config)


@pytest.mark.parametrize("method", METHODS)
def test_weights_are_a_network(method):
  variables, config = native.load(GOLDEN / method / "whole")
  encode = network.Encoder(network.EncoderProgram(config), variables)
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  batch = experiment.spec.data.test[np.arange(4)]
  features = encode(batch)
  assert features.shape == (4, 24)
  assert np.isfinite(features).all() and features.std(0).min() > 0
  shapes = jax.tree.map(np.shape, experiment.trainable.abstract_state().params)
  assert jax.tree.map(np.shape, variables["params"]) == shapes
  assert experiment.viewer.painter is not None
