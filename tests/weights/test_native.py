"""Our weights file: safetensors with the config inside; starting from a finished run."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.errors import InputError
from mim_jax.teachers import frozen
from mim_jax.weights import files, native


def a_config(arg="size=nano"):
  return config_lib.get_config("mae", f"dataset=digits,{arg}")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A run folder with weights, and those weights."""
  folder = tmp_path_factory.mktemp("finished")
  state = experiment_lib.build(a_config(), devices=jax.devices()[:1]).trainable.init(
    jax.random.key(7)
  )
  variables = {"params": jax.device_get(state.params)}
  native.save(folder / native.FILE, variables, a_config())
  return folder, variables


def test_what_is_saved_is_loaded_with_its_config(finished):
  folder, variables = finished
  found, config = native.load(folder)
  jax.tree.map(np.testing.assert_array_equal, found, variables)
  assert config_lib.to_json(config) == config_lib.to_json(a_config())
  assert not list(folder.glob("*.tmp"))


def test_a_missing_or_another_file_is_refused(finished, tmp_path):
  folder, _ = finished
  with pytest.raises(
    InputError, match=r"there is no weights.safetensors and no .* here.*mim-jax train"
  ):
    native.load(tmp_path)
  with pytest.raises(InputError, match=r"its sha256 is [0-9a-f]{64}, but 0000 is expected"):
    native.load(folder, "0000")
  native.load(**native.pinned(folder))


@pytest.mark.parametrize("where", ["name", "config", "array"])
def test_a_file_with_one_changed_byte_is_refused(finished, tmp_path, where):
  whole = bytearray((finished[0] / native.FILE).read_bytes())
  places = dict(name=b'"config":"', config=b"batch_size")
  place = whole.index(places[where]) + 1 if where in places else len(whole) - 5
  whole[place] ^= 1
  (tmp_path / native.FILE).write_bytes(whole)
  with pytest.raises(InputError, match=r"weights.safetensors: it is damaged.*command of its run"):
    native.load(tmp_path)


def test_a_file_from_before_there_was_a_hash_is_loaded(finished, tmp_path):
  arrays, metadata = files.arrays(finished[0] / native.FILE)
  del metadata["contents"]
  safetensors.numpy.save_file(arrays, tmp_path / native.FILE, metadata=metadata)
  jax.tree.map(np.testing.assert_array_equal, native.load(tmp_path)[0], finished[1])


def test_half_precision_is_whole_when_it_is_read_again(tmp_path):
  native.save(tmp_path / native.FILE, {"params": {"a": np.float16([1, 2])}}, a_config())
  assert native.load(tmp_path)[0]["params"]["a"].dtype == np.float32


def test_a_file_that_is_not_ours_is_refused(tmp_path):
  (tmp_path / "x.safetensors").write_bytes(b"junk")
  with pytest.raises(InputError, match="not a readable safetensors file"):
    native.load(tmp_path / "x.safetensors")
  safetensors.numpy.save_file({"a": np.zeros(2)}, tmp_path / "y.safetensors")
  with pytest.raises(InputError, match="no layout known here has such arrays: a. Known: .*hf:vit"):
    native.load(tmp_path / "y.safetensors")


def test_a_run_starts_from_a_finished_one(finished):
  folder, variables = finished
  config = a_config(f"size=nano,init={folder}")
  assert config.start_from.sha256 == native.pinned(folder)["sha256"]
  state = experiment_lib.build(config, devices=jax.devices()[:1]).trainable.init(jax.random.key(0))
  for part in ("encoder", "tokenizer"):
    jax.tree.map(np.testing.assert_array_equal, state.params[part], variables["params"][part])
  head = state.params["predictor"]["head"]["kernel"]
  assert not np.array_equal(head, variables["params"]["predictor"]["head"]["kernel"])


def test_parts_that_do_not_fit_are_named(finished):
  folder, variables = finished
  with pytest.raises(
    InputError,
    match=r"2 arrays of 'tokenizer' do not fit, the first is 'embed/bias': \(24,\) there, \(96,\) here",
  ):
    config = a_config(f"size=tiny,init={folder}")
    experiment_lib.build(config, devices=jax.devices()[:1]).trainable.init(jax.random.key(0))
  with pytest.raises(InputError, match="'encodr' is unknown; did you mean 'encoder'"):
    native.from_run(variables["params"], path=str(folder), parts=("encodr",))


def test_a_finished_run_is_a_frozen_teacher(finished):
  folder, variables = finished
  teacher = frozen.FromRun(**native.pinned(folder))
  tree = teacher.init(None)
  jax.tree.map(np.testing.assert_array_equal, tree, variables)
  assert teacher.update(tree, None, 0.5) is tree
  images = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
  bound = teacher.bind(None, tree, {})
  assert bound.encoder(bound.tokenizer(images)).values.shape == (2, 16, 24)


def test_an_untrained_teacher_is_drawn_by_its_seed():
  image = (8, 8, 1)
  first, again, other = (
    frozen.Untrained("mae", "dataset=digits,size=nano", image, seed).init(None)
    for seed in (0, 0, 1)
  )
  jax.tree.map(np.testing.assert_array_equal, first, again)
  kernels = [
    t["params"]["encoder"]["stack"]["block_00"]["mlp"]["up"]["kernel"] for t in (first, other)
  ]
  assert not np.array_equal(*kernels)
