"""report.html of a run, and of runs beside each other."""
