"""Bound modules with other settings."""

import dataclasses

import flax.linen as nn

from mim_jax.errors import InputError


def with_settings(module: nn.Module, **settings) -> nn.Module:
  """Rebinds a bound module with other settings, its variables and no random keys.

  So a teacher records what its own config does not. InputError for settings that the module
  does not have.
  """
  known = {field.name for field in dataclasses.fields(module)}
  if missing := sorted(settings.keys() - known):
    raise InputError(
      f"{type(module).__name__} has no setting {', '.join(map(repr, missing))}, which is needed "
      "here. Take encoders.ViT."
    )
  unbound, variables = module.unbind()
  return unbound.clone(**settings).bind(variables)
