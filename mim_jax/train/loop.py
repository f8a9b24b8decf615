"""The train loop. It knows no method: a trainable gives it update and data."""

import pathlib
import time
from typing import Any

import jax

from mim_jax import config as config_lib
from mim_jax.checkpoint import location, store
from mim_jax.devices import mesh, program
from mim_jax.errors import InputError
from mim_jax.monitor import goodput, metrics, numerics, watchdog
from mim_jax.monitor import probe as probe_lib
from mim_jax.train import signals


def train(trainable, workdir: pathlib.Path, stop_at: int | None = None, probe=None):
  """Trains to the last step, from the newest checkpoint if there is one.

  Returns (state, facts of this call). With `stop_at` it saves and returns after that step, as at a
  signal. `probe`: see probe.Probe; it is called every config.train.probe_every epochs.

  Errors: NonFiniteError names the step; SaveError the checkpoint that could not be written;
  InputError for what the user can mend.
  """
  settings = trainable.spec.config.train
  numerics.check_policy(settings.on_non_finite)
  with store.Checkpoints(
    location.checkpoint_dir(workdir, trainable.spec.config),
    settings.keep,
    keep_every=settings.keep_every,
    keep_best=settings.keep_best,
  ) as saves:
    run = Run(trainable, workdir, saves, probe)
    run.restore_or_init()
    began, start = time.monotonic(), run.step
    if run.step < trainable.spec.total_steps:
      run.compile()
      began = time.monotonic()
      with signals.graceful_stop() as stop, watchdog.watching(settings.watchdog) as heartbeat:
        while not run.train_until_stop(stop, heartbeat, stop_at):
          pass
        run.wait()
        run.facts["signal"] = stop.signal
    run.facts.update(step=run.step, start=start, train_seconds=time.monotonic() - began)
    run.facts.update(seconds=run.clock.read(), goodput=run.clock.goodput())
    run.facts.update(unreadable=run.batches.skipped)
  return run.state, run.facts


