"""Which painter draws a config's pictures, and with which settings."""

import functools
import types

import jax
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core, errors, pictures
from mim_jax import experiment as experiment_lib
from mim_jax.config import part
from mim_jax.pictures import painters


def config_of(name, arg="size=nano"):
  return config_lib.get_config(name, f"dataset=embedded,{arg}")


def painter_of(config):
  return painters.of(config, config_lib.build(config.objective, where="objective"))


def test_the_target_says_who_paints_and_how():
  config = config_of("mae")
  assert "pictures" not in config
  found = painter_of(config)
  assert found.func is pictures.pixels
  assert found.keywords == dict(entry="image", patch=2, normalize=False)


@pytest.mark.parametrize("normalize", [True, False])
def test_settings_of_the_target_are_said_once(normalize):
  """An override of the target moves the picture, here to a panel of its own and another note."""
  config = config_of("mae")
  config.objective.target.normalize = normalize
  config.patch = 4
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  assert experiment.viewer.painter.keywords == dict(entry="image", patch=4, normalize=normalize)
  batch = experiment.spec.data.test[np.arange(2)]
  found = jax.eval_shape(experiment.viewer.pictures, experiment.trainable.abstract_state(), batch)
  assert ("visible only" in found.panels) == normalize
  assert ("come from the true image" in found.note) == normalize


@pytest.mark.parametrize(
  ("name", "painter", "knows"),
  [
    ("ijepa", pictures.latents, {"entry"}),
    ("beit", pictures.codes, {"entry"}),
    ("maskalign", pictures.scores, {"entry"}),
    ("cropmae", pictures.pixels, {"entry", "patch", "normalize"}),
    ("videomae", pictures.cubes, {"entry", "patch", "tubelet", "std", "normalize"}),
  ],
)
def test_each_kind_of_target_has_its_painter(name, painter, knows):
  found = painter_of(config_of(name))
  assert found.func is painter
  assert set(found.keywords) == knows
  if name == "cropmae":
    assert found.keywords["entry"] == "crop"


def test_a_config_s_own_pictures_come_first():
  config = config_of("mae")
  config.pictures = part(pictures.latents, entry="image")
  found = painter_of(config)
  assert found.func is pictures.latents
  assert found.keywords == dict(entry="image")


def test_a_painter_of_ones_own_is_found_where_it_is_allowed(tmp_path, monkeypatch):
  (tmp_path / "my_painters.py").write_text("def plain(batch, outcome, *, entry='image'): pass\n")
  monkeypatch.syspath_prepend(tmp_path)
  import my_painters

  config = config_of("mae")
  config.pictures = part(my_painters.plain)
  with pytest.raises(errors.InputError, match="lies outside mim_jax"):
    painter_of(config)
  config.allow_modules = ("my_painters",)
  assert painter_of(config).func is my_painters.plain


def test_a_misspelt_setting_of_pictures_is_an_error():
  config = config_of("mae")
  config.pictures = part(pictures.latents, entry="image")
  config.pictures.part = "mim_jax.pictures.latnts"
  with pytest.raises(errors.InputError, match="did you mean 'latents'"):
    painter_of(config)


def test_without_a_painter_there_are_no_pictures():
  nothing = types.SimpleNamespace(get=lambda name, default=None: default)
  assert painters.of(nothing, functools.partial(lambda *, loss: 0, loss=1)) is None

  def unmarked(batch, teachers, mask=None, *, entry: str):
    return batch[entry]

  target = functools.partial(unmarked, entry="image")
  objective = functools.partial(lambda *, target: 0, target=target)
  assert painters.of(nothing, objective) is None
  seen = core.painted_by("latents")(unmarked)
  assert seen is unmarked
  found = painters.of(nothing, objective)
  assert (found.func, found.keywords) == (pictures.latents, dict(entry="image"))


def test_all_that_draw_have_one_signature_and_every_mark_names_one():
  from mim_jax import targets

  marks = {getattr(target, "painter", None) for target in vars(targets).values()} - {None}
  offered = {name for name, x in vars(pictures).items() if getattr(x, "__kwdefaults__", 0) != 0}
  offered = {name for name in offered if callable(getattr(pictures, name))}
  known = {"codes", "cubes", "latents", "modalities", "pixels", "scores"}
  assert marks <= offered and known <= offered
  for name in offered:
    code = getattr(pictures, name).__code__
    assert code.co_varnames[: code.co_argcount] == ("batch", "outcome")
