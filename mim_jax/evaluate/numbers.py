"""Numbers with their unit, so that a report never prints an error as a percentage."""

import math
from collections.abc import Mapping

FRACTION = "fraction"  # of 1: accuracies, overlaps; printed in per cent
LOWER = ("RMSE", "bits", "loss", "perplexity")  # units of which less is better


class Number(float):
  """A number of an evaluation: a float that knows its unit.

  Attributes:
    unit: FRACTION, or a word of the field: "RMSE", "bits", "perplexity", "rank"; "" is none.
  """

  unit: str

  def __new__(cls, value: float, unit: str = FRACTION):
    """Makes the number."""
    made = super().__new__(cls, value)
    made.unit = unit
    return made


def fractions(found: Mapping[str, float]) -> dict[str, Number]:
  """Marks all numbers of an evaluation as fractions of 1."""
  return {name: Number(value) for name, value in found.items()}


def unit_of(number: dict) -> str:
  """Finds the unit of a recorded number {"mean", "unit", ...}.

  Results of the first edition have none: what is at most 1 was taken for a fraction there.
  """
  guess = FRACTION if abs(number.get("mean", math.inf)) <= 1 else ""
  return number.get("unit", guess)


def in_words(number: dict | None) -> str:
  """Formats '93.1 ± 0.4 %' of a fraction with its spread, '12.5 RMSE' of others, '' for None."""
  if number is None:
    return ""
  mean, spread, unit = number["mean"], number.get("spread"), unit_of(number)
  if not math.isfinite(mean):
    return "not finite"
  whole = unit == FRACTION
  text = f"{100 * mean:.1f}" if whole else f"{mean:.4g}"
  if spread is not None:
    text += f" ± {100 * spread:.1f}" if whole else f" ± {spread:.2g}"
  return f"{text} {'%' if whole else unit}".rstrip()


def best(means, unit: str) -> float | None:
  """Finds the best of some means; None where none is finite."""
  finite = [mean for mean in means if math.isfinite(mean)]
  return (min if unit in LOWER else max)(finite, default=None)
