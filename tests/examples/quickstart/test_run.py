"""The quickstart's own parts around veRL: its command line, logs and metrics, watching a process. veRL is not run.

The process watched in these tests is a script of a few lines that writes what veRL would; the real one is a slow test.
"""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from examples.quickstart.__main__ import app
from examples.quickstart.command import KEPT, SPLITS, Folders, copyable, hydra_value, override_key, training_command
from examples.quickstart.make_model import make_model
from examples.quickstart.memory import PeakMemory, family_bytes
from examples.quickstart.metrics import Lines, header_line, parse_row, step_line
from examples.quickstart.run import Stages, make_world
from examples.quickstart.settings import QuickstartSettings
from examples.quickstart.training import PHASES, StartUp, train
from retrieval_index import open_index
from wapo_verl.evaluation.verl_process import end_family, last_errors, plain
from wapo_verl.watch.processes import is_running

ROW = {
    "step": 3,
    "data": {
        "critic/score/mean": 0.25,
        "reward/exact_match/mean": 0.25,
        "group/winner_fraction": 0.125,
        "actor/entropy": 0.5,
        "actor/ratio_max": 1.0001,
        "training/rollout_probs_diff_mean": 2.5e-4,
        "timing_s/step": 3.21,
        "val-aux/miniwiki/exact_match/mean@1": 0.75,
        "val-core/miniwiki/reward/mean@1": 0.7,
        "broken": None,
    },
}
FOLDERS = Folders(Path("/somewhere/a run"))


def parsed(overrides: list[str]) -> dict[str, object]:
    return {item.key_or_group: item.value() for item in OverridesParser.create().parse_overrides(overrides)}


def test_the_command_trains_with_wapo_and_the_settings_numbers() -> None:
    settings = QuickstartSettings()
    command = training_command(FOLDERS, settings, seed=7)
    assert command[:3] == [sys.executable, "-m", "verl.trainer.main_ppo"]
    values = parsed(command[3:])
    assert values["algorithm.adv_estimator"] == "wapo"
    assert values["data.train_files"] == "/somewhere/a run/data/train.parquet"
    assert values["data.seed"] == 7
    assert values["data.train_batch_size"] == settings.prompts_per_step
    assert values["actor_rollout_ref.rollout.n"] == settings.group_size
    assert values["actor_rollout_ref.actor.optim.lr"] == settings.learning_rate
    assert values["trainer.total_training_steps"] == settings.steps
    assert values["trainer.test_freq"] == settings.validate_every
    assert values["wapo.search_agent.index.train"] == "/somewhere/a run/index/train"
    assert values["wapo.search_agent.index.test"] == "/somewhere/a run/index/test"
    assert values["trainer.logger"] == ["console", "file"]


def test_an_override_takes_the_place_of_the_own_value() -> None:
    overrides = ["trainer.total_training_steps=2", "+wapo.search_agent.top_k=1"]
    command = training_command(FOLDERS, QuickstartSettings(), 0, overrides)
    assert command[-2:] == overrides
    for override in overrides:
        assert [argument for argument in command[3:] if override_key(argument) == override_key(override)] == [override]


@pytest.mark.parametrize("key", KEPT)
def test_what_the_report_needs_cannot_be_overridden(key: str) -> None:
    with pytest.raises(ValueError, match=key.replace(".", r"\.")):
        training_command(FOLDERS, QuickstartSettings(), 0, [f"{key}=x"])


@pytest.mark.parametrize("text", ["", "40", "trainer.total_training_steps", "--steps", "=3"])
def test_what_is_no_override_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no override for veRL"):
        override_key(text)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"], exclude_characters="$"), min_size=1))
def test_hydra_reads_a_quoted_text_back(text: str) -> None:
    (value,) = parsed([f"a.b={hydra_value('path ' + text)}"]).values()
    assert str(value) == "path " + text


def test_the_copyable_block_is_the_command_for_a_shell() -> None:
    command = training_command(FOLDERS, QuickstartSettings(), 0)
    variable, *words = shlex.split(copyable(command, FOLDERS.metrics).replace("\\\n", " "))
    assert variable == "VERL_FILE_LOGGER_PATH=/somewhere/a run/metrics.jsonl"
    assert words == command


def test_lines_come_once_and_only_when_they_are_finished(tmp_path: Path) -> None:
    file = tmp_path / "log"
    lines = Lines(file)
    assert lines.new() == []
    for written, seen in ((b"a\nb", ["a"]), (b"c\n", ["bc"]), (b"", []), (b"\xff\n", ["�"])):
        with file.open("ab") as stream:
            stream.write(written)
        assert lines.new() == seen


def test_a_row_is_read_and_shown_on_one_line() -> None:
    row = parse_row(json.dumps(ROW))
    assert row.trained
    assert row.held_out == 0.75
    assert "broken" not in row.values
    assert step_line(row).split() == ["3", "0.250", "0.250", "0.125", "0.500", "1.0001", "2.5e-04", "3.2", "0.750"]
    assert len(step_line(row)) == len(header_line())


def test_a_validation_alone_has_dashes_for_the_rest() -> None:
    row = parse_row('{"step": 0, "data": {"val-core/miniwiki/exact_match/mean@4": 0.5}}')
    assert not row.trained
    assert row.held_out == 0.5
    assert step_line(row).split() == ["0", *"–" * 7, "0.500"]


@pytest.mark.parametrize(
    "line", ["", "{", "[]", '{"step": 1}', '{"step": "x", "data": {}}', '{"step": 1.5, "data": {}}', "[" * 100_000]
)
def test_another_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a line of veRL's file logger"):
        parse_row(line)


