"""ConvNeXt and ResNet by name, for the configs of this folder (no config itself)."""

from mim_jax import encoders
from mim_jax.config import part
from mim_jax.configs import recipe

# ConvNeXt (arXiv 2201.03545, section 2.7) and ResNet (1512.03385, table 1) with SparK's drop path.
NEXT, RES = encoders.ConvNeXt, encoders.ResNet
NETWORKS = dict(
  convnext_t=(NEXT, dict(depths=(3, 3, 9, 3), widths=(96, 192, 384, 768), drop_path=0.1)),
  convnext_s=(NEXT, dict(depths=(3, 3, 27, 3), widths=(96, 192, 384, 768), drop_path=0.2)),
  convnext_b=(NEXT, dict(depths=(3, 3, 27, 3), widths=(128, 256, 512, 1024), drop_path=0.3)),
  convnext_l=(NEXT, dict(depths=(3, 3, 27, 3), widths=(192, 384, 768, 1536), drop_path=0.4)),
  resnet50=(RES, dict(depths=(3, 4, 6, 3), drop_path=0.05)),
  resnet101=(RES, dict(depths=(3, 4, 23, 3), drop_path=0.08)),
  resnet152=(RES, dict(depths=(3, 8, 36, 3), drop_path=0.1)),
  resnet200=(RES, dict(depths=(3, 24, 36, 3), drop_path=0.15)),
)
# On a laptop a small network of the same kind: width of the first stage, blocks a stage.
SMALL, SMALLER = dict(nano=(16, 1), tiny=(24, 2)), dict(nano="resnet50", tiny="resnet50")


def named(a) -> str:
  """The name of the network: the ConvNeXt of the size, on a laptop a ResNet."""
  return SMALLER.get(a.size, f"convnext_{a.size.lower()}")


def network(c, a) -> tuple:
  """(the encoder `a.network`, the kind of its norms)."""
  kind, shape = recipe.chosen(a, "network", NETWORKS)
  encoder = part(kind, **shape, patch=c.get_ref("patch"), dtype=c.train.get_ref("dtype"))
  return encoder, "batch" if kind is RES else "layer"


def small(c, a):
  """The encoder of a laptop: few blocks, all of which work at once.

  It has as many stages as the patch has halvings, at most four.
  """
  width, depth = SMALL[a.size]
  kind, stages = NETWORKS[a.network][0], lambda p: min(p.bit_length(), 4)
  made = dict(patch=c.get_ref("patch"), dtype=c.train.get_ref("dtype"))
  made["depths"] = recipe.follow(lambda p: (depth,) * stages(p), c.get_ref("patch"))
  if kind is RES:
    return part(kind, **made, width=width, zero_scale=False)
  widths = lambda p: tuple(width << stage for stage in range(stages(p)))
  return part(kind, **made, widths=recipe.follow(widths, c.get_ref("patch")))
