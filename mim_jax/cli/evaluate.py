"""`mim-jax evaluate`."""

from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Runs evaluations on the newest checkpoint of a run folder and prints the table."""
  parser = arguments.parser(
    "evaluate",
    "Run evaluations on the newest checkpoint; brings results.json and report.html up to date.",
    "mim-jax evaluate --workdir=runs/digits --evals=knn,linear_10",
  )
  parser.add_argument("--workdir", required=True, metavar="DIR", help="a run folder")
  parser.add_argument(
    "--evals", default="", metavar="NAME,NAME", help="which entries of `evaluations`; default: all"
  )
  options = parser.parse_args(argv)

  from mim_jax import run
  from mim_jax.evaluate import runner
  from mim_jax.train import folder

  experiment, state = run.restored(options.workdir)
  with folder.opened(options.workdir, experiment.config) as path:
    results = run.assess(experiment, state, path, only=[n for n in options.evals.split(",") if n])
  print(runner.table(results["evaluations"]))
  arguments.name_files(options.workdir)
  return 0
