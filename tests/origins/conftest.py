"""Tests of this folder share `goldens`, as the scripts in `make` do."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
