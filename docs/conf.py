"""How the site is built (`make docs`); what changes with the code is made by docs/generate."""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
# What is compiled here runs once.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import mim_jax  # noqa: E402
from docs import generate  # noqa: E402

project = "mim_jax"
author = copyright = "the mim_jax authors"
release = mim_jax.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
exclude_patterns = ["generate/**"]

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
add_module_names = False

highlight_language = "text"  # of blocks that name none: commands, trees
# A sidebar with every function, and an index of them, would be most of the build; search has them.
toc_object_entries = False
html_use_index = False

html_theme = "furo"
html_title = "mim_jax"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False


def setup(app):
  """Pages are made before Sphinx looks for them."""
  app.connect("config-inited", lambda app, config: generate.write())
  app.connect("autodoc-process-docstring", generate.api.docstring)
  app.connect("autodoc-process-signature", generate.api.signature)
