"""What the tests of the set-up share: an empty virtual environment, since making one takes seconds."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bare_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds pip alone. It is to be copied, never installed into."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder
