"""VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video Pre-Training
(Tong et al., NeurIPS 2022, arXiv 2203.12602).

Reference: github.com/MCG-NJU/VideoMAE (not copied: CC BY-NC).
Numbers:   section 4 and scripts/ of the reference; rates are for 256 clips.
Published: fine-tuning on Kinetics-400 79.0 / 81.5 / 85.2 / 86.6 % (S, B, L, H; 1600 epochs), on
           Something-Something V2 70.8 / 74.3 % (B, L; 2400 epochs).
Differs:   views are resampled with the bicubic kernel of all our views.

path is a folder of video files or of folders of frames: see data/video/clip_files.py. With
dataset=arrays,path=FILE.npz,image=32 a camera pans over your own small pictures.
"""

from mim_jax import losses, masks, objectives, predictors, targets, tokenizers
from mim_jax.config import part
from mim_jax.configs import recipe

DECODERS = dict(
  nano=dict(width=24, depth=1, heads=2),
  tiny=dict(width=72, depth=2, heads=4),
  S=dict(width=192, depth=4, heads=3),
  B=dict(width=384, depth=4, heads=6),
  L=dict(width=512, depth=12, heads=8),
  H=dict(width=640, depth=12, heads=8),
)
BATCHES = dict(S=1024, B=2048, L=512, H=1024)
# Narrow networks cannot tell places apart by one number for time, row and column together.
LAPTOP = {"parts.tokenizer.flat": False, "optimizer.learning_rate.end": 0.0}
# Most cubes of the embedded clips are blank: plain values teach more, as for MAE.
EMBEDDED = {"objective.target.normalize": False}


def get_config(arg: str = ""):
  """VideoMAE on clips of `frames` frames, `stride` apart, in cubes of `tubelet` of them."""
  own = dict(patch=lambda a: 16 if a.image >= 128 else max(2, a.image // 4))
  own |= dict(batch_size=lambda a: BATCHES.get(a.size, 256), epochs=1600)
  c, a = recipe.start(arg, "video", **own, frames=16, stride=4, tubelet=2)
  cubes = dict(tubelet=a.tubelet, patch=c.get_ref("patch"))
  c.objective = part(
    objectives.predict_masked,
    entry="image",
    mask=part(masks.tube, ratio=0.9),
    target=part(targets.cubes, std=c.data.augment.get_ref("std"), normalize=True, **cubes),
    loss=part(losses.squared_error),
  )
  tokenizer = dict(part=tokenizers.VideoCubes, flat=True, **cubes)
  c.parts = recipe.vit(c, a, tokenizer, class_tokens=0, key_bias=False)
  width = a.tubelet * c.get_ref("patch") ** 2 * a.channels
  shape = dict(target_width=width, bias=False, **DECODERS[a.size])
  c.parts.predictor = recipe.network(c, predictors.Transformer, **shape)
  rate = recipe.cosine(c, a, 1.5e-4, warmup=40, end=recipe.scaled(c, 1e-5))
  rules = ((r"(bias|scale|mask_token)$", 0.0), (r"kernel$", 1.0))
  c.optimizer = recipe.adamw(c, a, rate, b2=0.95, weight_decay_rules=rules)
  return recipe.finish(c, a, laptop=LAPTOP, embedded=EMBEDDED)
