"""Pictures: painters of what an objective returned, and of what an encoder makes of a batch."""
