"""`record(network, reference, what, deviation)`: the largest deviations seen, for the table of what
is checked (experiments/parity), written where $MIM_JAX_DEVIATIONS names a file."""

import json
import os
import pathlib

import pytest

SEEN: dict = {}


@pytest.fixture(scope="session")
def record():
  def add(network, reference, what, deviation):
    key = network, reference, what
    SEEN[key] = max(SEEN.get(key, 0.0), float(deviation))

  return add


def pytest_sessionfinish():
  file = os.environ.get("MIM_JAX_DEVIATIONS")
  if file and SEEN:
    names = "network", "reference", "what"
    rows = [dict(zip(names, key, strict=True), deviation=x) for key, x in sorted(SEEN.items())]
    pathlib.Path(file).write_text(json.dumps(rows))
