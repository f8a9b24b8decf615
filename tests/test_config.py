"""Configs as calls: nodes, errors, overrides, references, JSON."""

import functools

import ml_collections
import pytest

from mim_jax import config, losses, masks, objectives, predictors
from mim_jax.cli import arguments
from mim_jax.errors import InputError


def test_a_node_holds_every_setting_defaults_included():
  node = config.part(predictors.Transformer, width=8, depth=1, heads=2, target_width=4)
  assert node.part == "mim_jax.predictors.joint.Transformer"
  assert node.mlp_ratio == 4.0
  assert node.remat == "none"
  assert "name" not in node


def test_what_stands_before_the_star_is_no_setting():
  node = config.part(masks.random, ratio=0.5)
  assert set(node) == {"part", "ratio", "rounding"}
  with pytest.raises(InputError, match="random: setting: 'progress' is unknown"):
    config.part(masks.random, ratio=0.5, progress=1.0)


def test_a_misspelt_setting_names_the_nearest():
  with pytest.raises(
    InputError,
    match=r"masks.uniform.random: setting: 'ration' is unknown; did you mean 'ratio'\? Allowed: ratio",
  ):
    config.part(masks.random, ration=0.5)


def test_a_missing_setting_is_named():
  with pytest.raises(InputError, match=r"setting 'ratio' is missing.*part\(random, ratio=...\)"):
    config.part(masks.random)


@pytest.mark.parametrize("wrong", ["half", None.__class__, [0.5]])
def test_a_wrong_type_is_named(wrong):
  with pytest.raises(InputError, match=r"masks.uniform.random.ratio: .* a float is needed"):
    config.part(masks.random, ratio=wrong)


def test_a_whole_number_serves_as_float_but_not_the_other_way():
  assert config.part(masks.random, ratio=1).ratio == 1
  with pytest.raises(InputError, match=r"width: 8.5 is a float, but a int is needed"):
    config.part(predictors.Transformer, width=8.5, depth=1, heads=2, target_width=4)


def test_build_makes_partials_and_instances_all_the_way_down():
  node = config.part(
    objectives.predict_masked,
    mask=config.part(masks.random, ratio=0.5),
    target=config.part(masks.random, ratio=0.5),
    loss=config.part(losses.squared_error),
  )
  made = config.build(node)
  assert made.func is objectives.predict_masked
  assert isinstance(made.keywords["mask"], functools.partial)
  assert made.keywords["mask"].keywords["ratio"] == 0.5
  module = config.build(
    config.part(predictors.Transformer, width=8, depth=1, heads=2, target_width=4)
  )
  assert isinstance(module, predictors.Transformer)
  assert module.width == 8


def test_build_refuses_code_from_elsewhere_unless_allowed():
  node = ml_collections.ConfigDict({"part": "os.path.join"})
  with pytest.raises(
    InputError, match=r"'os.path.join' lies outside mim_jax.*allow_modules = \('os',\)"
  ):
    config.build(node)
  assert config.build(node, allow=("os",)).func is __import__("os").path.join


def test_build_names_what_does_not_exist():
  with pytest.raises(InputError, match="'randon' is unknown; did you mean 'random'"):
    config.build(ml_collections.ConfigDict({"part": "mim_jax.masks.uniform.randon"}))
  with pytest.raises(InputError, match=r"no module 'mim_jax.maskz'"):
    config.build(ml_collections.ConfigDict({"part": "mim_jax.maskz.random"}))
  with pytest.raises(InputError, match=r"objective.mask .*: setting: 'ratioo' is unknown"):
    config.build(
      ml_collections.ConfigDict(
        {"part": "mim_jax.masks.uniform.random", "ratio": 0.5, "ratioo": 1.0}
      ),
      where="objective.mask",
    )


