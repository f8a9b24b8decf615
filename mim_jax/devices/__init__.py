"""Meshes, processes, simulated machines, and the compiled programs that run on them."""
