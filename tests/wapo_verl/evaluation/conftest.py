"""A small file of samples."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.samples import write_samples


@pytest.fixture
def evaluation_file(tmp_path: Path) -> Path:
    """Return a file of three questions with four samples each."""
    return write_samples(tmp_path / "a" / "samples.jsonl", [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]])
