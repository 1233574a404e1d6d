"""Slow, starts Ray: a driver without a GPU beside a cluster that `ray start` left on this machine (case 15)."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import TESTS
from support.ports import free_port
from support.processes import HIDDEN, found_in, python
from support.ranks import write_tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.ray]

RAY = Path(sys.executable).parent / "ray"
DRIVER = TESTS / "support" / "joining_run.py"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """A head with GPUs, as Ray has them where it sees an H100; its folder's path must be short for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    options = ["--num-cpus=4", "--num-gpus=2", '--resources={"accelerator_type:H100": 1}']
    options += [f"--port={free_port()}", "--include-dashboard=false", "--block"]
    head = subprocess.Popen(
        [RAY, "start", "--head", *options, "--disable-usage-stats"],
        env={**{name: value for name, value in os.environ.items() if name not in HIDDEN}, "RAY_TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (folder / "ray" / "ray_current_cluster").is_file():
            assert head.poll() is None, "ray start has ended"
            assert time.monotonic() < deadline, "ray start has not come up"
            time.sleep(0.5)
        yield folder
    finally:
        head.terminate()  # ends what it has started
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("overrides", "device"),
    [
        (["algorithm.adv_estimator=grpo"], "cuda"),
        (["algorithm.adv_estimator=wapo"], "cuda"),
        (["algorithm.adv_estimator=wapo", "trainer.device=cpu"], "cpu"),
    ],
    ids=["a plain run", "a run of ours", "a run of ours on the CPU"],
)
def test_a_run_joins_the_cluster_that_is_there(
    cluster: Path, tmp_path_factory: pytest.TempPathFactory, overrides: list[str], device: str
) -> None:
    """The settings of a Ray that is started here, which Ray refuses for one that is there, must not come."""
    model = write_tiny_model(tmp_path_factory.mktemp("model"))
    done = python(DRIVER, str(model), *overrides, folder=cluster)
    found = found_in(done)
    assert found["resources"] == {"CPU": 4.0, "GPU": 2.0}
    assert found["driver"] == device
    assert found["worker"] == device
