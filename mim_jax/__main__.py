"""`python -m mim_jax` is `mim-jax`."""

import sys

from mim_jax.cli.main import main

sys.exit(main())
