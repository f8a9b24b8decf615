"""Images: sources, decoding, and views on the device."""

from mim_jax.data.image.augment import center_crop as center_crop
from mim_jax.data.image.augment import crop_and_flip as crop_and_flip
from mim_jax.data.image.augment import normalize_only as normalize_only
from mim_jax.data.image.coloured import crop_flip_and_jitter as crop_flip_and_jitter
from mim_jax.data.image.crops import center_with_crop as center_with_crop
from mim_jax.data.image.crops import global_and_local as global_and_local
from mim_jax.data.image.folders import folder as folder
from mim_jax.data.image.many_views import center_views as center_views
from mim_jax.data.image.many_views import multi_crop as multi_crop
from mim_jax.data.image.packed_store import packed as packed
from mim_jax.data.image.sources import arrays as arrays
from mim_jax.data.image.sources import digits as digits
from mim_jax.data.image.tar_shards import shards as shards
from mim_jax.data.image.tfds_records import tfds as tfds
