"""Linen blocks that encoders and predictors are built from."""
