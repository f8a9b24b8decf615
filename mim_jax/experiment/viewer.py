"""What is seen of a config: encoders of a state, and pictures of what its objective makes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from mim_jax.evaluate import network
from mim_jax.experiment.spec import Spec
from mim_jax.experiment.trainable import Trainable
from mim_jax.pictures import painters
from mim_jax.train import state as state_lib


class Viewer:
  """Encoders and pictures.

  Attributes:
    spec: what it was built from.
    painter: painter(batch, outcome) -> Pictures; None where the method has none.
  """

  def __init__(self, spec: Spec, trainable: Trainable):
    """Takes what the attributes say; `trainable` draws untrained encoders."""
    self.spec, self._trainable = spec, trainable
    self.painter = painters.of(spec.config, spec.objective)

  def encode(self, params, inputs, layer: int | None = None, pool: str | None = None, stats=None):
    """Encodes what a user has, e.g. uint8 or 0..1 float images [b h w c], unmasked, to latents.

    `pool`: None [b n d], "mean" over patches [b d], "class" token [b d], "both" [b 2d].
    `layer`: 1 = after the first block, -1 or None = the last.
    """
    view = self.spec.view(self.spec.modality.raw(inputs))
    return self.program.pooled({"params": params, **(stats or {})}, view, layer, pool)

  @functools.cached_property
  def program(self) -> network.EncoderProgram:
    """What encodes whole signals, without weights."""
    return network.EncoderProgram(self.spec.config, self.spec.mesh)

  def encoder(self, params, stats: dict) -> network.Encoder:
    """Makes encode(batch, layer=None, pool="mean", ...) -> numpy features; compiled once."""
    return network.Encoder(self.program, {"params": params, **stats})

  def untrained(self, seed: int) -> network.Encoder:
    """Makes the encoder as it was before training, drawn with a seed that no run uses."""
    state = self._trainable.init(jax.random.key(10_000 + seed))
    return self.encoder(state.params, state.stats)

  def plain(self):
    """Makes the baseline that learns nothing: encode(batch) -> the viewed signal as [b e]."""
    return self.program.plain

  def paint(self, panels: dict) -> dict:
    """Turns the panels of pictures into images in [0, 1]."""
    return self.spec.modality.paint(panels, self.spec.config.data.view)

  def apply(self, state: state_lib.TrainState, function):
    """Compiles function(parts, encode, batch) with this state, for raw batches, on the host."""
    spec = self.spec

    def run(params, stats, batch):
      return spec.parts.apply(
        {"params": params, **stats},
        method=lambda parts: function(parts, self.program.encode, spec.view(batch)),
      )

    compiled = jax.jit(run)
    return lambda batch: jax.device_get(compiled(state.params, state.stats, batch))

  def pictures(self, state: state_lib.TrainState, batch: dict, step=0):
    """Draws what the objective makes of a raw batch, as at the end of training.

    None without a painter.
    """
    spec, painter = self.spec, self.painter
    if painter is None:
      return None

    def run(state, batch, step):
      viewed, teachers = spec.view(batch), spec.bind_teachers(state.teacher, state.stats)
      last = dataclasses.replace(spec.step(step), progress=jnp.ones([], jnp.float32))
      outcome = spec.parts.apply(
        {"params": state.params, **state.stats},
        method=lambda parts: spec.objective(parts, viewed, last, teachers),
      )
      return painter(viewed, outcome)

    return jax.jit(run)(state, batch, step)
