"""The viewer's server: who may ask, what is answered, and what its pages may do. No browser."""

import json
import shutil
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from support.recorded_run import completion, words, write_run
from typer.testing import CliRunner

from wapo_verl.cli.app import app as command
from wapo_verl.viewer.app import STATIC, create_app
from wapo_verl.viewer.export import MOST_BYTES, bundle, export
from wapo_verl.viewer.runs import ViewError, open_runs

TOKEN = "secret"
STEP = "/api/runs/0/sets/rollouts/steps/1"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def client(run: Path, token: str | None = None) -> httpx.Client:
    return TestClient(create_app(open_runs([run]), token), base_url="http://localhost")


def test_without_the_token_nothing_is_told(run: Path) -> None:
    asked = client(run, TOKEN)
    for path in ("/", "/api/runs", f"{STEP}/groups"):
        answer = asked.get(path)
        assert answer.status_code == 403
        assert "run" not in answer.text.replace("wapo-verl view", "")
    assert asked.get("/api/runs?token=wrong").status_code == 403
    assert asked.get("/api/runs?token=%C3%A9").status_code == 403


def test_the_token_of_the_address_is_kept_as_a_cookie(run: Path) -> None:
    asked = client(run, TOKEN)
    first = asked.get(f"/?token={TOKEN}")
    assert first.status_code == 200
    assert "httponly" in first.headers["set-cookie"].lower()
    assert "samesite=strict" in first.headers["set-cookie"].lower()
    assert asked.get("/api/runs").json()[0]["name"] == "run"


def test_nothing_can_be_changed(run: Path) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client(run).request(method, "/api/runs").status_code == 405


def test_pages_may_load_from_here_alone(run: Path) -> None:
    for path in ("/", "/api/runs", "/static/main.js", "/nowhere"):
        policy = client(run).get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
    for file in STATIC.iterdir():
        text = file.read_text(encoding="utf-8")
        assert "innerHTML" not in text
        assert "https://" not in text
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")


def test_what_the_page_asks_for(run: Path) -> None:
    asked = client(run)
    groups = asked.get(f"{STEP}/groups").json()["groups"]
    assert [len(group["completions"]) for group in groups] == [4, 4]
    name = groups[0]["group"]
    members = asked.get(f"{STEP}/group", params={"group": name}).json()
    assert members[0]["tokens"] is None
    whole = asked.get(f"{STEP}/completion", params={"key": members[0]["key"]}).json()
    assert whole["tokens"]["mask"] == [1, 0, 1]
    assert len(asked.get(f"{STEP}/question", params={"question": "Question 0?"}).json()) == 4
    worst = asked.get(f"{STEP}/worst", params={"rule": "reward_drop", "most": 3}).json()
    assert all(each["score"] == 0 for group in groups for each in group["completions"] if each["key"] in worst)
    assert asked.get("/api/runs/0/metrics").json()["values"]["actor/entropy"][0] == 1.0


@pytest.mark.parametrize(
    "path",
    [
        "/api/runs/7/metrics",
        "/api/runs/0/sets/none/steps/1/groups",
        "/api/runs/0/sets/rollouts/steps/99/groups",
        f"{STEP}/group?group=none",
        f"{STEP}/completion?key=none",
        "/api/runs/0/sets/..%2F..%2Fetc/steps/1/groups",
        "/static/../app.py",
    ],
)
def test_what_is_not_there_is_said(run: Path, path: str) -> None:
    answer = client(run).get(path)
    assert answer.status_code == 404
    assert "/static" in path or answer.json()["error"]


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    (tmp_path / "rollouts").mkdir()
    line = json.dumps(completion(0, 0, 1.0, words(0))).replace('"advantage": 0.5', '"advantage": 1e999', 1)
    (tmp_path / "rollouts" / "1.jsonl").write_text(line + "\n")
    answer = client(tmp_path).get(f"{STEP}/groups")
    assert answer.status_code in (200, 404)
    assert "Infinity" not in answer.text


