"""Sources and the Grain pipeline; what belongs to one kind of signal lies in its own folder."""

from mim_jax.data.mixing import balanced as balanced
from mim_jax.data.mixing import mixed as mixed
from mim_jax.data.mixing import subset as subset
