"""Clips: sources, the sampling of frames, and views on the device."""

from mim_jax.data.video.clip_files import clips as clips
from mim_jax.data.video.clip_views import center as center
from mim_jax.data.video.clip_views import multi_scale_crop as multi_scale_crop
from mim_jax.data.video.clip_views import pair_center as pair_center
from mim_jax.data.video.clip_views import pair_crop as pair_crop
from mim_jax.data.video.frames import dense as dense
from mim_jax.data.video.frames import pair as pair
from mim_jax.data.video.moving import moving_arrays as moving_arrays
from mim_jax.data.video.moving import moving_digits as moving_digits
