"""What slow tests share: one warm-started tiny model, and one run that trains it."""

from pathlib import Path

import pytest
from support.quickstart_run import run_quickstart

from examples.quickstart.make_model import make_model


@pytest.fixture(scope="session")
def warm_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's model of seed 0, as `make quickstart` makes it. It is to be copied, never written into."""
    folder = tmp_path_factory.mktemp("warm_model") / "model"
    make_model(folder, 0)
    return folder


@pytest.fixture(scope="session")
def quickstart_run(tmp_path_factory: pytest.TempPathFactory, warm_model: Path) -> Path:
    """The folder of all that the quickstart's run wrote, in a few steps. It is to be read, never written into."""
    out = tmp_path_factory.mktemp("quickstart")
    run_quickstart(out, warm_model)
    return out
