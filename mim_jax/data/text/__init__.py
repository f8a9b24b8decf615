"""Texts as chunks of bytes: sources, and views on the device."""

from mim_jax.data.text.byte_files import text_files as text_files
from mim_jax.data.text.byte_views import as_ids as as_ids
from mim_jax.data.text.byte_views import as_ids_in_training as as_ids_in_training
from mim_jax.data.text.python_topics import topics as topics
