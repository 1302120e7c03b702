"""`python -m detzoo` is the command `detzoo`."""

import sys

from .cli import main

sys.exit(main())
