"""Training: state, update, loop, run folder and signals."""
