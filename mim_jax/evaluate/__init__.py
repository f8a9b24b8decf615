"""Evaluations of an encoder; evaluation(encode, data, seed) -> {name: number}."""
