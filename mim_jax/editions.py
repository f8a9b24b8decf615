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
  if "data" in config:
    config.setdefault("modality", {KEY: f"mim_jax.modalities.{_modality(config)}"})
  if str((config.get("pictures") or {}).get(KEY)).startswith("mim_jax.evaluate."):
    config["pictures"] = _pictures(config)
  if old:  # what is masked was called "image" in training and "crop" in pictures
    config["objective"]["entry"] = config["objective"]["target"]["entry"] = "crop"
  return config


def _modality(config: dict) -> str:
  """The kind of signals of a config that does not say so, by its data."""
  test = config.get("data", {}).get("test", {})
  source = str(test.get(KEY, "")) if isinstance(test, dict) else ""
  kinds = {"mim_jax.data.video": "Video", "mim_jax.data.pool": "Pool"}
  return kinds.get(source.rpartition(".")[0], "Image")


def _pictures(config: dict) -> dict | None:
  """The painter in place of one of the first edition; None where the target names one by now."""
  old = config["pictures"]
  if old[KEY] == "mim_jax.evaluate.signals.pictures":
    return {KEY: "mim_jax.pictures.modalities", "entries": old["signals"]}
  if old[KEY] != "mim_jax.evaluate.maps.features":
    return None
  scales = config["objective"][KEY] == "mim_jax.methods.localmim.predict_multiscale"
  return {KEY: f"mim_jax.pictures.{'latents' if scales else 'codes'}", "entry": old["signal"]}


def renamed(**names: str) -> Callable[[dict], dict]:
  """Makes a reader of settings that gives some of them new names: old="new"."""
  return lambda settings: {names.get(k, k): v for k, v in settings.items()}


_ENTRY = renamed(signal="entry")
_OBJECTIVE = renamed(signal="entry", guide="scores")

# Rules of decay as they were by default, and the one between that there is for learned positions:
# those could not be trained without a rule for them.
_DECAY = [["(bias|scale)$", 0.0], ["(kernel|token)$", 1.0]]
_PLACED = ["(class_positions|positions_table|relative_tables?)$", 0.0]


def _optimizer(settings: dict) -> dict:
  """An optimizer's settings, the rules of its decay as they are by default now."""
  settings = renamed(decay="weight_decay_rules", rate="lr_rules", late="start_rules")(settings)
  rules = [list(rule) for rule in settings.get("weight_decay_rules", ())]
  if rules[-2:] == _DECAY:
    settings["weight_decay_rules"] = [*rules[:-1], _PLACED, rules[-1]]
  return settings


def _tasks(settings: dict) -> dict:
  """MultiMAE's objective, whose tasks name their signal."""
  tasks = {name: _ENTRY(task) for name, task in settings.get("tasks", {}).items()}
  return renamed(signals="modalities")(settings) | {"tasks": tasks}


# Words of how kernels start.
_STARTS = {"cut": "trunc_normal", "each": "xavier_per_projection", "scaled": "normal_depth_scaled"}


def _started(settings: dict) -> dict:
  """Settings whose `kernels` are called kernel_init now, the words with it."""
  words = {k: _STARTS.get(v, v) for k, v in settings.items() if k == "kernels"}
  return renamed(kernels="kernel_init")(settings | words)


_OF_STACKS = [
  "depth",
  "heads",
  "mlp_ratio",
  "qkv_bias",
  "key_bias",
  "layer_scale",
  "drop_path",
  "activation",
  "epsilon",
  "kernel_init",
  "attention",
  "scan",
  "unroll",
  "remat",
  "dtype",
  "layout",
  "freq_range",
]


def _stacked(stack: str, **fixed) -> Callable[[dict], dict]:
  """Makes a reader that gathers the settings of a stack in one; `fixed` were no settings then."""

  def read(settings: dict) -> dict:
    settings = _started(settings)
    settings = renamed(pairing="layout", cycles="freq_range")(settings)
    inner = {name: settings.pop(name) for name in _OF_STACKS if name in settings}
    return settings | {"stack": {KEY: f"mim_jax.layers.{stack}"} | inner | fixed}

  return read


def _vit(settings: dict) -> dict:
  """The ViT, whose positions, hiding and stack were words and numbers of its own."""
  settings = _stacked("Stack")(settings)
  old = ("positions", "table", "antialias", "stretch", "relative", "hidden", "blank")
  placed, grid, antialias, offset, relative, hidden, blank = (settings.pop(k, None) for k in old)
  resizing = dict(grid=grid, antialias=bool(antialias), grid_offset=offset or 0.0)
  kinds = {"learned": ("Learned", resizing), "none": ("NoPositions", {})}
  kind, more = kinds.get(placed, ("SinCos", {}))
  settings["positions"] = {KEY: f"mim_jax.layers.{kind}"} | more
  if relative:
    settings["relative"] = {KEY: "mim_jax.layers.RelativeTable", "each": relative == "each"}
  init = {"init": "zeros" if blank else None}
  replace = {KEY: "mim_jax.layers.Replace"} | init
  settings["masking"] = replace if hidden == "token" else {KEY: "mim_jax.layers.Drop"}
  # The plain norm was that of MaskAlign's student alone, whose objective took what is not normed.
  record = {"record": ["unnormed"]} if settings.get("norm") == "plain" else {}
  return settings | record


def _decoder(settings: dict) -> dict:
  """MAE's decoder, whose linear layer was called plain without a bias."""
  settings = _stacked("Stack")(settings)
  return settings | {"bias": not settings.pop("plain", False)}


# Old name of the part -> reader of its settings, for those that changed.
SETTINGS: dict[str, Callable[[dict], dict]] = {
  "mim_jax.encoders.rotary.RotaryViT": _stacked("RopeStack"),
  "mim_jax.encoders.vit.ViT": _vit,
  "mim_jax.layers.quantizer.Quantizer": _started,
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
  "mim_jax.predictors.decoder.Decoder": _stacked("Stack"),
  "mim_jax.predictors.distillation.ProjectionHead": _started,
  "mim_jax.predictors.linear.Linear": _started,
  "mim_jax.predictors.ranked.Ranked": _stacked("Stack"),
  "mim_jax.predictors.rotary.RotaryCross": _stacked("RopeStack"),
  "mim_jax.predictors.scales.MultiScale": _stacked("Stack"),
  "mim_jax.predictors.signals.SignalTransformer": _stacked(
    "Stack", kernel_init="xavier_per_projection"
  ),
  "mim_jax.predictors.transformer.Transformer": _decoder,
  "mim_jax.targets.attention.attended_layers": _ENTRY,
  "mim_jax.targets.classes.class_ids": _ENTRY,
  "mim_jax.targets.cube.cubes": _ENTRY,
  "mim_jax.targets.discrete.codes": _ENTRY,
  "mim_jax.targets.gradients.hog": _ENTRY,
  "mim_jax.targets.latent.latents": _ENTRY,
  "mim_jax.targets.pixel.pixels": _ENTRY,
  "mim_jax.train.late.late_adamw": _optimizer,
  "mim_jax.train.optimizer.adamw": _optimizer,
  "mim_jax.train.optimizer.lamb": _optimizer,
  "mim_jax.train.schedules.cosine": renamed(share="truncate"),
  "mim_jax.train.schedules.linear": renamed(until="end_at", stairs="step_per_epoch"),
  "mim_jax.tokenizers.image.ImagePatches": _started,
}
