"""The names that a config may say: what each room offers, and what older files call by other names.

A node names a thing by its room, `mim_jax.predictors.Transformer`, never by the file it lies in, so
that files may move. What one method alone uses is named by the method's file. A thing that changes
its name, or moves to another room, gets a line in MOVED.
"""

import importlib
import inspect
import sys

# Whose public names are parts: what their __init__ names. Of the rest a config may say nothing.
ROOMS = (
  "corruptions",
  "data",
  "encoders",
  "evaluate",
  "heads",
  "layers",
  "losses",
  "masks",
  "methods",
  "modalities",
  "objectives",
  "ops",
  "optim",
  "pictures",
  "predictors",
  "schedules",
  "targets",
  "teachers",
  "tokenizers",
)
SINGLE = ("mim_jax.weights.from_run",)  # the one part of a room whose other names are none


def public_name(thing) -> str:
  """Names `thing` by room and name, or by its file where no room offers it.

  The room is the shortest package on the way to its file whose attribute of that name it is.
  """
  module, name = thing.__module__, thing.__qualname__
  root, *path = module.split(".")
  if root == "mim_jax":
    for end in range(1, len(path)):
      package = ".".join([root, *path[:end]])
      if getattr(sys.modules.get(package), name, None) is thing:
        return f"{package}.{name}"
  return f"{module}.{name}"


def is_part(thing) -> bool:
  """Whether a config may name `thing` of mim_jax: a function or class that a room offers."""
  if not (inspect.isfunction(thing) or inspect.isclass(thing)):
    return False
  dotted = public_name(thing)
  root, room, *rest = dotted.split(".")
  if root != "mim_jax" or rest[-1:] == [] or rest[-1].startswith("_"):
    return False
  owner = sys.modules[dotted.rpartition(".")[0]]
  offers = hasattr(owner, "__path__") or room in ("methods", "schedules")
  return dotted in SINGLE or (room in ROOMS and offers)


def current(dotted: str) -> str:
  """The name of today for what an older file calls `dotted`."""
  if dotted in MOVED:
    return MOVED[dotted]
  root, _, rest = dotted.partition(".")
  room, _, inside = rest.partition(".")
  if root != "mim_jax" or room not in ROOMS or "." not in inside:
    return dotted
  # The first edition named the file as well: mim_jax.masks.uniform.random.
  shorter = f"mim_jax.{room}.{inside.rpartition('.')[2]}"
  package = importlib.import_module(f"mim_jax.{room}")
  thing = getattr(package, shorter.rpartition(".")[2], None)
  named = inspect.isfunction(thing) or inspect.isclass(thing)  # and no module of that name
  return shorter if named and public_name(thing) == shorter else dotted


def _moved(old: str, new: str, names: str) -> dict[str, str]:
  """{old.a: new.b} of the `names` "a=b c", where c stays c."""
  pairs = [name.partition("=")[::2] for name in names.split()]
  return {f"mim_jax.{old}.{a}": f"mim_jax.{new}.{b or a}" for a, b in pairs}


# Old name -> name of today. Lines stay for ever: run folders and weights files hold old names.
MOVED = {
  # 0.2.0, from the first edition.
  **_moved("data.augment", "data.image", "center_crop crop_and_flip ready=normalize_only"),
  **_moved("data.clip_views", "data.video", "center multi_scale_crop pair_center pair_crop"),
  **_moved("data.clips", "data.video", "clips"),
  **_moved("data.coloured", "data.image", "crop_flip_and_jitter"),
  **_moved("data.crops", "data.image", "center_with_crop global_and_local"),
  **_moved("data.folder", "data.image", "folder"),
  **_moved("data.frames", "data.video", "dense pair"),
  **_moved("data.moving", "data.video", "moving_arrays moving_digits"),
  **_moved("data.packed", "data.image", "packed"),
  **_moved("data.paired", "data.pool", "paired"),
  **_moved("data.pseudo", "data.pool", "arrays_with_maps digits_with_maps"),
  **_moved("data.shards", "data.image", "shards"),
  **_moved("data.signals", "data.pool", "center_crop crop_and_flip"),
  **_moved("data.sources", "data.image", "arrays digits folder packed shards tfds"),
  **_moved("data.tfds", "data.image", "tfds"),
  **_moved("data.views", "data.image", "center_views multi_crop"),
  **_moved("encoders.rotary", "encoders", "RotaryViT=RopeViT"),
  **_moved("evaluate.finetune", "evaluate.trained", "attentive finetune from_scratch linear_lars"),
  **_moved("evaluate.knn", "evaluate.frozen", "knn"),
  **_moved("evaluate.linear_probe", "evaluate.frozen", "linear_probe"),
  **_moved("evaluate.meters", "evaluate.frozen", "meters"),
  **_moved("evaluate.propagation", "evaluate.frozen", "propagation"),
  **_moved("evaluate.retrieval", "evaluate.frozen", "retrieval"),
  **_moved("evaluate.robustness", "evaluate.frozen", "outliers robustness"),
  **_moved("evaluate.segmentation", "evaluate.frozen", "segmentation"),
  **_moved("losses.ranking", "methods.hpm", "pairwise_order standardized_error"),
  **_moved("masks.chance", "masks", "blocks_by_chance=block_wise_by_chance"),
  **_moved("masks.guided", "masks", "attended=attention_sampled"),
  **_moved("masks.rectangles", "masks", "context_and_targets=multi_block"),
  **_moved("masks.sparse", "masks", "few=random_keep_few"),
  **_moved("masks.units", "masks", "coarse=random_blocks"),
  **_moved("objectives.alignment", "methods.maskalign", "align_visible=distill_visible"),
  **_moved("objectives.clustering", "methods.capi", "predict_clusters"),
  **_moved("objectives.codebook", "methods.codebook", "learn_codes"),
  **_moved("objectives.distillation", "methods.ibot", "distill_views"),
  **_moved("objectives.layers", "methods.localmim", "predict_scales=predict_multiscale"),
  **_moved("objectives.mining", "methods.hpm", "hard_patches=mine_hard_patches"),
  **_moved(
    "objectives.signals",
    "methods.multimae",
    "encode_signals=encode_modalities predict_signals=predict_modalities",
  ),
  **_moved("ops.resize", "ops", "view=teacher_view"),
  **_moved("ops.sinkhorn", "ops", "sinkhorn=sinkhorn_knopp"),
  **_moved("predictors.alignment", "methods.maskalign", "Aligner=DynamicAlignment"),
  **_moved("predictors.classifier", "heads", "Classifier"),
  **_moved("predictors.decoder", "methods.codebook", "Decoder"),
  **_moved("predictors.distillation", "heads", "ProjectionHead"),
  **_moved(
    "predictors.distillation", "methods.ibot", "Balanced=SinkhornTargets Centred=CenteredTargets"
  ),
  **_moved("predictors.prototypes", "heads", "CosinePrototypes LinearPrototypes"),
  **_moved("predictors.ranked", "methods.hpm", "Ranked=LossPredictingDecoder"),
  **_moved("predictors.rotary", "predictors", "RotaryCross=CrossAttentionDecoder"),
  **_moved("predictors.scales", "methods.localmim", "MultiScale"),
  **_moved("predictors.signals", "methods.multimae", "SignalTransformer=MultimodalDecoder"),
  **_moved("targets.attention", "methods.maskalign", "attended_layers"),
  **_moved("train.late", "optim", "late_adamw"),
  **_moved("train.optimizer", "optim", "adamw lamb"),
  **_moved("train.schedules", "schedules", "constant cosine cosine_throughout linear staircase"),
  **_moved("weights.native", "weights", "from_run"),
}
