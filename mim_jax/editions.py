"""What older files say, read as today's: names by rooms.MOVED, settings by the table here.

A node of the first edition names the file of its part, `mim_jax.masks.uniform.random`; none of
today's does. So its name alone tells how its settings are to be read, and reading is done once.
"""

from collections.abc import Callable

from mim_jax import rooms

KEY = "part"


def current(value):
  """Reads nested dicts and lists that an older file holds as today's; others are unchanged."""
  if isinstance(value, list):
    return [current(v) for v in value]
  if not isinstance(value, dict):
    return value
  value = {k: current(v) for k, v in value.items()}
  old = value.get(KEY)
  if not isinstance(old, str):
    return value
  new = rooms.current(old)
  if new != old:
    value = SETTINGS.get(old, dict)({k: v for k, v in value.items() if k != KEY})
  return value | {KEY: new}


def read(config: dict) -> dict:
  """Reads a whole config that an older file holds as today's."""
  augment = config.get("data", {}).get("augment", {})
  old = isinstance(augment, dict) and augment.get(KEY) == "mim_jax.data.crops.global_and_local"
  config = current(config)
  if "train" in config:
    config["train"].setdefault("fit_batch", False)
  if old:  # what is masked was called "image" in training and "crop" in pictures
    config["objective"]["entry"] = config["objective"]["target"]["entry"] = "crop"
  return config


def renamed(**names: str) -> Callable[[dict], dict]:
  """Makes a reader of settings that gives some of them new names: old="new"."""
  return lambda settings: {names.get(k, k): v for k, v in settings.items()}


_ENTRY = renamed(signal="entry")
_OBJECTIVE = renamed(signal="entry", guide="scores")
_OPTIMIZER = renamed(decay="weight_decay_rules", rate="lr_rules")


def _tasks(settings: dict) -> dict:
  """MultiMAE's objective, whose tasks name their signal."""
  tasks = {name: _ENTRY(task) for name, task in settings.get("tasks", {}).items()}
  return renamed(signals="modalities")(settings) | {"tasks": tasks}


# Old name of the part -> reader of its settings, for those that changed.
SETTINGS: dict[str, Callable[[dict], dict]] = {
  "mim_jax.objectives.alignment.align_visible": _OBJECTIVE,
  "mim_jax.objectives.clustering.predict_clusters": _OBJECTIVE,
  "mim_jax.objectives.codebook.learn_codes": _OBJECTIVE,
  "mim_jax.objectives.context.predict_from_context": _OBJECTIVE,
  "mim_jax.objectives.encoding.encode": _ENTRY,
  "mim_jax.objectives.layers.predict_scales": _OBJECTIVE,
  "mim_jax.objectives.mining.hard_patches": _OBJECTIVE,
  "mim_jax.objectives.prediction.predict_masked": _OBJECTIVE,
  "mim_jax.objectives.signals.encode_signals": renamed(signals="modalities"),
  "mim_jax.objectives.signals.predict_signals": _tasks,
  "mim_jax.targets.attention.attended_layers": _ENTRY,
  "mim_jax.targets.classes.class_ids": _ENTRY,
  "mim_jax.targets.cube.cubes": _ENTRY,
  "mim_jax.targets.discrete.codes": _ENTRY,
  "mim_jax.targets.gradients.hog": _ENTRY,
  "mim_jax.targets.latent.latents": _ENTRY,
  "mim_jax.targets.pixel.pixels": _ENTRY,
  "mim_jax.train.late.late_adamw": renamed(decay="weight_decay_rules", late="start_rules"),
  "mim_jax.train.optimizer.adamw": _OPTIMIZER,
  "mim_jax.train.optimizer.lamb": _OPTIMIZER,
  "mim_jax.train.schedules.cosine": renamed(share="truncate"),
  "mim_jax.train.schedules.linear": renamed(until="end_at", stairs="step_per_epoch"),
}
