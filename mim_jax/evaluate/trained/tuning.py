"""Recipes of training on labels: fine-tuning, MAE's linear probe, the attentive probe.

Letters: b batch, k classes.
"""

import functools

import jax

from mim_jax.data.image import mixup
from mim_jax.evaluate import features, network, numbers
from mim_jax.evaluate.trained import probes, recipes, supervised
from mim_jax.weights import parts


def finetune(
  encode,
  data,
  seed,
  *,
  epochs: float = 100.0,
  batch_size: int = 1024,
  rate: float = 5e-4,
  warmup: float = 5.0,
  layer_decay: float = 0.65,
  weight_decay: float = 0.05,
  b2: float = 0.999,
  drop_path: float = 0.1,
  mixup: float = 0.8,
  cutmix: float = 1.0,
  changes: int = 2,
  magnitude: float = 9.0,
  erase: float = 0.25,
  smoothing: float = 0.1,
  scale: tuple[float, float] = (0.08, 1.0),
  flip: bool = True,
  ema: float = 0.0,
  blocks: int | None = None,
  pool: str = "mean",
  per_class: int | None = None,
  share: float = 1.0,
) -> dict[str, numbers.Number]:
  """Fine-tunes all of the encoder, or its last blocks, and measures top-1 accuracy in [0, 1].

  epochs, batch_size: of the labelled training images.
  rate: learning rate for 256 images, times batch / 256.
  warmup: in epochs.
  layer_decay: of the learning rate, a factor for each layer from the last on.
  weight_decay, b2: of AdamW.
  drop_path: of the encoder.
  mixup, cutmix, smoothing: see data/image/mixup.py.
  changes, magnitude: of RandAugment.
  erase: probability of random erasing.
  scale, flip: of random resized crops.
  ema: momentum of the averaged weights, 0 for none.
  blocks: the last n that are trained (0: none), None for all.
  pool: see network.Encoder.
  per_class, share: of the labels, see linear.few.

  MAE's recipe for ViT-B (FINETUNE.md of its reference, arXiv 2111.06377, table 9); for L rate 1e-3,
  layer_decay 0.75, drop_path 0.2, 50 epochs. Patches are averaged without the encoder's last norm,
  and a new norm follows, where the encoder is a ViT. NoNetwork where there is none.
  """
  settings = dict(locals())
  for name in ("encode", "data", "seed", "per_class", "share"):
    del settings[name]
  net = network.unwrap(encode)
  features.check_classes(data)
  net, recipe = tuned(net, data, **settings)
  return supervised.accuracy(net, data, seed, recipe, per_class=per_class, share=share)


def from_scratch(
  net,
  data,
  seed,
  *,
  epochs: float = 300.0,
  batch_size: int = 4096,
  rate: float = 1e-4,
  warmup: float = 20.0,
  weight_decay: float = 0.3,
  b2: float = 0.95,
  drop_path: float = 0.1,
  ema: float = 0.9999,
  changes: int = 2,
  mixup: float = 0.8,
  cutmix: float = 1.0,
  scale: tuple[float, float] = (0.08, 1.0),
  flip: bool = True,
) -> network.Encoder:
  """Trains the encoder on labels from random weights: a baseline for all other evaluations.

  Settings as in `finetune`. MAE's recipe for ViT from scratch (arXiv 2111.06377, table 11).
  """
  settings = dict(locals())
  for name in ("net", "data", "seed"):
    del settings[name]
  features.check_classes(data)
  view = net.program.view(supervised.two(data.train, seed))
  fresh = net.with_variables(net.program.init(jax.random.key(20_000 + seed), view))
  tuning = dict(layer_decay=1.0, magnitude=9.0, erase=0.0, smoothing=0.1, blocks=None, pool="mean")
  ready, recipe = tuned(fresh, data, **settings, **tuning, norm="affine")
  return net.with_variables(supervised.fit(ready, data, seed, recipe).net.variables)


def tuned(net: network.Encoder, data, *, rate, warmup, layer_decay, norm="none", **s):
  """Makes (the Encoder to train, the Recipe) of `finetune`'s settings."""
  encoder = net.program.config.parts.encoder
  vit = encoder.part.endswith(".ViT") and s["pool"] == "mean"
  changed = dict(drop_path=s["drop_path"]) | (dict(norm=norm) if vit else {})

  def optimizer(params, steps, per_epoch, batch):
    factors = recipes.rates(params, layer_decay, s["blocks"])
    learns = {k: v for k, v in factors.items() if v.any()}
    speed = recipes.schedule(rate * batch / 256, steps, warmup * per_epoch)
    return recipes.adamw(speed, learns, decay=s["weight_decay"], b2=s["b2"]), factors

  recipe = supervised.Recipe(
    head=probes.Linear(len(data.train.classes), norm="layer", std=2e-5),
    optimizer=optimizer,
    augment=augmentation(net, data, **s),
    epochs=s["epochs"],
    batch_size=s["batch_size"],
    key=("tuned", rate, warmup, layer_decay, norm, *sorted(s.items())),
    pool=s["pool"],
    ema=s["ema"],
  )
  if parts.settings(encoder).positions == "sincos" and norm == "none":
    net = net.with_learned_positions()  # the reference trains them from the sine-cosine code on
  return net.with_settings(**changed), recipe


