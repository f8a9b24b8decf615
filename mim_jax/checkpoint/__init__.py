"""Saves of a run: atomic, with digests, in the run folder or in a bucket."""