def test_phases_are_seen_once_and_in_order() -> None:
    start_up = StartUp()
    assert start_up.doing == PHASES[0].doing
    assert start_up.see_line("nothing", 1.0) is None
    assert start_up.see_line("(TaskRunnerV1 pid=1) INFO: actor and ref model engine initialized", 2.0) == "actor ready"
    assert start_up.doing == "starting vLLM"
    assert start_up.see_line("Started a local Ray instance", 3.0) is None
    assert start_up.see_row(parse_row(json.dumps(ROW)), 9.0) == "first step"
    assert start_up.see_row(parse_row(json.dumps(ROW)), 10.0) is None
    assert start_up.doing == "training"
    assert start_up.seen == [("actor ready", 2.0), ("first step", 9.0)]


def test_the_last_errors_of_a_log() -> None:
    log = (
        "\x1b[36m(TaskRunnerV1 pid=12)\x1b[0m ValueError: the first reason\n"
        "ValueError: the first reason\n"
        "ray.exceptions.RayTaskError(KeyError): ray::run() (pid=3)\n"
        "0%|  |\r50%| |\n" + "noise\n" * 50 + "the end\n"
    )
    shown = last_errors(log)
    assert shown == [
        "ValueError: the first reason",
        "ray.exceptions.RayTaskError(KeyError): ray::run() (pid=3)",
        "noise",
        "the end",
    ]
    assert plain("\x1b[36m(vLLMHttpServer pid=1)\x1b[0m (EngineCore pid=2) x") == "(EngineCore pid=2) x"


def test_watching_a_process(tmp_path: Path) -> None:
    script = (
        "import json, os, pathlib, sys\n"
        "print('Started a local Ray instance', flush=True)\n"
        f"pathlib.Path(os.environ['VERL_FILE_LOGGER_PATH']).write_text({json.dumps(ROW)!r} + '\\n')\n"
        "print('ValueError: a reason'); sys.exit(3)\n"
    )
    (tmp_path / "metrics.jsonl").write_text("left over from an earlier run")
    shown = io.StringIO()
    done = train(
        [sys.executable, "-c", script],
        tmp_path / "train.log",
        tmp_path / "metrics.jsonl",
        Console(file=shown, width=200),
    )
    assert done.status == 3
    assert [phase for phase, _ in done.start_up] == ["Ray up", "first step"]
    assert [row.step for row in done.rows] == [3]
    assert "ValueError: a reason" in (tmp_path / "train.log").read_text()
    assert header_line() in shown.getvalue()
    assert step_line(done.rows[0]) in shown.getvalue()
    assert [parse_row(line) for line in Lines(tmp_path / "metrics.jsonl").new()] == list(done.rows)


def test_a_process_is_ended_with_what_it_started() -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    process = subprocess.Popen([sys.executable, "-c", script])
    family: list[psutil.Process] = []
    for _ in range(100):
        family = psutil.Process(process.pid).children()
        if family:
            break
        time.sleep(0.05)
    end_family(process, patience=1.0)
    assert process.poll() is not None
    assert family
    assert not any(map(is_running, family))


def test_peak_memory_is_of_the_whole_family() -> None:
    with PeakMemory() as memory:
        pass
    assert memory.peak_bytes > 10e6
    assert family_bytes() > 10e6


FORKED = """
import os, psutil, signal
from examples.quickstart.memory import family_bytes
pages = bytearray(os.urandom(100_000_000))
alone = family_bytes()
child = os.fork()
if not child:
    signal.pause()
both = family_bytes()
resident = psutil.Process().memory_info().rss + psutil.Process(child).memory_info().rss
os.kill(child, 9)
print(alone, both, resident)
"""


def test_memory_that_two_processes_share_counts_once() -> None:
    """A forked child has all pages of the process that it came from."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    alone, both, resident = map(int, done.stdout.split())
    assert both < alone + 20e6
    assert resident > alone + 100e6


def test_the_world_and_its_index_are_made_once(tmp_path: Path) -> None:
    shown = io.StringIO()
    folders, settings = Folders(tmp_path), QuickstartSettings()
    for _ in range(2):
        make_world(folders, settings, 3, Stages(Console(file=shown, width=300)))
    assert (folders.data / "train.parquet").is_file()
    assert (folders.data / "test.parquet").is_file()
    assert shown.getvalue().count("the index at") == 2
    assert shown.getvalue().count("of these documents already") == 2


def test_no_search_in_training_can_find_what_is_held_out(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    make_world(folders, QuickstartSettings(), 3, Stages(Console(file=io.StringIO())))
    train, test = (open_index(folders.index / split) for split in SPLITS)
    rows = pq.read_table(folders.data / "test.parquet").to_pylist()
    for row in rows:
        for gold in row["reward_model"]["ground_truth"]["document_ids"]:
            assert test.get(gold) is not None
            assert train.get(gold) is None


def test_a_folder_that_holds_something_else_is_no_place_for_the_model(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("not to be lost")
    with pytest.raises(ChildProcessError, match="status 1"):
        make_model(tmp_path, seed=0)
    assert "holds no warm start" in " ".join(capfd.readouterr().out.split())
    assert (tmp_path / "mine.txt").is_file()


def test_a_wrong_override_is_one_sentence(tmp_path: Path) -> None:
    done = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, ["--out", str(tmp_path / "x"), "fast"])
    assert done.exit_code == 1
    assert "error: 'fast' is no override for veRL" in done.output
    assert not (tmp_path / "x").exists()
