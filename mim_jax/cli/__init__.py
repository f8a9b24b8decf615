"""The commands; arguments in and words out."""
