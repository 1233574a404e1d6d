"""Where the checkout is, and where real slices of the benchmarks are, if this machine has any."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
DATA = Path(os.environ.get("WAPO_VERL_DATA", ROOT / "data"))
"""Real slices of the benchmarks: `hotpotqa/`, `math500/`, `ottqa/`. Tests that need them are skipped without."""
