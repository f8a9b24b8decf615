"""Images with dense maps (depth, classes): sources, and views on the device."""

from mim_jax.data.pool.map_views import center_crop as center_crop
from mim_jax.data.pool.map_views import crop_and_flip as crop_and_flip
from mim_jax.data.pool.paired_folders import paired as paired
from mim_jax.data.pool.pseudo import arrays_with_maps as arrays_with_maps
from mim_jax.data.pool.pseudo import digits_with_maps as digits_with_maps
