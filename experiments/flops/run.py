"""Counts the FLOPs of one training sample of every method at size B, by tracing its update.

Run: python experiments/flops/run.py [--methods=mae,simmim]
Nothing is compiled or trained: the update is lowered for the embedded data enlarged to 224 pixels,
with masks and frames as published, and XLA counts. Writes one file a method beside this one.
"""

import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import jax
import numpy as np

from experiments import records
from mim_jax import catalog
from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.devices import program

HERE = pathlib.Path(__file__).parent
BATCH = 16  # the optimizer's work is shared by this many samples


def published(name: str):
  """The config at size B on embedded data, images at 224 pixels, mask and frames as published."""
  config, paper = (
    config_lib.get_config(name, catalog.task_of_all(name)),
    config_lib.get_config(name, "size=B"),
  )
  if "mask" in config.objective:
    config.objective.mask = paper.objective.mask
  if "sample" in config.data.train:
    config.data.train.sample = paper.data.train.sample
  return config


def counted(config) -> float:
  """Counts FLOPs a sample of the lowered, not compiled, update."""
  config.train.update(dict(batch_size=BATCH, steps=10, epochs=None))
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  rows = experiment.spec.data.train[np.arange(BATCH)]
  lowered = program.lower_update(experiment.trainable, experiment.trainable.abstract_state(), rows)
  return program.flops(lowered) / BATCH


def main(argv: list[str] | None = None) -> None:
  """Writes the files of the methods asked for."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--methods", default=",".join(config_lib.names()))
  for name in parser.parse_args(argv).methods.split(","):
    flops = counted(published(name))
    record = dict(method=name, arg=catalog.task_of_all(name), flops=round(flops), **records.stamp())
    (HERE / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"{name:<12} {flops / 1e9:8.1f} GFLOP", flush=True)


if __name__ == "__main__":
  main()
