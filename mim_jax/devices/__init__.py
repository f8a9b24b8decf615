"""Meshes, processes, machines that are not here, and what was compiled for them."""
