"""Makes `fake_runs.py` importable: with importlib mode, tests have no folder of their own on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
