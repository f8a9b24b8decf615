"""Array functions without parameters."""
