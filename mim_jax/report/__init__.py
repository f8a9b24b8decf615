"""report.html of a run, and comparisons of runs."""
