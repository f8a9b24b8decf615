"""What watches a run: metrics, progress, trackers, probes, the watchdog."""
