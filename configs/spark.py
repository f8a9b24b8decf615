"""SparK: Designing BERT for Convolutional Networks (Tian et al., ICLR 2023, arXiv 2301.03580).

Reference implementation: github.com/keyu-tian/SparK (MIT), whose numbers these are.
Run:       mim-jax train --config=configs/spark.py:size=B --workdir=runs/spark_b
           mim-jax train --config=configs/spark.py:network=resnet50 --workdir=runs/spark_resnet50
Laptop:    mim-jax train --config=configs/spark.py:dataset=digits --workdir=runs/digits
Cost:      3 x forward, TODO GFLOP an image at 224 pixels.
           Masking saves nothing: hidden sites are computed and set to zero.
Published: fine-tuning on ImageNet-1k 80.6 (ResNet-50), 84.1 / 84.8 / 85.4 % (ConvNeXt-S, B, L; 1600
           epochs).
Ours:      on the embedded digits, see experiments/digits/README.md; not run on ImageNet yet.
"""

import ml_collections
from mim_jax.configs import common

from mim_jax import encoders, errors, losses, masks, objectives, predictors, targets, tokenizers
from mim_jax.config import part
from mim_jax.evaluate import reconstruction
from mim_jax.ops import cost
from mim_jax.train import optimizer, schedules

# ConvNeXt (arXiv 2201.03545, section 2.7) and ResNet (1512.03385, table 1) with SparK's drop path.
# "" is the ConvNeXt of `size`; nano and tiny are ours.
CONVNEXT = dict(
  convnext_t=dict(depths=(3, 3, 9, 3), widths=(96, 192, 384, 768), drop_path=0.1),
  convnext_s=dict(depths=(3, 3, 27, 3), widths=(96, 192, 384, 768), drop_path=0.2),
  convnext_b=dict(depths=(3, 3, 27, 3), widths=(128, 256, 512, 1024), drop_path=0.3),
  convnext_l=dict(depths=(3, 3, 27, 3), widths=(192, 384, 768, 1536), drop_path=0.4),
)
RESNET = dict(
  resnet50=dict(depths=(3, 4, 6, 3), drop_path=0.05),
  resnet101=dict(depths=(3, 4, 23, 3), drop_path=0.08),
  resnet152=dict(depths=(3, 8, 36, 3), drop_path=0.1),
  resnet200=dict(depths=(3, 24, 36, 3), drop_path=0.15),
)
SMALL = dict(nano=dict(width=16, depth=1), tiny=dict(width=48, depth=2))
EPOCHS, WARMUP, RATE = 1600, 40, 2e-4  # the rate is for 256 images
