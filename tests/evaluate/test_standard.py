"""The evaluations that --evals can name."""

import pytest

from mim_jax import assess, errors
from mim_jax import config as config_lib
from mim_jax.evaluate import standard


@pytest.mark.parametrize("method", ["mae", "ijepa", "simmim", "multimae", "spark"])
def test_every_entry_can_be_built(method):
  config = config_lib.get_config(method)
  for name, node in standard.entries(config).items():
    assert config_lib.build(node, where=name).func.__doc__
  assert config_lib.build(standard.scratch(config)).func.__name__ == "from_scratch"


def test_published_recipes_for_large_images_and_short_ones_for_small():
  large, small = (
    standard.entries(config_lib.get_config("mae", arg)) for arg in ("size=B", "dataset=embedded")
  )
  assert large["finetune"].layer_decay == 0.65
  assert (large["finetune"].rate, large["finetune"].epochs) == (5e-4, 100.0)
  assert (large["linear_lars"].batch_size, large["linear_lars"].rate) == (16384, 0.1)
  assert large["linear_lars"].pool == "class"
  assert small["finetune"].flip is False
  larger = standard.entries(config_lib.get_config("mae", "size=L"))["finetune"]
  assert (larger.rate, larger.layer_decay, larger.epochs) == (1e-3, 0.75, 50.0)
  assert standard.entries(config_lib.get_config("ijepa"))["linear_lars"].pool == "mean"


def test_names_are_found_in_the_config_first():
  config = config_lib.get_config("mae", "dataset=embedded")
  config.evaluations.knn.k = 3
  found = assess.select(config, ["knn", "attentive"])
  assert found["knn"][0].keywords["k"] == found["knn"][1]["k"] == 3
  assert found["attentive"][1]["part"] == "mim_jax.evaluate.trained.attentive"
  assert found["attentive"][1]["view.size"] == (8, 8)
  assert list(assess.select(config)) == ["knn", "linear", "linear_10"]
  with pytest.raises(errors.InputError, match="'atentive' is unknown; did you mean 'attentive'"):
    assess.select(config, ["atentive"])
