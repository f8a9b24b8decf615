"""`python -m mim_jax` is `mim-jax`."""

from mim_jax.cli.main import start

start()