class Run:
  """Holds what changes during a run: state, data position, clock."""

  def __init__(self, trainable, workdir: pathlib.Path, saves: store.Checkpoints, probe=None):
    self.trainable, self.workdir, self.saves = trainable, workdir, saves
    self.settings = settings = trainable.spec.config.train
    samples, epochs = len(trainable.spec.data.train), settings.get("probe_every", 0.0)
    every = probe_lib.interval(epochs, samples, settings.batch_size)
    self.probe = probe_lib.Probe(probe, every, trainable.spec.total_steps)
    self.batches = trainable.spec.batches()
    self.clock, self.rewinds = goodput.Clock(), 0
    self.facts: dict[str, Any] = dict(signal=0, flops=None, compile_seconds=0.0)

  def restore_or_init(self) -> dict:
    """Restores state and data position from the newest checkpoint, or initializes them."""
    extra: dict = {}
    if self.saves.latest() is None:
      self.state = self.trainable.init(jax.random.key(self.trainable.spec.config.seed))
      self.batches.set_state({"next_batch": 0})
    else:
      self.state, extra = restored(
        self.saves, self.trainable.abstract_state(), self.settings.on_damage
      )
      check_dataset(extra, self.trainable)
      self.batches.set_state(extra["data"])
      metrics.restore(self.workdir, extra.get("metrics", ""))
    self.step = int(self.state.step)
    self.notes = extra.get("meter", {})
    if not self.rewinds:
      self.clock.add(extra.get("seconds", {}))
    return extra

  def compile(self) -> None:
    """Compiles the update, once.

    A compiled program refuses any other shape, so there can be no second.
    """
    began = time.monotonic()
    with self.clock.during("compile"):
      place, like = self.batches.get_state(), next(self.batches)
      self.batches.set_state(place)
      abstract = self.trainable.abstract_state()
      lowered = program.lower_update(self.trainable, abstract, like)
      self.program = program.compiled(self.trainable, lowered)
    self.facts.update(flops=program.flops(lowered), compile_seconds=time.monotonic() - began)

  def train_until_stop(self, stop: signals.Stop, heartbeat, stop_at: int | None) -> bool:
    """Trains until the end or a stop (True), or until a rewind was done (False)."""
    total, start = self.trainable.spec.total_steps, self.step
    first = self.batches.get_state()["next_batch"]
    try:
      with (
        program.telling_memory(self.trainable, self.program),
        metrics.Meter(self.workdir, start, total, self.settings, self.clock, self.notes) as meter,
        jax.transfer_guard("disallow"),
      ):
        self.clock.turn("steps")
        self.evaluate(meter, heartbeat)
        while not self.train_step(meter, stop, total, stop_at):
          heartbeat.step()
          self.evaluate(meter, heartbeat)
        if self.step == total:
          self.evaluate(meter, heartbeat)
    except numerics.NonFiniteError as error:
      self.non_finite(error, number=first + error.step - start)
      return False
    finally:
      self.clock.turn("save")
    return True

  def evaluate(self, meter: metrics.Meter, heartbeat) -> None:
    """Evaluates the state where that is due. After a stop the next call does so."""
    if self.probe.due(self.step, meter):
      with heartbeat.resting(), self.clock.during("evaluate"):
        meter.probe(self.step, self.probe(self.state, self.step))

  def train_step(
    self, meter: metrics.Meter, stop: signals.Stop, total: int, stop_at: int | None
  ) -> bool:
    """Does one step, with logging and saving where they are due.

    Returns whether it was the last.
    """
    # The device works on one step while the host fetches the batch of the next.
    with self.clock.during("data"):
      batch = next(self.batches)
    placed = mesh.to_devices(batch, self.trainable.spec.mesh)
    self.state, measured = self.program(self.state, placed)
    self.step += 1
    meter.advance(self.step, measured)
    logged = self.step % self.settings.log_every == 0 or self.step == total
    stopped = mesh.all_reduce_max(stop.signal) if logged or mesh.is_single_process() else 0
    last = self.step in (total, stop_at) or bool(stopped)
    stop.signal = stopped or stop.signal
    if logged:
      meter.log(self.step, dict(measured, unreadable=self.batches.skipped))
      self.saves.check()
    if self.step % self.settings.checkpoint_every == 0 or last:
      # What is saved is fetched, in ways of Orbax's own: a transfer that is asked for.
      with self.clock.during("save"), jax.transfer_guard("allow"):
        self.save(meter)
    return last

  def save(self, meter: metrics.Meter) -> None:
    """Saves a checkpoint of this step; everything known of the step is on the disk before.

    With it goes what the run folder holds by now, which may be lost with its machine.
    """
    notes, loss = meter.flush()
    numerics.check_finite(jax.device_get(self.state.bad_step))
    extra = dict(
      config=config_lib.to_json(self.trainable.spec.config),
      data=self.batches.get_state(),
      dataset=self.trainable.spec.fingerprint(),
      samples=len(self.trainable.spec.data.train),
      meter=notes,
      metrics=metrics.text(self.workdir),
      seconds=self.clock.read(),
    )
    self.saves.save(self.step, self.state, extra, loss if self.settings.keep_best else None)

  def wait(self) -> None:
    """Waits for a save under way."""
    with self.clock.during("save"):
      self.saves.wait()

  def non_finite(self, error: numerics.NonFiniteError, number: int) -> None:
    """Applies the policy: writes diagnostics and raises, or rewinds behind batch `number`."""
    if self.settings.on_non_finite == "rewind" and self.rewinds < numerics.REWINDS:
      self.rewinds += 1
      self.wait()
      before = self.restore_or_init().get("data", {"next_batch": 0})["next_batch"]
      self.batches.set_state(dict(self.batches.get_state(), next_batch=number + 1))
      metrics.tell(
        f"step {error.step + 1}: loss or gradient is not finite. Rewound to step {self.step}; "
        f"batches {before} to {number} are left out (train.on_non_finite=rewind)."
      )
      return
    again = self.trainable.spec.batches()
    again.set_state(dict(self.batches.get_state(), next_batch=number))
    file = numerics.diagnose(
      self.trainable, self.state, next(again), number, step=error.step, folder=self.workdir
    )
    raise numerics.NonFiniteError(error.step, f"{error} Norms and samples: {file}.") from error


def restored(saves: store.Checkpoints, abstract, on_damage: str):
  """Restores (state, extra) of the newest checkpoint; with "previous", of the newest intact one."""
  if on_damage not in ("stop", "previous"):
    raise InputError(f"train.on_damage: {on_damage!r} is unknown. Allowed: stop, previous.")
  while True:
    try:
      return saves.restore(abstract)
    except store.DamageError as error:
      if on_damage == "stop" or len(saves.steps()) < 2:
        raise
      place = saves.set_aside()
      metrics.tell(
        f"{error.what}. It was moved to {place.name}, and the run continues from step "
        f"{saves.latest()} (train.on_damage=previous)."
      )


def check_dataset(extra: dict, trainable) -> None:
  """Refuses to resume on other data than the checkpoint's."""
  before, now = extra["dataset"], trainable.spec.fingerprint()
  if before != now:
    count = extra.get("samples", extra.get("images"))  # as the first edition called them
    then = f"{count:,} samples, " if count else ""
    raise InputError(
      f"data: the training set has changed since the checkpoint ({then}fingerprint {before} "
      f"then; {len(trainable.spec.data.train):,} samples, fingerprint {now} now), so the order "
      "can't be continued. Restore the data, or choose another --workdir."
    )
