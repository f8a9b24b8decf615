"""How far the steps are from what the machine allows, as a picture."""

import itertools
import pathlib
import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np


def flops(row: dict) -> float:
  """Finds the FLOPs an image: as traced, in older records by the config's formula."""
  return row["flops"] if "flops" in row else row["flops_formula"]


def draw(rows: list[dict], file: pathlib.Path) -> None:
  """FLOP/s of each step over its FLOPs a byte, under the two ceilings measured in the same run.

  FLOPs and bytes are XLA's counts, bytes of what its operations read and write, caches or not, so a
  step can lie above the slope of the memory.
  """
  peak = statistics.median(rate for row in rows for rate in row["matmul_flops"])
  stream = max(row["bandwidth"] for row in rows)
  figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
  x = np.geomspace(1, 1000, 200)
  axes.loglog(x, np.minimum(stream * x, peak) / 1e9, color="black", linewidth=1)
  axes.text(1000, peak / 1e9, f"matrix product {peak / 1e9:,.0f} GFLOP/s", ha="right", va="bottom")
  axes.text(1.1, 1.2 * stream / 1e9, f"memory {stream / 1e9:,.0f} GB/s", ha="left", va="bottom")
  for row, marker in zip(rows, itertools.cycle("osD^v<>PX*"), strict=False):
    intensity = flops(row) / row["bytes_xla"]
    rate = row["batch"] * flops(row) / statistics.median(row["seconds"]) / 1e9
    axes.plot(intensity, rate, marker, label=f"{row['name']} {row.get('flags', '')}".strip())
  axes.legend(loc="lower right")
  axes.set_xlabel("FLOP a byte that operations read and write")
  axes.set_ylabel("GFLOP/s")
  axes.grid(alpha=0.3, which="both")
  figure.savefig(file, dpi=110)
  plt.close(figure)
