"""Slow: the real thing. A run whose searches go over HTTP trains on while its server is killed and started again.

Nothing is replaced: veRL, Ray, FSDP2, vLLM, the service as a process of its own.
"""

import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.ports import free_port
from support.service import Service

from examples.quickstart.command import Folders, training_command
from examples.quickstart.run import Stages, make_world
from examples.quickstart.settings import QuickstartSettings
from examples.quickstart.training import train
from wapo_verl.data.json_lines import read_json_lines

STEPS, PROMPTS, GROUP = 4, 8, 4
AWAY_S = 3.0

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@dataclass
class Outage:
    """Kills the server when the first step is over, and starts it again at the same port a while later."""

    index: Path
    metrics: Path
    service: Service
    port: int
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not (self.metrics.exists() and self.metrics.read_text().count("\n")):
            time.sleep(0.02)
        self.service.kill()
        time.sleep(AWAY_S)
        self.service = Service(self.index, port=self.port)
        assert self.service.address
        self.over.set()


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory, warm_model: Path) -> list[dict[str, Any]]:
    """Train through the outage, and return the metrics step by step."""
    folders, quiet = Folders(tmp_path_factory.mktemp("outage")), Console(quiet=True)
    settings = QuickstartSettings(prompts_per_step=PROMPTS, group_size=GROUP)
    make_world(folders, settings, 0, Stages(quiet))
    shutil.copytree(warm_model, folders.model)
    port = free_port()
    service = Service(folders.index / "train", port=port)
    address = service.address
    outage = Outage(folders.index / "train", folders.metrics, service, port)
    threading.Thread(target=outage.run, daemon=True).start()
    overrides = [
        f"+wapo.search_agent.index.train={address}",
        "+wapo.search_agent.cached_queries=0",
        f"trainer.total_training_steps={STEPS}",
        "trainer.val_before_train=False",
        "trainer.test_freq=-1",
    ]
    try:
        done = train(training_command(folders, settings, 0, overrides), folders.log, folders.metrics, quiet)
    finally:
        outage.service.kill()
    assert done.status == 0, folders.log.read_text(errors="replace")[-5000:]
    assert outage.over.is_set()
    return [row["data"] for row in read_json_lines(folders.metrics)]


def test_every_step_is_made_with_every_episode(steps: list[dict[str, Any]]) -> None:
    assert len(steps) == STEPS
    for step in steps:
        assert step["episode/count"] == PROMPTS * GROUP
        assert step["retrieval/queries"] >= step["episode/searches/mean"] * PROMPTS * GROUP > 0
        assert step["retrieval/cache_hits"] == 0


def test_the_outage_is_seen_and_loses_nothing(steps: list[dict[str, Any]]) -> None:
    """Which of the later steps it meets depends on the machine; most often it is the second."""
    before, *later = steps
    assert before["retrieval/failed_attempts"] == 0
    assert sum(step["retrieval/failed_attempts"] for step in later) > 0
    assert max(step["retrieval/latency_s/max"] for step in later) > AWAY_S / 2
    for step in later:
        assert step["retrieval/retries"] == step["retrieval/failed_attempts"]
        assert step["episode/outcome/answered"] > 0.5
