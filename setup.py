"""What pyproject.toml cannot say: the folder configs/ is installed as mim_jax.configs."""

from setuptools import find_packages, setup

setup(
  packages=[*find_packages(include=["mim_jax", "mim_jax.*"]), "mim_jax.configs"],
  package_dir={"mim_jax.configs": "configs"},
)
