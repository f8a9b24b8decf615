"""Steps that are not finite: found before the update, by policy stopped at, skipped or rewound."""

import json
import pathlib
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.checkpoint import store
from mim_jax.errors import InputError
from mim_jax.monitor import metrics, numerics
from mim_jax.optim import rules
from mim_jax.train import loop

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import runs


def built(broken=(), **train):
  """An experiment whose loss is not a number on the given batches, whenever they come."""
  config = config_lib.get_config(str(runs.QUICK))
  config.train.update(dict(steps=10, log_every=2, checkpoint_every=4) | train)
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  batches = experiment.spec.batches()
  sums = []
  for number in broken:
    batches.set_state({"next_batch": number})
    sums.append(int(next(batches)["image"].astype(np.int64).sum()))
  whole = experiment.trainable.forward

  def forward(params, stats, teacher, batch, step):
    loss, aux = whole(params, stats, teacher, batch, step)
    total = jnp.sum(batch["image"].astype(jnp.int32))
    hit = jnp.isin(total, jnp.asarray(sums, jnp.int32))
    return jnp.where(hit, jnp.nan, loss), aux

  experiment.trainable.forward = forward
  return experiment


def newest(experiment, path):
  with store.Checkpoints(path / "checkpoints") as saves:
    return saves.restore(experiment.trainable.abstract_state())


def test_stop_leaves_the_good_checkpoint_and_a_bundle(tmp_path):
  experiment = built(broken=[6])
  with pytest.raises(
    numerics.NonFiniteError,
    match=r"step 7: loss or gradient is not finite.*not applied.*samples: .*diagnostics/step_7.json",
  ) as error:
    loop.train(experiment.trainable, tmp_path)
  assert error.value.step == 6
  state, extra = newest(experiment, tmp_path)
  assert int(state.step) == 4 and extra["data"] == {"next_batch": 4}
  assert [line["step"] for line in runs.lines(tmp_path)] == [2, 4, 6]
  told = json.loads((tmp_path / "diagnostics" / "step_7.json").read_text())
  assert (told["step"], told["batch"], told["seed"], told["loss"]) == (7, 6, 0, "nan")
  batches = experiment.spec.batches()
  batches.set_state({"next_batch": 6})
  np.testing.assert_array_equal(
    experiment.spec.data.train[np.asarray(told["samples"])]["image"], next(batches)["image"]
  )
  assert told["parameter_norms"].keys() == dict(rules.named_leaves(state.params)).keys()
  assert all(isinstance(norm, float) for norm in told["parameter_norms"].values())
  assert told["gradient_norms"].keys() == told["parameter_norms"].keys()


def test_skip_goes_on_with_the_parameters_before(tmp_path, capsys):
  experiment = built(broken=[6, 7], on_non_finite="skip")
  state, facts = loop.train(experiment.trainable, tmp_path)
  assert (int(state.step), int(state.bad_step), facts["step"]) == (10, -1, 10)
  assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(state))
  lines = runs.lines(tmp_path)
  assert [line["skipped_steps"] for line in lines] == [0, 0, 0, 2, 0]
  assert lines[3]["loss"] is None and lines[4]["loss"] > 0
  assert "2 of the steps up to 8 were not finite and skipped" in capsys.readouterr().err
  # What was learnt is what the other eight batches teach.
  assert int(dict(rules.named_leaves(state.opt_state))["0/count"]) == 8


def test_skipping_without_end_stops(tmp_path):
  experiment = built(broken=range(2, 20), steps=40, on_non_finite="skip")
  with pytest.raises(numerics.NonFiniteError, match="step 12: .* 10 steps in a row.*does not help"):
    loop.train(experiment.trainable, tmp_path)


def test_rewind_goes_back_and_leaves_the_batches_out(tmp_path, capsys):
  experiment = built(broken=[6], on_non_finite="rewind")
  state, _ = loop.train(experiment.trainable, tmp_path)
  assert int(state.step) == 10
  _, extra = newest(experiment, tmp_path)
  assert extra["data"] == {"next_batch": 13}  # batches 4, 5 and 6 are left out
  assert [line["step"] for line in runs.lines(tmp_path)] == [2, 4, 6, 8, 10]
  told = capsys.readouterr().err
  assert "Rewound to step 4; batches 4 to 6 are left out (train.on_non_finite=rewind)" in told


def test_rewinding_without_end_stops(tmp_path, capsys):
  experiment = built(broken=range(6, 40), steps=40, on_non_finite="rewind")
  with pytest.raises(numerics.NonFiniteError, match="diagnostics"):
    loop.train(experiment.trainable, tmp_path)
  assert capsys.readouterr().err.count("Rewound to step 4") == numerics.REWINDS


def test_an_unknown_policy_is_refused(tmp_path):
  with pytest.raises(InputError, match="on_non_finite: 'skp' is unknown; did you mean 'skip'"):
    loop.train(built(on_non_finite="skp").trainable, tmp_path)


# The meter, without a network.


def measured(norm, **more):
  values = dict(loss=1.0, gradient_norm=norm, bad_step=-1) | more
  return {k: jnp.asarray(v) for k, v in values.items()}


def metered(path, norms, start=0, notes=None, every=4):
  settings = types.SimpleNamespace(batch_size=2)
  with metrics.Meter(path, start, 100, settings, notes=notes) as meter:
    for step, norm in enumerate(norms, start + 1):
      meter.advance(step, measured(norm))
      if step % every == 0:
        meter.log(step, measured(norm))
    return meter.flush()[0]


def test_a_spike_between_two_logged_steps_is_a_metric_and_a_warning(tmp_path, capsys):
  norms = [1.0 + i % 3 for i in range(60)]
  norms[49] = 500.0
  metered(tmp_path, norms)
  peaks = {line["step"]: line["gradient_norm_max"] for line in runs.lines(tmp_path)}
  assert peaks[52] == 500.0 and peaks[48] == peaks[56] == 3.0
  told = capsys.readouterr().err
  assert "gradient norm 500 in the steps up to 52, 250 times what is usual" in told
  assert told.count("warning") == 1


def test_an_interval_cut_by_a_stop_has_the_peak_of_all_of_it(tmp_path):
  norms = [1.0, 2.0, 9.0, 1.0, 1.0, 7.0, 1.0, 2.0]
  (tmp_path / "whole").mkdir(), (tmp_path / "cut").mkdir()
  metered(tmp_path / "whole", norms)
  notes = json.loads(json.dumps(metered(tmp_path / "cut", norms[:6])))
  metered(tmp_path / "cut", norms[6:], start=6, notes=notes)
  assert runs.lines(tmp_path / "cut") == runs.lines(tmp_path / "whole")
  assert runs.lines(tmp_path / "cut")[1]["gradient_norm_max"] == 7.0
