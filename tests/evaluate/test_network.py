"""Encoders with their weights: what they pool, from which layers, at which size, and the cache."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core, errors
from mim_jax.data.image import sources
from mim_jax.devices import mesh
from mim_jax.evaluate import features, network, runner


@pytest.fixture(scope="module")
def net():
  config = config_lib.get_config("mae", "dataset=embedded,size=nano")
  program = network.EncoderProgram(config.copy_and_resolve_references())
  view = program.view(sources.digits(split="test")[np.arange(2)])
  return network.Encoder(program, program.init(jax.random.key(0), view))


@pytest.fixture(scope="module")
def batch():
  return sources.digits(split="test")[np.arange(4)]


def test_pools_and_layers(net, batch):
  tokens = net(batch, pool="tokens")
  assert tokens.shape == (4, 64 // net.program.config.parts.tokenizer.patch**2, 24)
  np.testing.assert_allclose(net(batch), tokens.mean(1), atol=1e-5)
  both = net(batch, pool="both")
  np.testing.assert_array_equal(both[:, :24], net(batch, pool="class"))
  np.testing.assert_allclose(both[:, 24:], net(batch), atol=1e-6)
  two = net(batch, last=2)
  np.testing.assert_allclose(two[:, :24], net(batch, layer=1), atol=1e-6)
  np.testing.assert_allclose(two[:, 24:], net(batch), atol=1e-6)
  with pytest.raises(errors.InputError, match="'men' is unknown. Allowed: None, 'mean'"):
    net(batch, pool="men")
  with pytest.raises(errors.InputError, match="last: 2 layers up to layer 1 do not exist"):
    net(batch, layer=1, last=2)


def test_the_mean_is_that_of_the_real_tokens():
  values = jax.random.normal(jax.random.key(0), (3, 4, 5))
  prefix = jnp.ones((3, 1, 5))
  valid = jnp.array([[True] * 4, [True, False, True, False], [False] * 4])
  padding = jnp.where(valid[..., None], values, jnp.nan)
  found = network.pooled(core.Latents(padding, prefix, valid), "mean")
  np.testing.assert_allclose(found[0], values[0].mean(0), atol=1e-6)
  np.testing.assert_allclose(found[1], values[1, ::2].mean(0), atol=1e-6)
  np.testing.assert_array_equal(found[2], 0)
  both = network.pooled(core.Latents(padding, prefix, valid), "both")
  np.testing.assert_array_equal(both, jnp.concatenate([prefix[:, 0], found], -1))
  half = core.Latents(padding.astype(jnp.bfloat16), prefix, valid)
  assert network.pooled(half, "mean").dtype == jnp.bfloat16
  whole = network.pooled(core.Latents(values, prefix), "mean")
  np.testing.assert_array_equal(whole, jnp.mean(values, 1))


def test_another_size_interpolates_positions(net, batch):
  assert net.at_resolution(8) is net
  tokens = net(batch, pool="tokens", size=16)
  assert tokens.shape[1] == 4 * net(batch, pool="tokens").shape[1]
  assert np.isfinite(tokens).all()
  alike = np.corrcoef(net(batch, size=16).ravel(), net(batch).ravel())[0, 1]
  assert alike > 0.8
  with pytest.raises(errors.InputError, match="size: 7 pixels are no whole number of patches"):
    net(batch, size=7)


def test_positions_that_learn_start_where_fixed_ones_are(net, batch):
  np.testing.assert_allclose(net.with_learned_positions()(batch), net(batch), atol=1e-5)


def test_settings_are_changed_where_there_are_such(net):
  assert net.with_settings(window=7) is net
  assert (
    net.with_settings(drop_path=0.5).program
    is net.with_settings(drop_path=0.5).program
    is not net.program
  )


def test_batches_are_split_over_the_devices(net, batch):
  two = mesh.make(data=2, devices=jax.devices()[:2])
  wide = network.Encoder(network.EncoderProgram(net.program.config, two), net.variables)
  assert len(wide.program.placed(batch)["image"].sharding.device_set) == 2
  np.testing.assert_allclose(wide(batch), net(batch), atol=1e-5)
  odd = {key: value[:3] for key, value in batch.items()}
  np.testing.assert_allclose(wide(odd), net(odd), atol=1e-5)


def test_features_are_kept_in_a_folder(net, tmp_path, monkeypatch):
  source = sources.digits(split="test")
  first = features.Cached(net, tmp_path).features(source, 128, None, "mean")
  assert len(list(tmp_path.glob("*.safetensors"))) == 1
  told = [net.fingerprint]

  def never(*_, **__):
    raise AssertionError("encoded again")

  again = net.with_variables(net.variables)
  monkeypatch.setattr(network.Encoder, "__call__", never)
  found = features.Cached(again, tmp_path).features(sources.digits(split="test"), 64, None, "mean")
  np.testing.assert_array_equal(found[0], first[0])
  np.testing.assert_array_equal(found[1], first[1])
  for other in (
    net.with_variables(jax.tree.map(lambda x: x + 1, net.variables)),
    net.with_settings(drop_path=0.5),
  ):
    told.append(other.fingerprint)
    with pytest.raises(AssertionError, match="encoded again"):
      features.Cached(other, tmp_path).features(source, 128, None, "mean")
  assert len(set(told)) == 3
  with pytest.raises(AssertionError, match="encoded again"):
    features.Cached(net, tmp_path).features(sources.digits(split="train"), 128, None, "mean")
  next(tmp_path.glob("*.safetensors")).write_bytes(b"cut off")
  with pytest.raises(AssertionError, match="encoded again"):
    features.Cached(net, tmp_path).features(source, 128, None, "mean")


def test_what_needs_a_network_leaves_the_row_of_pixels_empty(net):
  def deep(encode, data, seed):
    return {"depth": float(network.unwrap(encode).program.config.parts.encoder.stack.depth)}

  encoders = {"pretrained": [net], "pixels": [net.program.plain]}
  found = runner.run({"deep": (deep, {})}, encoders, types.SimpleNamespace(), [0])
  assert found["deep"]["results"]["pretrained"]["depth"]["mean"] == 2
  assert "pixels" not in found["deep"]["results"]
  assert "failed" not in found["deep"]


def test_pixels_have_patches_too(net, batch):
  assert net.program.plain(batch).shape == (4, 64)
  assert net.program.plain(batch, size=12).shape == (4, 144)
  patch = net.program.config.parts.tokenizer.patch
  assert net.program.plain(batch, pool="tokens").shape == (4, 64 // patch**2, patch**2)