@pytest.mark.parametrize("name", config.names())
def test_json_round_trip_of_every_config(name):
  made = config.get_config(name, "dataset=digits")
  again = config.from_json(config.to_json(made))
  assert config.flatten(again) == config.flatten(config.from_json(config.to_json(again)))
  assert config.to_json(again) == config.to_json(made)
  config.build(again.objective), config.build(again.parts)


def test_shared_numbers_follow():
  made = arguments.config(
    "configs/mae.py:dataset=digits,size=nano", ["--config.patch=4", "--config.train.batch_size=512"]
  )
  assert made.parts.tokenizer.patch == made.objective.target.patch == made.pictures.patch == 4
  assert made.parts.predictor.target_width == 16
  half = arguments.config("mae:dataset=digits,size=nano", ["--config.train.batch_size=256"])
  assert made.optimizer.learning_rate.peak == pytest.approx(
    2 * half.spec.optimizer.learning_rate.peak
  )


def test_one_image_size_for_training_and_evaluation():
  made = arguments.config("mae:dataset=digits", ["--config.data.augment.size=(8, 12)"])
  assert made.data.view.size == (8, 12)


@pytest.mark.parametrize(("given", "other"), [("steps", "epochs"), ("epochs", "steps")])
@pytest.mark.parametrize("dataset", ["digits", "cifar10"])  # of steps, of epochs
def test_steps_take_the_place_of_epochs_and_epochs_that_of_steps(given, other, dataset):
  made = arguments.config(f"mae:dataset={dataset},size=tiny", [f"--config.train.{given}=7"])
  assert made.train[given] == 7
  assert made.train[other] is None


def test_an_override_reaches_every_place_that_shares_the_node():
  made = arguments.config("mae:dataset=digits", ["--config.objective.mask.ratio=0.5"])
  assert made.objective.mask.ratio == made.pictures.mask.ratio == 0.5


@pytest.mark.parametrize(
  ("spec", "overrides", "message"),
  [
    ("mea", [], "'mea' is unknown; did you mean 'mae'"),
    ("configs/mea.py", [], "did you mean 'configs/mae.py'"),
    ("mae:sise=B", [], "'sise' is unknown; did you mean 'size'"),
    ("mae:size=X", [], "size: 'X' is unknown"),
    ("mae:image=large", [], "image: 'large' is not of type int"),
    ("mae", ["--config.objective.mask.ration=0.6"], "did you mean 'objective.mask.ratio'"),
    ("mae", ["--config.objective.mask.ratio=high"], "config override"),
    ("mae", ["--steps=3"], "'--steps=3' is not an option here"),
  ],
)
def test_mistakes_on_the_command_line(spec, overrides, message):
  with pytest.raises(InputError, match=message):
    arguments.config(spec, overrides)


def test_epochs_can_be_said_in_the_argument():
  assert config.get_config("mae", "size=B,epochs=800").train.epochs == 800
  assert config.get_config("mae", "size=B,epochs=800").optimizer.learning_rate.warmup == 0.05
  assert config.get_config("mae", "size=tiny,dataset=folder,path=x").train.epochs == 20
  assert config.get_config("mae", "size=tiny,dataset=folder,path=x,epochs=5").train.epochs == 5


def test_the_published_recipe():
  made = config.get_config("mae", "size=L")
  assert (made.parts.encoder.depth, made.parts.tokenizer.width, made.parts.encoder.heads) == (
    24,
    1024,
    16,
  )
  assert (made.parts.predictor.width, made.parts.predictor.depth, made.parts.predictor.heads) == (
    512,
    8,
    16,
  )
  assert made.train.batch_size == 4096
  assert made.train.epochs == 1600
  assert made.objective.mask.ratio == 0.75
  assert made.optimizer.learning_rate.peak == pytest.approx(2.4e-3)
  assert made.optimizer.learning_rate.warmup == pytest.approx(40 / 1600)
  assert (made.optimizer.b1, made.optimizer.b2, made.optimizer.weight_decay.value) == (
    0.9,
    0.95,
    0.05,
  )
  assert made.patch == 16
  assert config.get_config("mae", "size=H").patch == 14
