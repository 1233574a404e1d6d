"""Slow: two runs side by side on one machine, each with a Ray of its own, end as if each were alone.

Every local Ray calls its first job 01000000, so without a name of its own for each run's socket of weights, one run
reads the other's. Nothing is replaced: veRL, Ray, FSDP2 and vLLM, twice.
"""

import shutil
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.faults import SETTINGS, Run, files_left, observe
from examples.quickstart.command import Folders
from examples.quickstart.metrics import ROLLOUT_GAP
from examples.quickstart.run import Stages, make_world
from wapo_verl.data.json_lines import read_json_lines

STEPS = 3

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.nightly]


def test_two_runs_at_once_do_not_touch_each_other(tmp_path: Path, warm_model: Path) -> None:
    before, runs = files_left(), []
    try:
        for name in ("one", "other"):
            folders = Folders(tmp_path / name)
            make_world(folders, SETTINGS, 0, Stages(Console(quiet=True)))
            shutil.copytree(warm_model, folders.model)
            runs.append(Run(folders, f"trainer.total_training_steps={STEPS}", "trainer.save_freq=-1"))
        for run in runs:
            run.wait_for_step(1)
        assert all(run.process.poll() is None for run in runs), "they did not overlap"
        ends = [observe(run, run.last_step, before) for run in runs]
    finally:
        for run in runs:
            run.kill()
    for run, end in zip(runs, ends, strict=True):
        assert end.status == 0, run.lines[-20:]
        rows = read_json_lines(run.metrics)
        assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
        assert all(row["data"][ROLLOUT_GAP] < 1e-4 for row in rows), "a run samples with the other's weights"
    assert ends[-1].leftovers == []
