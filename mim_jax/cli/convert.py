"""`mim-jax convert`: published weights in, ours out."""

import argparse

from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Imports published weights, or exports ours as others read them."""
  options = vars(parser().parse_args(argv))
  source, target, format = (options.pop(name) for name in ("source", "target", "format"))
  options["leave"] = tuple(options["leave"])

  from mim_jax.weights import conversion

  given = {name: value for name, value in options.items() if value is not None}
  done = conversion.convert(source, target, format=format, **given)
  print(f"from:     {done['layout']}\nlicence:  {done['licence']}")
  for why in sorted(set(done["left"].values())):
    print(f"left out, {why}: {', '.join(k for k, x in done['left'].items() if x == why)}")
  if done["lost"]:
    print(f"not written, no place for them: {', '.join(done['lost'])}")
  print(f"sha256:   {done['written']['sha256']}")
  arguments.name_files(done["files"])
  return 0


def parser() -> argparse.ArgumentParser:
  """Makes the parser of `mim-jax convert`."""
  made = arguments.parser(
    "convert",
    "--from=PATH --to=PATH --format=NAME [OPTION ...]",
    "Published weights to ours, ours to theirs; licence and omissions are shown.\n"
    "Formats: mim_jax, hf, timm, or the authors' own: mae, ijepa, beit, data2vec,\n"
    "simmim, videomae, ibot, dinov2, clip; hf:vit names one kind of a format.",
    "mim-jax convert --from=vit-mae-base --to=weights/mae --format=mim_jax",
  )
  made.add_argument("--from", required=True, metavar="PATH", dest="source", help=FROM)
  made.add_argument("--to", required=True, metavar="PATH", dest="target", help="folder to write")
  made.add_argument("--format", required=True, metavar="NAME", help="what to write")
  made.add_argument("--licence", metavar="TEXT", help="of these weights, if no file states it")
  made.add_argument("--leave", metavar="REGEX", action="append", default=[], help=LEAVE)
  made.add_argument("--allow-pickle", action="store_true", help=PICKLE)
  made.add_argument("--activation", metavar="NAME", help=ACTIVATION)
  for name, text in NUMBERS.items():
    made.add_argument(f"--{name}", type=int, metavar="N", help=text)
  return made


FROM = "run folder, safetensors file, or published folder"
LEAVE = "arrays to leave out; may be given several times"
PICKLE = "let torch open a .pth file (weights_only)"
ACTIVATION = "gelu, gelu_tanh or quick_gelu, where no file says it"
NUMBERS = {
  "heads": "attention heads, where no file says them",
  "decoder-heads": "those of the decoder",
  "image": "side of the images, where no file says it",
  "channels": "take images of this many channels",
  "patch": "take patches of this side",
  "window": "give a Swin windows of this side",
}