def augmentation(net, data, **settings):
  """Makes mixup.crop_and_augment at the encoder's resolution and normalisation."""
  names = "scale flip changes magnitude erase mixup cutmix smoothing"
  chosen = {name: settings[name] for name in names.split() if name in settings}
  view = net.program.config.data.view
  same: dict = dict(size=tuple(view.size), mean=tuple(view.mean), std=tuple(view.std))
  return functools.partial(
    mixup.crop_and_augment, classes=len(data.train.classes), **same, **chosen
  )


PLAIN = dict(changes=0, erase=0.0, mixup=0.0, cutmix=0.0, smoothing=0.0)


def linear_lars(
  encode,
  data,
  seed,
  *,
  epochs: float = 90.0,
  batch_size: int = 16384,
  rate: float = 0.1,
  warmup: float = 10.0,
  momentum: float = 0.9,
  weight_decay: float = 0.0,
  scale: tuple[float, float] = (0.08, 1.0),
  flip: bool = True,
  pool: str = "class",
  layer: int | None = None,
  last: int = 1,
  size: int = 0,
  per_class: int | None = None,
  share: float = 1.0,
) -> dict[str, numbers.Number]:
  """Trains MAE's linear probe, LARS on batch-normed features, and measures accuracy in [0, 1].

  epochs, batch_size: of the labelled training images; all of them where there are fewer.
  rate: learning rate for 256 images, times batch / 256.
  warmup: in epochs.
  momentum, weight_decay: of LARS.
  scale, flip: of random resized crops.
  pool, layer, last, size: of the features, see network.Encoder.
  per_class, share: of the labels, see linear.few.

  Top-1 accuracy. arXiv 2111.06377, appendix A.1, and main_linprobe.py of the reference: class
  token, random resized crop and flip, batch norm without scale and bias, then a linear layer.
  NoNetwork where there is none.
  """
  net = network.unwrap(encode).at_resolution(size)
  features.check_classes(data)
  recipe = lars_recipe(
    net,
    data,
    epochs=epochs,
    batch_size=batch_size,
    rate=rate,
    warmup=warmup,
    momentum=momentum,
    weight_decay=weight_decay,
    scale=scale,
    flip=flip,
    pool=pool,
    layer=layer,
    last=last,
  )
  return supervised.accuracy(net, data, seed, recipe, per_class=per_class, share=share)


def lars_recipe(
  net, data, *, epochs, batch_size, rate, warmup, pool, momentum=0.9, weight_decay=0.0, **s
) -> supervised.Recipe:
  """Makes the Recipe of `linear_lars`'s settings."""

  def optimizer(params, steps, per_epoch, batch):
    speed = recipes.schedule(rate * batch / 256, steps, warmup * per_epoch, end=0.0)
    rates = {name: float(name.startswith("head/")) for name in params}
    return recipes.lars(speed, momentum=momentum, decay=weight_decay), rates

  return supervised.Recipe(
    head=probes.Linear(len(data.train.classes), norm="batch", std=0.01),
    optimizer=optimizer,
    augment=augmentation(net, data, **{k: s[k] for k in ("scale", "flip") if k in s}, **PLAIN),
    epochs=epochs,
    batch_size=batch_size,
    key=("linear_lars", epochs, rate, warmup, momentum, weight_decay, pool, *sorted(s.items())),
    pool=pool,
    layer=s.get("layer"),
    last=s.get("last", 1),
  )


def attentive(
  encode,
  data,
  seed,
  *,
  epochs: float = 30.0,
  batch_size: int = 1024,
  rate: float = 5e-4,
  warmup: float = 3.0,
  weight_decay: float = 0.05,
  attention_heads: int = 0,
  scale: tuple[float, float] = (0.08, 1.0),
  flip: bool = True,
  layer: int | None = None,
  size: int = 0,
  per_class: int | None = None,
  share: float = 1.0,
) -> dict[str, numbers.Number]:
  """Trains an attentive probe on the frozen encoder and measures top-1 accuracy in [0, 1].

  epochs, batch_size: of the labelled training images.
  rate: learning rate of AdamW for 256 images, times batch / 256.
  warmup: in epochs.
  weight_decay: of AdamW.
  attention_heads: of the learned query; 0 takes one for 64 numbers of width.
  scale, flip: of random resized crops.
  layer, size: of the features, see network.Encoder.
  per_class, share: of the labels, see linear.few.

  NoNetwork where there is none.
  """
  key = (epochs, rate, warmup, weight_decay, attention_heads, scale, flip, layer)
  net = network.unwrap(encode).at_resolution(size)
  features.check_classes(data)

  def optimizer(params, steps, per_epoch, batch):
    rates = {name: float(name.startswith("head/")) for name in params}
    learns = {name: rate for name, rate in rates.items() if rate}
    speed = recipes.schedule(rate * batch / 256, steps, warmup * per_epoch)
    return recipes.adamw(speed, learns, decay=weight_decay), rates

  recipe = supervised.Recipe(
    head=probes.Attentive(len(data.train.classes), attention_heads),
    optimizer=optimizer,
    augment=augmentation(net, data, scale=scale, flip=flip, **PLAIN),
    epochs=epochs,
    batch_size=batch_size,
    key=("attentive", *key),
    pool="tokens",
    layer=layer,
  )
  return supervised.accuracy(net, data, seed, recipe, per_class=per_class, share=share)
