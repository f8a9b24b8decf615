"""Configs as calls: nodes, errors, overrides, references, JSON."""

import functools

import ml_collections
import pytest

from mim_jax import config, layers, losses, masks, objectives, predictors, rooms
from mim_jax.cli import arguments
from mim_jax.errors import InputError


def test_a_node_holds_every_setting_defaults_included():
  node = config.part(layers.Stack, depth=1, heads=2)
  assert node.part == "mim_jax.layers.Stack"
  assert node.mlp_ratio == 4.0
  assert node.remat == "none"
  assert "name" not in node


def test_a_default_that_is_a_part_is_a_node():
  stack = config.part(layers.Stack, depth=1, heads=2)
  node = config.part(predictors.Transformer, width=8, target_width=4, stack=stack)
  assert node.positions.part == "mim_jax.layers.SinCos"


def test_what_stands_before_the_star_is_no_setting():
  node = config.part(masks.random, ratio=0.5)
  assert set(node) == {"part", "ratio", "rounding"}
  with pytest.raises(InputError, match="random: setting: 'progress' is unknown"):
    config.part(masks.random, ratio=0.5, progress=1.0)


def test_a_misspelt_setting_names_the_nearest():
  with pytest.raises(
    InputError,
    match=r"masks.random: setting: 'ration' is unknown; did you mean 'ratio'\? Allowed: ratio",
  ):
    config.part(masks.random, ration=0.5)


def test_a_missing_setting_is_named():
  with pytest.raises(InputError, match=r"setting 'ratio' is missing.*part\(random, ratio=...\)"):
    config.part(masks.random)


@pytest.mark.parametrize("wrong", ["half", None.__class__, [0.5]])
def test_a_wrong_type_is_named(wrong):
  with pytest.raises(InputError, match=r"masks.random.ratio: .* a float is needed"):
    config.part(masks.random, ratio=wrong)


def test_a_whole_number_serves_as_float_but_not_the_other_way():
  assert config.part(masks.random, ratio=1).ratio == 1
  with pytest.raises(InputError, match=r"depth: 8.5 is a float, but a int is needed"):
    config.part(layers.Stack, depth=8.5, heads=2)


def test_build_makes_partials_and_instances_all_the_way_down():
  node = config.part(
    objectives.predict_masked,
    entry="image",
    mask=config.part(masks.random, ratio=0.5),
    target=config.part(masks.random, ratio=0.5),
    loss=config.part(losses.squared_error),
  )
  made = config.build(node)
  assert made.func is objectives.predict_masked
  assert isinstance(made.keywords["mask"], functools.partial)
  assert made.keywords["mask"].keywords["ratio"] == 0.5
  stack = config.part(layers.Stack, depth=1, heads=2)
  module = config.build(config.part(predictors.Transformer, width=8, target_width=4, stack=stack))
  assert isinstance(module, predictors.Transformer)
  assert (module.width, module.stack.depth) == (8, 1)


def test_build_refuses_code_from_elsewhere_unless_allowed():
  node = ml_collections.ConfigDict({"part": "os.path.join"})
  with pytest.raises(
    InputError, match=r"'os.path.join' lies outside mim_jax.*allow_modules = \('os',\)"
  ):
    config.build(node)
  assert config.build(node, allow=("os",)).func is __import__("os").path.join


def test_build_names_what_does_not_exist():
  with pytest.raises(InputError, match="'randon' is unknown; did you mean 'random'"):
    config.build(ml_collections.ConfigDict({"part": "mim_jax.masks.randon"}))
  with pytest.raises(InputError, match=r"no module 'mim_jax.maskz'"):
    config.build(ml_collections.ConfigDict({"part": "mim_jax.maskz.random"}))
  with pytest.raises(InputError, match=r"objective.mask .*: setting: 'ratioo' is unknown"):
    config.build(
      ml_collections.ConfigDict({"part": "mim_jax.masks.random", "ratio": 0.5, "ratioo": 1.0}),
      where="objective.mask",
    )


