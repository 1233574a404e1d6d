"""Slow: the real thing. Every benchmark's CPU smoke recipe is run as a user would run it, and trains on real rows.

Nothing is replaced. Where the shared data is not there, and for NuminaMath-LEAN, the rows are the few that the package
has in the benchmark's layout. Fewer tokens than by default, so that the four runs stay within minutes.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.paths import DATA, ROOT

from wapo_verl.data.json_lines import read_json_lines
from wapo_verl.data.manifest import check

STEPS = 2

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@dataclass(frozen=True)
class Smoke:
    """A benchmark's smoke run: knobs, and what shows that it was this benchmark's."""

    benchmark: str
    split: str
    knobs: dict[str, str] = field(default_factory=dict)
    tools: bool = False


def real_rows(knob: str, place: Path) -> dict[str, str]:
    """The knob that names real rows; none where they are not there, as for a user who has no data yet."""
    return {knob: str(place)} if place.exists() else {}


SEARCHING = {"MAX_RESPONSE_LENGTH": "512", "MAX_TURN_TOKENS": "96", "MAX_TURNS": "4"}
SMOKES = (
    Smoke(
        "hotpotqa",
        "dev",
        {**real_rows("HOTPOTQA_FILE", DATA / "hotpotqa" / "distractor_sample.json"), **SEARCHING},
        tools=True,
    ),
    Smoke(
        "ottqa",
        "dev",
        {**real_rows("OTTQA_DIR", DATA / "ottqa"), **SEARCHING},
        tools=True,
    ),
    Smoke(
        "math500",
        "test",
        real_rows("MATH500", DATA / "math500"),
    ),
    Smoke("numinamath_lean", "train"),
)


def run(smoke: Smoke, out: Path) -> list[dict[str, Any]]:
    """Run the recipe; return veRL's metrics of each step."""
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "OUT": str(out),
        "STEPS": str(STEPS),
        "LOGGER": "[console,file]",
        "VERL_FILE_LOGGER_PATH": str(out / "metrics.jsonl"),
        **smoke.knobs,
    }
    script = ROOT / "recipes" / smoke.benchmark / "run_cpu_smoke.sh"
    command = ["bash", str(script), "data.seed=1"]
    done = subprocess.run(command, env=environment, cwd=out, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = read_json_lines(out / "metrics.jsonl")
    return [row["data"] for row in rows if row["step"] > 0]


NIGHTLY = {"hotpotqa", "math500", "numinamath_lean"}  # OTT-QA's has all that the others have, and tools


@pytest.mark.parametrize(
    "smoke",
    [pytest.param(each, marks=pytest.mark.nightly if each.benchmark in NIGHTLY else ()) for each in SMOKES],
    ids=lambda smoke: smoke.benchmark,
)
def test_it_trains_on_the_benchmarks_rows(smoke: Smoke, tmp_path: Path) -> None:
    steps = run(smoke, tmp_path)
    assert len(steps) == STEPS
    assert any(step["actor/skipped_steps"] == 0 and step["actor/grad_norm"] > 0 for step in steps), "a step was taken"
    for step in steps:
        assert 0 <= step["critic/score/mean"] < 1
        assert step["training/rollout_probs_diff_mean"] < 1e-5
        assert 0 < step["reward/format/mean"] < 1, "some of the random completions are well formed, none is right"
        assert ("episode/searches/mean" in step) == smoke.tools

    (manifest,) = [item for item in check(tmp_path / "data") if item.split == smoke.split]
    assert manifest.environment == smoke.benchmark
    rows = pq.read_table(tmp_path / "data" / f"{smoke.split}.parquet").to_pylist()
    questions = {row["extra_info"]["question"] for row in rows}
    for number in range(1, STEPS + 1):
        inputs = [line["input"] for line in read_json_lines(tmp_path / "rollouts" / f"{number}.jsonl")]
        assert all(any(question in text for question in questions) for text in inputs)
