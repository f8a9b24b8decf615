"""State, step, loop, optimizer, schedules, mesh, checkpoint, metrics."""
