"""Monitoring of a run: metrics, progress, trackers, evaluations while training, the watchdog."""
