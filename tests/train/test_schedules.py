"""Schedules as functions of the step."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import editions, schedules


def test_the_cosine_of_the_whole_run_steps_down_behind_the_warm_up():
  """SimMIM's 100 epochs with 10 of warm-up: min + (peak - min) (1 + cos(.1 pi)) / 2 at its end."""
  settings = dict(peak=8e-4, start=4e-6, end=4e-5, warmup=0.1)
  rate = lambda share: float(schedules.cosine_throughout(share, **settings))
  assert rate(0.0) == pytest.approx(4e-6)
  assert rate(0.05) == pytest.approx((4e-6 + 8e-4) / 2)
  assert rate(0.0999) == pytest.approx(8e-4, rel=2e-3)
  assert rate(0.1) == pytest.approx(4e-5 + 7.6e-4 * (1 + math.cos(0.1 * math.pi)) / 2, rel=1e-5)
  assert rate(0.5) == pytest.approx(4.2e-4, rel=1e-5)
  assert rate(1.0) == pytest.approx(4e-5, rel=1e-4)


def test_a_line_falls_over_the_whole_run_under_its_warm_up():
  rate = lambda share: float(schedules.linear_decay(share, peak=1e-4, warmup=0.01))
  found = [rate(share) for share in (0.0, 0.005, 0.00999, 0.01, 0.5, 1.0)]
  np.testing.assert_allclose(found, [0.0, 5e-5, 9.99e-5, 9.9e-5, 5e-5, 0.0], rtol=1e-5, atol=1e-12)


def test_a_staircase_falls_where_it_is_told_to():
  rate = lambda share: float(
    schedules.staircase(share, peak=4e-4, start=2e-6, at=(0.5, 0.875), warmup=0.1)
  )
  found = [rate(share) for share in (0.0, 0.05, 0.1, 0.49, 0.5, 0.874, 0.875, 1.0)]
  np.testing.assert_allclose(found, [2e-6, 2.01e-4, 4e-4, 4e-4, 4e-5, 4e-5, 4e-6, 4e-6], rtol=1e-5)


def test_stairs_stay_as_they_are_for_an_epoch():
  """Four epochs of three steps: up to the end at the third, the first step of each included."""
  progress = jnp.arange(12) / 12
  found = schedules.linear(progress, start=1.0, end=3.0, end_at=0.5, step_per_epoch=4)
  np.testing.assert_allclose(found, np.repeat([1.0, 2.0, 3.0, 3.0], 3), rtol=1e-6)


def test_settings_of_the_first_edition_are_read():
  old = dict(part="mim_jax.train.schedules.linear", start=0.0, end=1.0, until=0.3, stairs=4)
  new = dict(part="mim_jax.schedules.linear", start=0.0, end=1.0, end_at=0.3, step_per_epoch=4)
  assert editions.current(old) == new
  old = dict(part="mim_jax.train.schedules.cosine", peak=1.0, share=0.8)
  assert editions.current(old) == dict(part="mim_jax.schedules.cosine", peak=1.0, truncate=0.8)
