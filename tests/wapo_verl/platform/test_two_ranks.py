"""Slow: WAPO's update by veRL's FSDP2 engine over gloo; two ranks move the weights as one does. No GPU, no Ray.

Every process is veRL's own training worker with the real loss; only the batch is made here.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("two_ranks_worker.py")

pytestmark = pytest.mark.slow


def update(folder: Path, ranks: int, micro_batch: int) -> tuple[dict[str, torch.Tensor], dict]:
    """Run one update on `ranks` processes; return the weights after it and the metrics."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = folder / f"{ranks}-{micro_batch}"
    environment = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(ranks),
        "OMP_NUM_THREADS": "1",
    }
    arguments = [str(folder / "model"), str(out), str(micro_batch)]
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), *arguments],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-3000:]
    return torch.load(out.with_suffix(".pt")), json.loads(out.with_suffix(".json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from wapo_verl.quickstart.model import make_model
    from wapo_verl.quickstart.tokenizer import make_tokenizer

    folder = tmp_path_factory.mktemp("two_ranks")
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder / "model")
    make_model(tokenizer, seed=0).save_pretrained(folder / "model")
    return folder


def test_two_ranks_update_as_one(folder: Path) -> None:
    one, one_metrics = update(folder, ranks=1, micro_batch=8)
    two, two_metrics = update(folder, ranks=2, micro_batch=2)
    moved = max(float((one[name] - start).abs().max()) for name, start in initial(folder).items())
    assert moved > 1e-4, "the update moved nothing, so the comparison would show nothing"
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, rtol=0, atol=moved * 1e-3, msg=name)
    assert two_metrics["grad_norm"] == pytest.approx(one_metrics["grad_norm"], rel=1e-5)
    assert two_metrics["ratio_mean"] == pytest.approx(one_metrics["ratio_mean"], rel=1e-6)
    assert two_metrics["ratio_max"] == pytest.approx(one_metrics["ratio_max"], rel=1e-6)


def initial(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model" / "model.safetensors")
