"""Slow: an update of the winners alone moves the weights as the full batch's does. FSDP2 over gloo, no GPU, no Ray.

Every process is veRL's own training worker with the real loss and optimizer; only the batch is made here.
"""

import json
from pathlib import Path

import pytest
from support.ranks import run_ranks, write_tiny_model

WORKER = Path(__file__).with_name("update_worker.py")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[1, 2], ids=["one rank", "two ranks"])
def cases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("winners")
    model, found = write_tiny_model(folder / "model"), folder / "found.json"
    run_ranks(WORKER, [str(model), str(found)], request.param)
    return json.loads(found.read_text())


def test_the_weights_are_the_full_batchs(cases: dict[str, dict]) -> None:
    """Float32 rounding of weights of size 1 is 1e-7; Adam moves each of them by about the learning rate."""
    assert len(cases) == 10
    for name, case in cases.items():
        assert case["moved"] > 2e-4, f"{name}: nothing moved, so the comparison would show nothing"
        assert case["difference"] < 1e-6, name


def test_the_learning_rate_goes_on_once_a_batch(cases: dict[str, dict]) -> None:
    for name, case in cases.items():
        full, ours = case["rates"]
        assert ours == full, name


def test_fewer_rows_are_computed_on(cases: dict[str, dict]) -> None:
    for name, case in cases.items():
        full, ours = case["rows"]
        assert ours < full, name
