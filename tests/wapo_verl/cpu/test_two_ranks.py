"""Slow: a planned update of WAPO by the FSDP2 engine over gloo; two ranks move the weights as one. No GPU, no Ray.

Every process is veRL's own training worker with the real loss; only the batch is made here.
"""

import json
from pathlib import Path

import pytest
import torch
from support.ranks import run_ranks, write_tiny_model

WORKER = Path(__file__).with_name("two_ranks_worker.py")

pytestmark = pytest.mark.slow


def update(folder: Path, ranks: int, micro_batch: int) -> tuple[dict[str, torch.Tensor], dict]:
    """Run one update on `ranks` processes; return the weights after it and the metrics."""
    out = folder / f"{ranks}-{micro_batch}"
    run_ranks(WORKER, [str(folder / "model"), str(out), str(micro_batch)], ranks)
    return torch.load(out.with_suffix(".pt")), json.loads(out.with_suffix(".json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two_ranks")
    write_tiny_model(folder / "model")
    return folder


def test_two_ranks_update_as_one(folder: Path) -> None:
    one, one_metrics = update(folder, ranks=1, micro_batch=8)
    two, two_metrics = update(folder, ranks=2, micro_batch=2)
    moved = max(float((one[name] - start).abs().max()) for name, start in initial(folder).items())
    assert moved > 1e-4, "the update moved nothing, so the comparison would show nothing"
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, rtol=0, atol=moved * 1e-3, msg=name)
    assert two_metrics["grad_norm"] == pytest.approx(one_metrics["grad_norm"], rel=1e-5)
    assert 0 < one_metrics["taxonomy/kept_fraction"] < 1
    exact = {name for name in one_metrics if name.startswith(("taxonomy/", "ratio_", "clip_", "behaviour_"))}
    assert len(exact) > 30
    for name in exact | {"update_entropy", "entropy_loss", "pg_loss"}:
        assert two_metrics[name] == pytest.approx(one_metrics[name], rel=1e-4, abs=1e-9), name


def initial(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model" / "model.safetensors")
