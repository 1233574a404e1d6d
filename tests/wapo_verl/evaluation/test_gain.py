"""Slow: the quickstart's run is evaluated at steps 0, 20 and 40 by the one command that makes the README's table.

The evaluations say what the run's own validations said, and the comparison says that it gained.
"""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.quickstart.command import Folders
from wapo_verl.data.json_lines import read_json_lines

STEPS, EVERY, QUESTIONS, SAMPLES = 40, 20, 240, 4
EVALUATED = range(0, STEPS + 1, EVERY)

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.nightly]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, warm_model: Path) -> Path:
    """Train, and evaluate every checkpoint."""
    out = tmp_path_factory.mktemp("gain")
    shutil.copytree(warm_model, Folders(out).model)
    training = [sys.executable, "-m", "examples.quickstart", "--out", str(out), f"trainer.save_freq={EVERY}"]
    for command in (training, ["bash", "benchmarks/gain.sh", str(out)]):
        environment = {**os.environ, "PYTHON": sys.executable}
        done = subprocess.run(command, capture_output=True, text=True, timeout=2400, env=environment)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def comparison(run: Path) -> dict[str, Any]:
    """What the command wrote."""
    return dict(json.loads((run / "evaluations" / "comparison.json").read_text()))


@pytest.mark.parametrize("step", EVALUATED)
def test_an_evaluation_says_what_the_validation_said(run: Path, comparison: dict[str, Any], step: int) -> None:
    """Both sample: their means differ by chance alone, by at most 3.5 standard errors."""
    scores = [line["score"] for line in read_json_lines(Folders(run).validation / f"{step}.jsonl")]
    (summary,) = [each for each in comparison["summaries"] if each["evaluation"] == f"step_{step}"]
    assert (len(scores), summary["questions"], summary["samples"]) == (QUESTIONS, QUESTIONS, [SAMPLES, SAMPLES])
    told, found = sum(scores) / QUESTIONS, summary["metrics"]["mean"]
    error = math.hypot(math.sqrt(told * (1 - told) / QUESTIONS), found["standard_error"])
    assert abs(found["mean"] - told) <= 3.5 * error


def test_the_comparison_says_that_it_gained(comparison: dict[str, Any]) -> None:
    gains = {each["second"]: each for each in comparison["differences"] if each["metric"] == "mean"}
    assert gains.keys() == {"step_20", "step_40"}
    for gain in gains.values():
        assert gain["first"] == "step_0"
        assert gain["difference"]["estimate"]["low"] > 0.2
        assert gain["p_holm"] < 0.001
        assert gain["difference"]["won"] > gain["difference"]["lost"]
