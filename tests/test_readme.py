"""README keeps its word: its Python runs, its tables are those of the records, its commands exist."""

import pathlib
import re
import statistics
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from experiments import comparison, records  # noqa: E402
from experiments.digits import run as digits  # noqa: E402
from experiments.methods_cifar10 import run as methods_cifar10  # noqa: E402
from experiments.methods_digits import run as methods_digits  # noqa: E402
from mim_jax import catalog  # noqa: E402
from mim_jax.cli import main as cli  # noqa: E402

TEXT = (ROOT / "README.md").read_text()
RECORDS = {methods_digits.FILE: 3, methods_cifar10.FILE: 1}


def between(text, mark):
  return text.split(f"<!-- {mark} -->\n")[1].split(f"\n<!-- /{mark} -->")[0]


def test_the_table_of_methods_is_current():
  assert between(TEXT, "methods") == catalog.markdown(catalog.chosen())
  assert between(TEXT, "counts") == f"{catalog.counts()}."


@pytest.mark.parametrize(
  ("file", "seeds", "method"),
  [(f, seeds, m) for f, seeds in RECORDS.items() for m in comparison.compared(f)],
  ids=lambda x: getattr(x, "parent", x) if not hasattr(x, "parent") else x.parent.name,
)
def test_no_method_is_recorded_below_its_own_untrained_encoder(file, seeds, method):
  """Of those that have a record: nobody is asked for one."""
  found = [r["scores"] for r in comparison.last(records.read(file)) if r["method"] == method]
  assert len(found) == seeds
  for column in comparison.COLUMNS:
    trained, untrained = (
      statistics.fmean(scores[column][who] for scores in found) for who in ("pretrained", "random")
    )
    assert trained > untrained, column


@pytest.mark.parametrize("module", [methods_digits, methods_cifar10], ids=["digits", "cifar10"])
def test_all_methods_had_the_same_budget(module):
  found = comparison.last(records.read(module.FILE))
  assert {r["method"] for r in found} == set(comparison.compared(module.FILE))
  assert len({(r["step"], *(r.get(key) for key in comparison.BUDGET)) for r in found}) == 1


@pytest.mark.parametrize("file", ["README.md", "experiments/digits/README.md"])
def test_the_digits_table_is_that_of_the_records(file):
  assert between((ROOT / file).read_text(), "digits") == digits.table(records.read(digits.FILE))


def test_the_cifar10_tables_are_those_of_the_records():
  text = (methods_cifar10.HERE / "README.md").read_text()
  for file in (methods_cifar10.FILE, methods_cifar10.TRIES):
    assert between(text, file.stem) == methods_cifar10.told(records.read(file))


def test_a_method_is_trained_anew_only_at_another_budget(monkeypatch, tmp_path):
  asked = []

  def trained(method, seed, budget, folder):
    asked.append(method)
    return dict(method=method, seed=seed)

  monkeypatch.delenv("REHEARSAL", raising=False)
  monkeypatch.setattr(comparison, "trained", trained)
  for methods_asked, epochs in (("mae", 5), ("mae,hpm", 5), ("mae", 100)):
    file = tmp_path / "results"
    comparison.complete(file, methods_asked.split(","), 1, None, epochs=epochs, batch=256)
  assert asked == ["mae", "hpm", "mae"]


def test_pretraining_beats_the_random_encoder_by_several_spreads():
  found = records.read(digits.FILE)
  assert len({r["seed"] for r in found}) == 3
  for column in digits.COLUMNS:
    trained, random = (
      [r["scores"][column][who] for r in found] for who in ("pretrained", "random")
    )
    gain = statistics.fmean(trained) - statistics.fmean(random)
    assert gain > 3 * statistics.stdev(trained), column


def test_the_python_of_the_readme_runs():
  code = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL).group(1)
  names = {}
  exec(compile(code, "README.md", "exec"), names)
  assert names["latents"].shape == (256, 16, 96)
  assert float(names["loss"]) > 0


def test_pictures_and_commands_of_the_readme_exist():
  for picture in re.findall(r"!\[.*?\]\((.*?)\)", TEXT):
    assert (ROOT / picture).exists(), picture
  used = set(re.findall(r"^mim-jax (\w+)", TEXT, re.MULTILINE))
  assert used == set(cli.COMMANDS)
  makefile = (ROOT / "Makefile").read_text()
  for target in re.findall(r"^make (\w+)", TEXT, re.MULTILINE):
    assert f"\n{target}:" in makefile
