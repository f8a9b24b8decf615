"""BERT: Pre-training of Deep Bidirectional Transformers (Devlin et al., NAACL 2019, 1810.04805).

Reference: github.com/google-research/bert (Apache-2.0; not copied).
Numbers:   appendix A.2 of the paper; create_pretraining_data.py and modeling.py of the reference.
Published: GLUE 79.6 / 82.1 (B, L), on the test server, without WNLI.
Differs:   bytes instead of 30,522 WordPieces, 512 of them, about as much text as the 128 WordPieces
           of the first 900,000 steps; blocks are pre-norm, not post-norm; no dropout; no next
           sentence prediction and no segments.
"""

from mim_jax import (
  corruptions,
  heads,
  layers,
  losses,
  masks,
  objectives,
  schedules,
  targets,
  tokenizers,
)
from mim_jax.config import part
from mim_jax.configs import recipe
from mim_jax.modalities import text

# Kernels of std 0.02 are BERT's at width 768; narrow layers would all but vanish with them.
LAPTOP = {"optimizer.learning_rate.warmup": 0.1, "parts.*.kernel_init": "xavier"}
EMBEDDED = {"optimizer.learning_rate.peak": recipe.per_batch(3e-3, per=16)}
DECAY = ((r"(bias|scale)$", 0.0), (".*", 1.0))


def get_config(arg: str = ""):
  """BERT."""
  c, a = recipe.start(arg, "text", steps=1_000_000, batch_size=256, length=512)
  c.objective = part(
    objectives.predict_corrupted,
    entry="text",
    mask=part(masks.random, ratio=0.15),
    corruption=part(corruptions.replace_tokens, masked_id=text.MASK_ID, vocabulary=text.BYTES),
    target=part(targets.ids, entry="text"),
    loss=part(losses.cross_entropy),
  )
  table = dict(part=tokenizers.Bytes, vocabulary=text.MASK_ID + 1)
  places = part(layers.SequencePositions, length=c.data.train.get_ref("length"))
  start = dict(kernel_init="normal", epsilon=1e-12)
  c.parts = recipe.vit(c, a, table, positions=places, pre_norm=True, **start)
  c.parts.head = part(heads.Vocabulary, dtype=c.train.get_ref("dtype"), **start)
  rate = part(schedules.linear_decay, peak=recipe.scaled(c, 1e-4), warmup=0.01)
  c.optimizer = recipe.adamw(
    c, a, rate, weight_decay=0.01, b2=0.999, clip=1.0, weight_decay_rules=DECAY
  )
  c.evaluations.masked = text.masked()
  c.evaluations.baselines = ("random", "plain")
  return recipe.finish(c, a, laptop=LAPTOP, embedded=EMBEDDED)
