"""How well masked tokens are predicted: by hand, and what is refused."""

import functools
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.data.text.chunks import Chunks
from mim_jax.errors import InputError
from mim_jax.evaluate import frozen, network

MASKED = functools.partial(frozen.masked_tokens, entry="text", masked_id=256, vocabulary=256)


def chunks(*texts):
  rows = np.full((len(texts), 12), -1, np.int16)
  for row, text in zip(rows, texts, strict=True):
    row[: len(text)] = np.frombuffer(text, np.uint8)
  return Chunks(rows, np.full(len(texts), -1))


DATA = types.SimpleNamespace(
  train=chunks(b"aaab", b"b", b"a"), test=chunks(b"aab", b"c", b"a b a b a b")
)


@functools.cache
def net():
  c = config_lib.get_config("bert", "dataset=embedded,size=nano,length=12")
  experiment = experiment_lib.build(c, devices=jax.devices()[:1])
  state = experiment.trainable.init(jax.random.key(0))
  return experiment.viewer.encoder(state.params, state.stats)


def test_without_a_network_by_frequency():
  found = MASKED(net().program.plain, DATA, 0)
  # In training 4 a, 2 b, each of 256 counted once more; of 15 in the test 5 are a.
  share = {"a": 5 / 262, "b": 3 / 262}
  error = sum(-math.log(share.get(x, 1 / 262)) for x in "aabca b a b a b")
  assert found["accuracy"] == pytest.approx(5 / 15)
  assert found["pseudo_perplexity"] == pytest.approx(math.exp(error / 15))
  assert (found["accuracy"].unit, found["pseudo_perplexity"].unit) == ("fraction", "perplexity")


@pytest.mark.parametrize(("every", "batch_size"), [(3, 2), (12, 128)])
def test_each_token_is_hidden_once(every, batch_size):
  found = MASKED(net(), DATA, 0, every=every, batch_size=batch_size)
  bound = net().program.parts.bind(net().variables)
  right = error = count = 0
  for row in DATA.test[np.arange(3)]["text"].astype(np.int32):
    for turn in range(every):
      places = [i for i in range(turn, 12, every) if row[i] >= 0]
      given = row.copy()
      given[places] = 256
      latents = bound.encoder(bound.tokenizer(jnp.asarray(given)[None])).values
      logits = np.asarray(bound.head(latents, bound.tokenizer.table))[0]
      for i in places:
        right += logits[i].argmax() == row[i]
        error += np.log(np.exp(logits[i]).sum()) - logits[i, row[i]]
        count += 1
  assert count == 15
  assert found["accuracy"] == pytest.approx(right / 15)
  assert found["pseudo_perplexity"] == pytest.approx(np.exp(error / 15), rel=1e-5)


def test_what_is_refused():
  with pytest.raises(InputError, match="every = 1 would hide all"):
    MASKED(net(), DATA, 0, every=1)
  headless = net().with_variables({"params": {"encoder": {}}})
  with pytest.raises(network.NoNetwork, match="no head"):
    MASKED(headless, DATA, 0)
  empty = types.SimpleNamespace(train=DATA.train, test=chunks(b""))
  with pytest.raises(InputError, match="no token"):
    MASKED(net(), empty, 0)
