"""MAE of size nano on the digits, as the tests of faults run it: a second or two, no evaluations."""

from mim_jax import config


def get_config(arg: str = ""):
  """`arg` is not used."""
  c = config.get_config("mae", "dataset=digits,size=nano")
  c.train.update(dict(steps=12, batch_size=16, log_every=1, checkpoint_every=3))
  c.evaluations = dict(seeds=1, baselines=())
  c.pictures = None
  return c
