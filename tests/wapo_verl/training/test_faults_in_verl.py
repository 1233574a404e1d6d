"""Slow: real runs that lose a process. The whole campaign is `benchmarks/faults.py`, its table is docs/faults.md.

Nothing is replaced: veRL, Ray, FSDP2 and vLLM. Two runs of one command: the first loses its agent loops' worker and
ends at once; the second resumes, past a note that was left empty and a checkpoint that was left half, and its main
process is killed.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.faults import FAULTS, SETTINGS, Outcome, Run, files_left, observe
from examples.quickstart.command import Folders
from examples.quickstart.run import Stages, make_world
from wapo_verl.data.json_lines import read_json_lines
from wapo_verl.training.whole_checkpoints import newest_whole

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@dataclass
class Story:
    """What the two runs did.

    Attributes:
        first, second: how they ended.
        pid: the worker that was killed.
        whole: the step of the newest whole checkpoint after the first run.
        rows: the metrics file after the second.
        said: the second's output.
    """

    first: Outcome
    second: Outcome
    pid: int
    whole: int
    rows: list[dict[str, Any]]
    said: list[str]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, warm_model: Path) -> Story:
    folders, before = Folders(tmp_path_factory.mktemp("faults")), files_left()
    make_world(folders, SETTINGS, 0, Stages(Console(quiet=True)))
    shutil.copytree(warm_model, folders.model)
    run = Run(folders)
    try:
        run.wait_for_step(2)
        pid = run.strike(FAULTS["agent-loop-killed"])
        first = observe(run, run.last_step, before)
    finally:
        run.kill()
    checkpoints = folders.out / "checkpoints"
    whole = newest_whole(checkpoints, ["actor"])
    assert whole is not None
    (checkpoints / "latest_checkpointed_iteration.txt").write_text("")
    (checkpoints / "global_step_90" / "actor").mkdir(parents=True)
    again = Run(folders)
    try:
        again.wait_for_step(first.step + 2)
        again.strike(FAULTS["main-killed"])
        second = observe(again, again.last_step, before)
    finally:
        again.kill()
    return Story(first, second, pid, whole, read_json_lines(folders.metrics), again.lines)


def test_a_dead_agent_loop_ends_the_run_with_its_name_within_a_minute(story: Story) -> None:
    """Case 1 of runs.md: it hung for ever."""
    assert story.first.ended is not None
    assert story.first.ended < 60
    assert story.first.status == 1
    said = story.first.sentences[-1]
    assert said.startswith(
        f"wapo-verl: the run ends, since AgentLoopWorkerTQ (process {story.pid}) has died; the last whole "
    )
    assert f"is that of step {story.whole}, which the same command resumes from" in said


@pytest.mark.parametrize("which", ["first", "second"])
def test_nothing_is_left_behind(story: Story, which: str) -> None:
    """Cases 2 and 3 of runs.md: shared memory, sockets and Ray's agents were."""
    outcome: Outcome = getattr(story, which)
    assert outcome.leftovers == []
    assert outcome.cleaned < 30


def test_the_same_command_resumes_from_the_newest_whole_checkpoint(story: Story) -> None:
    """Case 4 of runs.md: it ended with `invalid literal for int() with base 10: ''`."""
    told = [line for line in story.said if "holds no step" in line]
    assert len(told) == 1
    assert told[0].endswith(f"training resumes from step {story.whole}, the newest whole checkpoint")


def test_the_metrics_go_on_where_they_were(story: Story) -> None:
    """Case 7 of runs.md: those of the first run were gone."""
    steps = [row["step"] for row in story.rows]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= story.first.step + 2
