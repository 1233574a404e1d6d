"""What slow tests share: one warm-started tiny model, since making it takes most of a minute."""

from pathlib import Path

import pytest

from examples.quickstart.make_model import make_model


@pytest.fixture(scope="session")
def warm_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's model of seed 0, as `make quickstart` makes it. It is to be copied, never written into."""
    folder = tmp_path_factory.mktemp("warm_model") / "model"
    make_model(folder, 0)
    return folder
