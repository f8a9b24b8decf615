"""The record of texts: raw batches, the baseline, pictures, other bytes where hidden."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import assess, modalities
from mim_jax import config as config_lib
from mim_jax.configs import recipe
from mim_jax.errors import InputError

TEXT = modalities.Text()


def test_a_raw_batch_of_strings():
  found = np.asarray(TEXT.raw(["ab", b"c", "ä"])["text"])
  np.testing.assert_array_equal(found, [[97, 98], [99, -1], [0xC3, 0xA4]])
  ids = np.array([[1, 2]])
  np.testing.assert_array_equal(TEXT.raw(ids)["text"], ids)


def test_one_string_is_no_batch():
  with pytest.raises(InputError, match=r"a list of texts is wanted: \[text\]"):
    TEXT.raw("abc")


def test_the_baseline_counts_bytes():
  ids = jnp.asarray([[97, 97, 98, -1], [-1, -1, -1, -1]])
  found = np.asarray(TEXT.plain({"text": ids}))
  assert found.shape == (2, 256)
  np.testing.assert_allclose(found[0, [97, 98, 0]], [2 / 3, 1 / 3, 0], rtol=1e-6)
  np.testing.assert_array_equal(found[1], 0)
  longer = jnp.pad(ids, ((0, 0), (0, 5)), constant_values=-1)
  np.testing.assert_array_equal(found, TEXT.plain({"text": longer}))


def test_change_is_where_hidden_and_never_in_padding():
  ids = jnp.where(jnp.arange(64)[None] < 50, jnp.full((4, 64), 7, jnp.int32), -1)
  seen = jnp.broadcast_to(jnp.arange(64)[None] < 20, (4, 64))
  found = np.asarray(TEXT.change(jax.random.key(0), {"text": ids}, seen, (64,))["text"])
  assert (found[:, :20] == 7).all() and (found[:, 50:] == -1).all()
  assert (found[:, 20:50] != 7).mean() > 0.9
  assert found[:, 20:50].min() >= 0 and found.max() < 256


def test_a_still_is_an_image_whose_grid_is_that_of_the_characters():
  from mim_jax.pictures import inspection

  still = TEXT.still({"text": jnp.zeros((1, 128), jnp.int32)})
  assert inspection.grid_of(128, still.shape) == (4, 32)
  assert TEXT.paint({"a": still}, None)["a"].max() <= 1


def test_own_files(tmp_path):
  (tmp_path / "x.txt").write_text("hello " * 10)
  c = config_lib.get_config("bert", "dataset=embedded,length=32")
  found = TEXT.own(str(tmp_path / "x.txt"), c.data)
  assert found[np.arange(2)]["text"].shape == (2, 32)


def test_what_is_offered():
  c = config_lib.get_config("bert", "dataset=embedded")
  assert {"knn", "linear", "masked"} <= set(assess.offered(c))


def test_arguments_of_images_say_nothing_of_texts():
  c, _ = recipe.start("dataset=embedded", "text")
  assert "patch" not in c
  for name in ("patch", "image", "channels"):
    with pytest.raises(InputError, match=f"config argument: '{name}' is unknown"):
      config_lib.get_config("bert", f"{name}=3")
  with pytest.raises(InputError, match="dataset, of texts: 'shards' is unknown"):
    config_lib.get_config("bert", "dataset=shards")