@pytest.mark.parametrize("name", config.names())
def test_json_round_trip_of_every_config(name):
  made = config.get_config(name, "dataset=embedded")
  again = config.from_json(config.to_json(made))
  assert config.flatten(again) == config.flatten(config.from_json(config.to_json(again)))
  assert config.to_json(again) == config.to_json(made)
  config.build(again.objective), config.build(again.parts)


def test_shared_numbers_follow():
  made = arguments.config(
    "configs/mae.py:dataset=digits,size=nano", ["--config.patch=4", "--config.train.batch_size=512"]
  )
  assert made.parts.tokenizer.patch == made.objective.target.patch == 4
  assert made.parts.predictor.target_width == 16
  half = arguments.config("mae:dataset=digits,size=nano", ["--config.train.batch_size=256"])
  assert made.optimizer.learning_rate.peak == pytest.approx(2 * half.optimizer.learning_rate.peak)


def test_one_image_size_for_training_and_evaluation():
  made = arguments.config("mae:dataset=digits", ["--config.data.augment.size=(8, 12)"])
  assert made.data.view.size == (8, 12)


@pytest.mark.parametrize(("given", "other"), [("steps", "epochs"), ("epochs", "steps")])
@pytest.mark.parametrize("dataset", ["digits", "cifar10"])  # of steps, of epochs
def test_steps_take_the_place_of_epochs_and_epochs_that_of_steps(given, other, dataset):
  made = arguments.config(f"mae:dataset={dataset},size=tiny", [f"--config.train.{given}=7"])
  assert made.train[given] == 7
  assert made.train[other] is None


def test_nothing_is_said_twice():
  """The mask, the target and its normalisation stand in the objective alone."""
  made = config.get_config("mae", "dataset=digits")
  keys = [k for k in config.flatten(made) if k.endswith((".ratio", ".normalize"))]
  assert keys == ["objective.mask.ratio", "objective.target.normalize"]
  assert "pictures" not in made


