"""An evaluation with a stand-in for veRL's process, which answers some requests and dies: resuming, what is said."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support.samples import model_folder
from typer.testing import CliRunner

from wapo_verl.cli.app import app
from wapo_verl.environments.registry import environment
from wapo_verl.evaluation import run
from wapo_verl.evaluation.reading import read_evaluation
from wapo_verl.evaluation.rows import Wanted
from wapo_verl.evaluation.run import Settings, evaluate

STAND_IN = """
import sys
from pathlib import Path
from wapo_verl.evaluation.records import Sample
from wapo_verl.evaluation.requests import read_requests

folder, answers, status, failure = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] or None
with (folder / "samples.jsonl").open("ab") as stream:
    for request in read_requests(folder / "requests.jsonl"):
        for number in request.samples:
            if not answers:
                print("(TaskRunner pid=1) ValueError: the engine died", flush=True)
                sys.exit(status)
            answers -= 1
            question = request.question
            scores = None if failure else {"score": 1.0}
            place = (question.data_source, question.question_id, question.row, number)
            stream.write(Sample(*place, scores, failure, None, 1, 0, 1).line())
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    source = str(environment("math500").sample_source())
    model = model_folder(tmp_path / "model", max_position_embeddings=2048)
    return Settings((Wanted("math500", source),), str(model), tmp_path / "out", samples=3)


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, answers: int, status: int = 1, failure: str = "") -> None:
    script = textwrap.dedent(STAND_IN)
    arguments = [str(folder), str(answers), str(status), failure]
    monkeypatch.setattr(run, "verl_command", lambda *_: [sys.executable, "-c", script, *arguments])
    monkeypatch.setattr(run, "LOOK_EVERY_SECONDS", 0.05)


def numbers(folder: Path) -> list[tuple[str, int]]:
    lines = (folder / "samples.jsonl").read_text().splitlines()
    return [(json.loads(line)["question_id"], json.loads(line)["sample"]) for line in lines]


def test_it_resumes_without_asking_again_what_is_answered(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, settings.out, answers=5)
    questions = len(list(environment("math500").examples("test", environment("math500").sample_source())))
    with pytest.raises(ValueError, match="samples are missing: ValueError: the engine died") as caught:
        evaluate(settings)
    assert "the same command resumes" in str(caught.value)
    before = numbers(settings.out)
    assert len(before) == 5
    with (settings.out / "samples.jsonl").open("ab") as stream:
        stream.write(b'{"version":1,"data_sou')  # as a writer that is killed leaves it
    stand_in(monkeypatch, settings.out, answers=10_000, status=0)
    seen: list[tuple[str, int, int]] = []
    found = evaluate(settings, lambda *said: seen.append(said))
    after = numbers(settings.out)
    assert after[:5] == before
    assert len(after) == len(set(after)) == found.count == 3 * questions
    assert seen[-1] == ("sampling", 3 * questions, 3 * questions)
    assert set(read_evaluation(settings.out).sources) == {"math500"}


def test_what_is_complete_starts_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, settings.out, answers=10_000, status=0)
    evaluate(settings)
    monkeypatch.setattr(run, "verl_command", lambda *_: pytest.fail("veRL was started"))
    evaluate(settings)


def test_more_samples_are_added_to_those_that_are_there(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, settings.out, answers=10_000, status=0)
    first = evaluate(settings).count
    more = Settings(settings.wanted, settings.model, settings.out, samples=5)
    assert evaluate(more).count == first * 5 // 3
    other = Settings(settings.wanted, settings.model, settings.out, samples=5, temperature=0.5)
    with pytest.raises(ValueError, match=r"another evaluation, with temperature=1.0 where this one has 0.5"):
        evaluate(other)


def test_failures_are_kept_until_they_are_asked_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, settings.out, answers=10_000, status=0, failure="retriever")
    assert evaluate(settings).failed == evaluate(settings).count > 0
    stand_in(monkeypatch, settings.out, answers=10_000, status=0)
    again = Settings(settings.wanted, settings.model, settings.out, samples=3, ask_failed_again=True)
    assert evaluate(again).failed == 0


def test_two_do_not_write_into_one_folder(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock stays with veRL's process where the one that started it is killed."""
    stand_in(monkeypatch, settings.out, answers=10_000, status=0)
    settings.out.mkdir()
    with run._alone(settings.out) as lock:
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=(lock,)
        )
    with pytest.raises(ValueError, match="another evaluation writes into"):
        evaluate(settings)
    child.communicate(b"")
    evaluate(settings)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"samples": 0}, "--samples must be at least 1"),
        ({"temperature": -1.0}, "--temperature must be a number of at least 0"),
        ({"temperature": float("nan")}, "--temperature must be a number"),
        ({"top_p": 0.0}, "--top-p must be above 0"),
        ({"temperature": 0.0, "samples": 4}, "all samples of a question are the same"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings((), "m", Path("out"), **values)


def test_the_command_sums_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, settings.out, answers=10_000, status=0)
    source = environment("math500").sample_source()
    arguments = ["eval", f"math500={source}", "--model", settings.model, "--out", str(settings.out)]
    done = CliRunner().invoke(app, [*arguments, "--samples", "4", "data.max_response_length=64"])
    assert done.exit_code == 0, done.output
    assert "pass@4" in done.output
    assert (settings.out / "summary.md").is_file()
    assert json.loads((settings.out / "manifest.json").read_text())["overrides"] == ["data.max_response_length=64"]
    done = CliRunner().invoke(app, [*arguments, "--samples", "0"])
    assert done.exit_code == 1
    assert "--samples must be at least 1" in " ".join(done.output.split())
