"""The layouts of published weights, one file a family; the first that fits is taken."""

from mim_jax.weights.layouts import authors, clip, hf, hf_conv, timm

ALL = (*hf.LAYOUTS, *hf_conv.LAYOUTS, *timm.LAYOUTS, *authors.LAYOUTS, *clip.LAYOUTS)
KINDS = {layout.kind.split()[0] for layout in ALL if layout.format == "hf"}