@pytest.mark.parametrize(
  ("spec", "overrides", "message"),
  [
    ("mea", [], "'mea' is unknown; did you mean 'mae'"),
    ("configs/image/mea.py", [], "did you mean 'configs/image/mae.py'"),
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
  stack, decoder = made.parts.encoder.stack, made.parts.predictor
  assert (stack.depth, made.parts.tokenizer.width, stack.heads) == (24, 1024, 16)
  assert (decoder.width, decoder.stack.depth, decoder.stack.heads) == (512, 8, 16)
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


# Names.


def nodes(made):
  return {v for k, v in config.flatten(made).items() if k.split(".")[-1] == "part"}


@pytest.mark.parametrize("name", config.names())
def test_every_node_says_a_public_name(name):
  """Room and name, or a method's file and name: never the file of a part in a room."""
  for dotted in nodes(config.get_config(name, "dataset=embedded")):
    thing = config._find(dotted, (), "test")
    assert rooms.public_name(thing) == dotted
    assert rooms.is_part(thing)


@pytest.mark.parametrize(("old", "new"), sorted(rooms.MOVED.items()))
def test_what_moved_is_found(old, new):
  assert old != new
  assert rooms.public_name(config._find(old, (), "test")) == new


def test_a_name_with_its_file_is_read_and_nothing_else_is_a_part():
  assert rooms.current("mim_jax.masks.uniform.random") == "mim_jax.masks.random"
  assert config._find("mim_jax.masks.uniform.random", (), "test") is masks.random
  for dotted in (
    "mim_jax.run.run",
    "mim_jax.errors.tell",
    "mim_jax.weights.convert",
    "mim_jax.build",
  ):
    with pytest.raises(InputError, match="is no part. A config may name what"):
      config._find(dotted, (), "test")
  with pytest.raises(InputError, match="is no part"):
    config._find("mim_jax.masks.uniform.visible_count", (), "test")


def test_a_config_of_the_first_edition_says_what_changed(tmp_path):
  file = tmp_path / "own.py"
  file.write_text("from mim_jax.configs import common\n")
  with pytest.raises(InputError, match=r"common.*mim_jax 0.1.*docs/second_edition.md"):
    config.get_config(str(file))
  file.write_text("from mim_jax.train import schedules\n")
  with pytest.raises(InputError, match=r"schedules.*docs/second_edition.md"):
    config.get_config(str(file))


def test_a_helper_in_a_folder_of_configs_is_no_config(tmp_path, monkeypatch):
  (tmp_path / "image").mkdir()
  (tmp_path / "image" / "shared.py").write_text("NUMBER = 1\n")
  (tmp_path / "image" / "mine.py").write_text("def get_config(arg=''):\n  return None\n")
  monkeypatch.setattr(config, "folder", lambda: tmp_path)
  config.files.cache_clear()
  try:
    assert config.names() == ["mine"]
    (tmp_path / "video").mkdir()
    (tmp_path / "video" / "mine.py").write_text("def get_config(arg=''):\n  return None\n")
    config.files.cache_clear()
    with pytest.raises(InputError, match="mine.py has the same name"):
      config.names()
  finally:
    monkeypatch.undo()
    config.files.cache_clear()


# Arguments, overrides, overlays.


@pytest.mark.parametrize("name", [n for n in config.names() if n != "bert"])
@pytest.mark.parametrize(
  ("said", "override", "base"),
  [
    ("patch=4", "--config.patch=4", "size=nano,image=32,dataset=digits"),
    ("batch_size=64", "--config.train.batch_size=64", "size=B,dataset=digits"),
    ("epochs=5", "--config.train.epochs=5", "size=nano,dataset=digits"),
    ("epochs=60", "--config.train.epochs=60", "size=B"),
  ],
)
def test_an_argument_and_the_override_give_the_same_config(name, said, override, base):
  if name == "simmim" and said == "epochs=60":
    base += ",encoder=swin,epochs=90"  # beyond 100 epochs the published schedule is another one
    said = "epochs=60"
    argued = config.get_config(name, base.replace("epochs=90", said))
  else:
    argued = config.get_config(name, f"{base},{said}")
  overridden = arguments.config(f"{name}:{base}", [override])
  a, b = (config.flatten(config.from_json(config.to_json(c))) for c in (argued, overridden))
  different = {k: (a.get(k), b.get(k)) for k in a.keys() | b.keys() if a.get(k) != b.get(k)}
  # A stand-in for a teacher is built for its grid; its config says the grid as text.
  assert different == {}


@pytest.mark.parametrize(
  ("spec", "key", "override", "value"),
  [
    ("multimae:size=B", "objective.mask.visible", "--config.patch=8", 392),
    ("ibot:size=B", "parts.encoder.positions.grid", "--config.patch=8", (28, 28)),
    ("simmim:size=B", "objective.mask.unit", "--config.patch=8", 4),
    ("mae:size=B", "optimizer.learning_rate.warmup", "--config.train.epochs=400", 0.1),
    ("hpm:size=B", "teachers.ema.momentum.end_at", "--config.train.epochs=400", 0.25),
  ],
)
def test_an_override_moves_what_follows(spec, key, override, value):
  assert config.flatten(arguments.config(spec, [override]))[key] == value


def test_an_overlay_that_fits_no_key_is_refused():
  from mim_jax.configs import recipe

  c, a = recipe.start("size=nano,dataset=digits")
  c.optimizer = recipe.adamw(c, a, 1e-3)
  with pytest.raises(InputError, match=r"overlay: key: 'parts.encodr.depth' is unknown"):
    recipe.finish(c, a, laptop={"parts.encodr.depth": 1})


def test_a_sibling_is_looked_for_beside_the_file(tmp_path):
  (tmp_path / "image").mkdir()
  (tmp_path / "image" / "base.py").write_text("def start(arg, **other):\n  return 'this', arg\n")
  (tmp_path / "image" / "derived.py").write_text(
    "from mim_jax.configs import recipe\nFOUND = recipe.sibling('base').start('x')\n"
    "def near():\n  recipe.sibling('bas')\n"
  )
  module = config._module(tmp_path / "image" / "derived.py")
  assert module.FOUND == ("this", "x")
  with pytest.raises(InputError, match="'bas' is unknown; did you mean 'base'"):
    module.near()
