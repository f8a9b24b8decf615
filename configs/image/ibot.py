"""iBOT: Image BERT Pre-Training with Online Tokenizer (Zhou et al., ICLR 2022, arXiv 2111.07832).

Reference: github.com/bytedance/ibot (Apache-2.0; not copied).
Numbers:   README of the reference; rates are for 256 images, the last one absolute.
Published: ImageNet-1k, teacher: nearest neighbours 75.2 / 77.1 / 78.0 %, linear probe 77.9 / 79.5 /
           81.0 %, fine-tuning 82.3 / 84.0 / 84.8 % (S 800 epochs, B 400, L 250).
Differs:   of B and L the recipe is what others report of it. Below 64 pixels views are milder and
           two are small, ours.

targets=sinkhorn balances the teacher's codes by Sinkhorn instead of centring them (DINOv2).
As in the reference, a view is masked with chance 1/2 and one that is not counts as a patch loss of
0; the teacher's temperature rises from epoch to epoch, positions of small views are resized as if
their grid were a tenth of a patch longer, and mask tokens start at 0.
"""

from mim_jax import heads, layers, losses, masks, optim, pictures, schedules, teachers
from mim_jax.config import part
from mim_jax.configs import recipe
from mim_jax.data import image
from mim_jax.methods import ibot

# Rising and frozen are epochs: of the teacher's temperature, and of the head's last layer. Area is
# the share of the image from which on a view is large.
SMALL = dict(epochs=800, rate=5e-4, end=1e-6, clip=3.0, rising=30, frozen=1, gains=True, area=0.25)
LARGE = SMALL | dict(epochs=400, rate=7.5e-4, end=2e-6, clip=0.3, rising=50, frozen=3)
LARGE |= dict(gains=False, area=0.32)
RECIPES = dict(B=LARGE, L=LARGE | dict(epochs=250), H=LARGE | dict(epochs=250))
TARGETS = dict(centred=ibot.CenteredTargets, sinkhorn=ibot.SinkhornTargets)
# Few blocks have none to drop. Few codes and steps: at the published temperature all of a short run
# passes before the teacher's class tokens tell images apart.
LAPTOP = {
  "objective.temperature": dict(start=0.02, end=0.02, end_at=1.0),
  "teachers.ema.momentum.peak": 0.98,
  "parts.encoder.stack.drop_path": 0.0,
  "parts.[eh]*.kernel_init": "xavier",  # of encoder and head
  "parts.head.count": dict(nano=32, tiny=256),
  "parts.head.hidden": dict(nano=32, tiny=192),
  "parts.head.bottleneck": dict(nano=16, tiny=64),
  "optimizer.weight_decay": dict(peak=0.0, end=0.0),
  "optimizer.learning_rate.peak": recipe.per_batch(4e-3),
}
MILD = dict(blur=(0.0, 0.0, 0.0), solarize=(0.0, 0.0, 0.0))
# Their order and brightness make the digit.
EMBEDDED = {"data.augment": dict(scale=(0.8, 1.0), local_scale=(0.4, 0.8), flip=False)}


def get_config(arg: str = ""):
  """iBOT; targets=centred or sinkhorn."""
  epochs = lambda a: RECIPES.get(a.size, SMALL)["epochs"]
  c, a = recipe.start(arg, epochs=epochs, batch_size=1024, targets="centred")
  own = RECIPES.get(a.size, SMALL)
  c.data.augment, c.data.view = views(c, a, own["area"])
  stairs = recipe.follow(lambda e: max(1, int(e or a.epochs)), c.train.get_ref("epochs"))
  until = recipe.share(c, a, own["rising"] - 1)
  rising = part(schedules.linear, start=0.04, end=0.07, end_at=until, step_per_epoch=stairs)
  mask, loss = part(masks.block_wise_by_chance), part(losses.soft_cross_entropy, temperature=0.1)
  settings = dict(mask=mask, loss=loss, temperature=rising, patch_temperature=rising)
  c.objective = part(ibot.distill_views, **settings)
  c.pictures = part(pictures.codes, entry="image")
  positions = part(layers.Learned, grid=recipe.grid(c), grid_offset=0.1)
  settings = dict(positions=positions, masking=part(layers.Replace, init="zeros"), drop_path=0.1)
  c.parts = recipe.vit(c, a, dict(kernel_init="torch"), **settings, kernel_init="normal")
  head = dict(count=8192, gains=own["gains"], kernel_init="normal", dtype=c.train.get_ref("dtype"))
  c.parts.head = part(heads.ProjectionHead, **head)
  balanced = recipe.chosen(a, "targets", TARGETS)
  c.parts.class_targets, c.parts.patch_targets = part(balanced), part(balanced)
  c.teachers.ema = part(teachers.Ema, momentum=part(schedules.cosine, peak=0.996, end=1.0))
  recipe.pool(c, "class")
  rate = recipe.cosine(c, a, own["rate"], warmup=10, end=own["end"])
  decay, rules = part(schedules.cosine, peak=0.04, end=0.4), ((r"(bias|scale)$", 0.0), (".*", 1.0))
  late = lambda epochs: (("^head/(codes|gain)$", own["frozen"] / (epochs or a.epochs)),)
  settings = dict(clip=own["clip"], weight_decay=decay, weight_decay_rules=rules)
  settings["start_rules"] = recipe.follow(late, c.train.get_ref("epochs"))
  c.optimizer = recipe.adamw(c, a, rate, kind=optim.late_adamw, **settings)
  return recipe.finish(c, a, laptop=LAPTOP, embedded=EMBEDDED)


def views(c, a, area: float) -> tuple:
  """Views for training and for evaluation; a small one is 3/7 as large, in whole patches."""
  size, norm = c.data.view.get_ref("size"), {k: c.data.view.get_ref(k) for k in ("mean", "std")}
  side = lambda size, p: (p * max(1, round(size[0] // p * 3 / 7)),) * 2
  both = dict(size=size, local_size=recipe.follow(side, size, c.get_ref("patch")), **norm)
  settings = dict(scale=(area, 1.0), local_scale=(0.05, area))
  if a.image < 64:  # of so few pixels little is left when they are blurred, or a twentieth is seen
    settings = dict(scale=(0.4, 1.0), local_scale=(0.2, 0.5), local_count=2) | MILD
  test = part(image.center_views, **both, resize=c.data.view.resize)
  return part(image.multi_crop, **both, **settings), test
