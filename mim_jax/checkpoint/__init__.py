"""Checkpoints of a run: atomic, with checksums, in the run folder or in a bucket."""
