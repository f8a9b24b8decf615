"""`mim-jax train`."""

from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Trains, evaluates, reports; ends by naming the files to open."""
  parser = arguments.parser(
    "train",
    "Pre-train a method and write everything into a run folder. The same command resumes.",
    "mim-jax train --config=configs/mae.py:dataset=folder,path=photos --workdir=runs/photos\n"
    "any key can be set: --config.train.steps=200 --config.objective.mask.ratio=0.6",
  )
  parser.add_argument(
    "--config", required=True, metavar="FILE.py[:ARGUMENTS]", help="a config file, or its name"
  )
  parser.add_argument(
    "--workdir", required=True, metavar="DIR", help="the run folder; made if absent"
  )
  options, overrides = parser.parse_known_args(argv)
  config = arguments.config(options.config, overrides)

  from mim_jax import run  # late: needs jax and all libraries

  facts = run.run(config, options.workdir)
  if facts["signal"]:
    return 128 + facts["signal"]
  arguments.name_files(options.workdir)
  return 0
