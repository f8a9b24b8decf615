"""The configs, one file a method; installed as `mim_jax.configs`."""
