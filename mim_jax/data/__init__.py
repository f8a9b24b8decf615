"""Sources of data and the Grain pipeline; each kind of data has a folder of its own."""

from mim_jax.data.mixing import balanced as balanced
from mim_jax.data.mixing import mixed as mixed
from mim_jax.data.mixing import subset as subset
