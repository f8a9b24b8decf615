"""`mim-jax convert`."""

from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Brings published weights in, or writes ours as others read them."""
  parser = arguments.parser(
    "convert",
    "Published weights to ours, ours to theirs; licence and everything left out are shown.",
    "mim-jax convert --from=vit-mae-base --to=runs/mae_hf --format=mim_jax",
  )
  parser.add_argument("--from", required=True, metavar="PATH", dest="source", help=FROM)
  parser.add_argument("--to", required=True, metavar="PATH", dest="target", help="folder to write")
  parser.add_argument("--format", required=True, metavar="NAME", help=FORMAT)
  parser.add_argument("--licence", metavar="TEXT", help="of these weights, if no file states it")
  parser.add_argument("--leave", metavar="REGEX", action="append", default=[], help=LEAVE)
  parser.add_argument("--allow-pickle", action="store_true", help=PICKLE)
  for name, text in NUMBERS.items():
    parser.add_argument(f"--{name}", type=int, metavar="N", help=text)
  options = vars(parser.parse_args(argv))
  source, target, format = (options.pop(name) for name in ("source", "target", "format"))
  options["leave"] = tuple(options["leave"])

  from mim_jax.weights import conversion

  given = {name: value for name, value in options.items() if value is not None}
  done = conversion.convert(source, target, format=format, **given)
  print(f"from:     {done['layout']}\nlicence:  {done['licence']}")
  for title, names in (("left out", done["left"]), ("not written", done["lost"])):
    if names:
      print(f"{title}: {', '.join(names)}")
  print(f"\nwritten:\n  {done['written']['path']}\n  sha256 {done['written']['sha256']}")
  return 0


FROM = "a run folder, a safetensors file, or a folder of published weights"
FORMAT = (
  "mim_jax, hf, timm, or the authors' own: mae, ijepa, beit, simmim, videomae, ibot, dinov2; "
  "hf:vit names one kind of a format"
)
LEAVE = "arrays to leave out that have no place here; may be given several times"
PICKLE = "open a .pth file, by torch in a process of its own, with weights_only"
NUMBERS = {
  "heads": "attention heads, where no file says them",
  "decoder-heads": "those of the decoder",
  "image": "side of the images, where no file says it",
  "channels": "make the network take images of this many channels",
  "patch": "make the network take patches of this side",
}
