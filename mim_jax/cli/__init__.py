"""The commands: arguments in, text out."""
