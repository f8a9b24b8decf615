"""Hugging Face transformers, live: the same weights, inputs and mask give the same numbers, and our
exports open there. Weights are drawn at random; nothing is fetched."""

import functools
import json
import os
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax.weights import export, files, native
from mim_jax.weights import parts as parts_lib

if not os.environ.get("CI"):
  pytest.importorskip("torch")
  pytest.importorskip("transformers")

import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from forwards import BATCH, SIDE, N
from models import CASES


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
  """(case, model, folder of it, folder of its gradients, images, hidden, their outputs, their loss)."""
  case = CASES[request.param]
  folder = tmp_path_factory.mktemp("theirs")
  torch.manual_seed(1)
  random = np.random.default_rng(3)
  model = case.model().eval()
  with torch.no_grad():
    for p in model.parameters():
      drawn = torch.from_numpy(random.normal(scale=0.2, size=tuple(p.shape)).astype(np.float32))
      p.copy_(drawn + (p.ndim == 1 and bool((p == 1).all())))
    for name, buffer in model.named_buffers():
      if name.endswith("running_var"):
        buffer.uniform_(0.5, 2.0)
  case.start(model)
  images = random.normal(size=(BATCH, SIDE, SIDE, 3)).astype(np.float32)
  hidden = np.stack([random.permutation(N) < 3 * N // 4 for _ in range(BATCH)])
  model.save_pretrained(folder / "model")
  outputs, loss = case.theirs(model, torch.from_numpy(images).permute(0, 3, 1, 2), hidden)
  loss.backward()
  with torch.no_grad():
    for p in model.parameters():
      if p.requires_grad:
        p.copy_(torch.zeros_like(p) if p.grad is None else p.grad)
  model.save_pretrained(folder / "gradients")
  return case, folder, images, hidden, [x.detach().numpy() for x in outputs], loss.item()


def test_the_way_back(case, tmp_path):
  """What we export opens in transformers, has the same arrays, and gives the same numbers."""
  case, folder, images, hidden, outputs, loss = case
  variables, config = native.load(folder / "model")
  left = export.write(
    tmp_path / "ours", variables, config, format=config.source.layout, note=dict(licence="MIT")
  )
  assert not left
  kind = json.loads((folder / "model" / "config.json").read_text())["architectures"][0]
  model, info = getattr(transformers, kind).from_pretrained(
    tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
  )
  assert not info["unexpected_keys"] and not info["mismatched_keys"], info
  untrained = "pooler.dense", "num_batches_tracked"
  assert all(any(x in key for x in untrained) for key in info["missing_keys"]), info
  with torch.no_grad():
    again, again_loss = case.theirs(
      model.eval(), torch.from_numpy(images).permute(0, 3, 1, 2), hidden
    )
  for a, b in zip(again, outputs, strict=True):
    near(a.numpy(), b)
  assert abs(again_loss.item() - loss) < 1e-5 * abs(loss)
  theirs, ours = (files.arrays(files.locate(x))[0] for x in (folder / "model", tmp_path / "ours"))
  for name, array in ours.items():
    name = name.replace("decoder.decoder_layers.", "decoder.decoder_encoder.layer.")
    name = name if name in theirs else name.replace("decoder_encoder.layer.", "decoder_layers.")
    computed = "pos_embed" in name or "position_embeddings" in name
    if not computed and not any(x.endswith(name) for x in config.source.left):
      np.testing.assert_array_equal(array, theirs[name], name)


def near(found, expected, what=""):
  """Within 1e-4 of the largest value."""
  assert np.abs(expected).max() > 0, what
  deviation = np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()
  assert deviation < 1e-4, (what, deviation)
  return deviation


def run(case, variables, config, images, hidden):
  module = parts_lib.parts_of(config)

  def outputs(params):
    def forward(parts):
      found, loss = case.ours(parts, jnp.asarray(images), hidden)
      return loss, found

    return module.apply({**variables, "params": params}, method=forward)

  # The compiler's optimisations would take longer than all the rest.
  fast = dict(xla_backend_optimization_level=0, xla_llvm_disable_expensive_passes=True)
  step = jax.jit(jax.value_and_grad(outputs, has_aux=True), compiler_options=fast)
  (loss, found), gradients = step(variables["params"])
  return found, loss, gradients


def test_outputs_loss_and_the_gradient_of_every_parameter(request, case, record):
  case, folder, images, hidden, outputs, loss = case
  note = functools.partial(record, request.node.callspec.params["case"], "transformers")
  variables, config = native.load(folder / "model")
  found, our_loss, gradients = run(case, variables, config, images, hidden)
  for a, b in zip(found, outputs, strict=True):
    note("forward", near(a, b))
  assert abs(our_loss - loss) < 1e-4 * abs(loss)
  note("loss", abs(our_loss - loss) / abs(loss))
  expected = parts_lib.flat({"params": native.load(folder / "gradients")[0]["params"]})
  ours = parts_lib.flat({"params": gradients})
  assert ours.keys() == expected.keys()
  largest = max(np.abs(x).max() for x in expected.values())
  for name, value in expected.items():
    if np.abs(value).max() > 1e-6 * largest:
      note("gradient", near(ours[name], value, name))
    else:
      assert np.abs(ours[name]).max() < 1e-5 * largest, name
