"""A config made real: what it says, what is trained of it, and what is seen of it."""

import dataclasses
import typing

from mim_jax.experiment.spec import Spec, fitted
from mim_jax.experiment.trainable import Trainable
from mim_jax.experiment.viewer import Viewer


@dataclasses.dataclass(frozen=True)
class Experiment:
  """The three things that a config becomes.

  Attributes:
    spec: its nodes and its data.
    trainable: init, update and loss, pure functions.
    viewer: encoders and pictures of a state.
  """

  spec: Spec
  trainable: Trainable
  viewer: Viewer


def build(config: typing.Any, devices=None) -> Experiment:
  """Builds the experiment that `config` describes; `devices` defaults to all there are.

  A batch that the data cannot fill is fitted to them first, where `train.fit_batch` says so.
  Errors: InputError for nodes that cannot be built, and for a batch that the devices cannot share.
  """
  spec = Spec(fitted(config), devices)
  trainable = Trainable(spec)
  return Experiment(spec, trainable, Viewer(spec, trainable))