def test_an_export_is_one_small_file_that_needs_nothing(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.html"
    (opened,) = open_runs([run])
    assert export(opened, "rollouts", 2, file) == file.stat().st_size < MOST_BYTES
    text = file.read_text()
    assert "/static/" not in text.replace("/static/main.js", "") or 'src="/static' not in text
    assert "import {" not in bundle()
    with pytest.raises(ViewError, match="no records 'none'"):
        export(opened, "none", 2, file)


def test_an_export_stays_below_its_limit(tmp_path: Path) -> None:
    (tmp_path / "rollouts").mkdir()
    lines = [completion(group, 0, 1.0, ("a" * 200_000, "b", "</script><!--" * 100)) for group in range(40)]
    (tmp_path / "rollouts" / "1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    file = tmp_path / "out.html"
    assert export(open_runs([tmp_path])[0], "rollouts", 1, file) <= MOST_BYTES
    text = file.read_text()
    assert text.count("</script>") == 2
    assert '"left_out":' in text


def test_an_export_holds_no_number_that_a_browser_cannot_read(tmp_path: Path) -> None:
    line = completion(0, 0, 1.0, words(0)) | {"score": float("nan")}
    (tmp_path / "1.jsonl").write_text(json.dumps(line) + "\n")
    export(open_runs([tmp_path])[0], "records", 1, tmp_path / "out.html")
    assert "NaN" not in (tmp_path / "out.html").read_text().partition('id="data">')[2].partition("</script>")[0]


def test_the_terminal_shows_the_worst(run: Path) -> None:
    done = CliRunner().invoke(command, ["show", str(run), "--step", "1", "--worst", "1"])
    assert done.exit_code == 0, done.output
    assert "Fladglade" in done.output
    assert "missed documents: Vonursel/birthplace" in done.output.replace("\n", " ").replace("│", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "RUN", "--step", "99"], "run has no step 99 of rollouts; it has 1 to 3"),
        (["view", "RUN", "--step", "99", "--export", "out.html"], "run has no step 99 of rollouts; it has 1 to 3"),
        (["show", "RUN", "--question", "zebra"], "no prompt of rollouts step 3 holds 'zebra'"),
        (["show", "RUN", "--worst", "1", "--best", "1"], "keep one of --worst and --best"),
        (["show", "RUN/empty.jsonl"], "empty.jsonl holds no completion"),
        (["show", "RUN/rows.jsonl"], "rows.jsonl, line 1, is no completion: its keys are question, answer"),
        (["show", "RUN/cut.jsonl"], "cut.jsonl holds no whole completion"),
        (["show", "."], ". holds 2 runs: give one of them, such as"),
        (["view", "RUN/empty.jsonl", "--export", "out.html"], "empty.jsonl holds no completion"),
        (["view", "RUN", "other", "--export", "out.html"], "--export writes one run: give one path"),
        (["view", "RUN", "--export", "gone/out.html"], "gone/out.html: No such file or directory"),
        (["view", "RUN", "--step", "1"], "--set and --step belong to --export"),
        (["view", "RUN", "--port", "99999"], "--port 99999 is none: choose one from 0 to 65535"),
    ],
)
def test_a_mistake_is_one_sentence(run: Path, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    write_run(run.parent / "other", steps=1)
    (run / "empty.jsonl").touch()
    (run / "cut.jsonl").write_text('{"input": "q", "outp')
    (run / "rows.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    done = CliRunner().invoke(command, [each.replace("RUN", run.name) for each in arguments])
    assert done.exit_code == 1, done.output
    assert done.output.startswith("error: ")
    assert said in done.output.replace("\n", " ")


def test_metrics_without_records_say_what_writes_records(run: Path) -> None:
    shutil.rmtree(run / "rollouts")
    done = CliRunner().invoke(command, ["show", str(run)])
    assert done.exit_code == 1
    assert "run has metrics alone: trainer.rollout_data_dir=... makes a run write its completions" in done.output


def test_a_terminal_is_not_driven_by_a_policy(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", text=("\x1b[2J\x1b]0;x\x07", "\u202e", "x"))
    done = CliRunner().invoke(command, ["show", str(run), "--worst", "1"])
    assert "\x1b" not in done.output
    assert "\u202e" not in done.output


def test_an_episode_of_one_turn_has_no_outcome(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=1)
    file = run / "rollouts" / "1.jsonl"
    lines = [json.dumps(json.loads(line) | {"episode": None}) for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines) + "\n")
    done = CliRunner().invoke(command, ["show", str(run), "--worst", "1"])
    assert done.exit_code == 0, done.output
    assert "rollouts step 1: reward 0 " in done.stdout
    file.write_text("\n".join(json.dumps(json.loads(line) | {"gts": None}) for line in file.read_text().splitlines()))
    done = CliRunner().invoke(command, ["show", str(run), "--worst", "1"])
    assert "right:" not in done.stdout


def test_a_failed_episode_is_shown_as_failed_and_is_neither_best_nor_worst(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=1)
    file = run / "rollouts" / "1.jsonl"
    first, *others = file.read_text().splitlines()
    failed = json.loads(first) | {"score": None, "failure": "retriever", "failure_message": "no index"}
    failed["episode"] |= {"outcome": "failed", "failure": "retriever", "answer": None}
    file.write_text("\n".join([json.dumps(failed), *others]) + "\n")
    done = CliRunner().invoke(command, ["show", str(run), "--worst", "1"])
    assert "reward 0, answered" in done.stdout
    done = CliRunner().invoke(command, ["show", str(run), "--best", "8"])
    titles = [line for line in done.stdout.splitlines() if "rollouts step 1: " in line]
    assert [("failed (retriever)" in title) for title in titles] == [False] * 7 + [True]
