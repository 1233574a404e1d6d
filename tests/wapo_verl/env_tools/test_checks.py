"""What check-env finds: for every check a verifier or rows that fail it, and no other. No veRL, no GPU."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wapo_verl.cli.app import app
from wapo_verl.env_tools.attacks import ATTACKS, look_alike
from wapo_verl.env_tools.row_choice import rows_of
from wapo_verl.env_tools.scaffold import make
from wapo_verl.env_tools.soundness import NOTES, TELLS, Soundness, check_environment
from wapo_verl.environments import installed, registry
from wapo_verl.environments.environment import RESERVED_PARTS

LOGGED = '"format": '  # a part of the template that weighs nothing
SINGLE = "        answer = extract_answer(episode.completion, THINK)\n"
SEARCH = (
    '        return Example(question=raw.text("question"), answers=(raw.text("answer"),), '
    "document_ids=tuple(documents))\n"
)
PARTS = """
    def parts(self, episode, ground_truth):
        found = super().parts(episode, ground_truth)
        answer, gold = episode.answer or "", ground_truth["answers"][0]
        {body}
        return found
"""
Make = Callable[..., str]


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes an environment, with pieces of its code replaced."""
    monkeypatch.setattr(installed, "__path__", list(installed.__path__))
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    made: list[str] = []

    def make_one(kind: str, **changes: str) -> str:
        name = f"zz_{tmp_path.name.replace('-', '_').lower()}_{len(made)}"
        make(name, kind, tmp_path)
        made.append(name)
        file = tmp_path / name / "__init__.py"
        code = file.read_text()
        for old, text in changes.items():
            before = {"single": SINGLE, "search": SEARCH, "logged": LOGGED}[old]
            assert before in code
            code = code.replace(before, text)
        file.write_text(code)
        return name

    return make_one


def check(name: str, twice: bool = False) -> Soundness:
    return check_environment(rows_of(name), twice=twice)


def failed(found: Soundness) -> set[str]:
    return {finding.check for finding in found.failures}


@pytest.mark.parametrize("kind", ["math", "retrieval"])
def test_a_new_environment_is_sound(kind: str, new: Make) -> None:
    found = check(new(kind), twice=True)
    assert found.sound
    assert set(found.tallies) <= set(TELLS)
    assert all(tally.checked for tally in found.tallies.values())


@pytest.mark.parametrize("name", ["example", "fraction", "none", "true", "mapping", "raw_row", "any"])
@pytest.mark.parametrize("kind", ["math", "retrieval"])
def test_a_new_environment_may_have_the_name_of_what_its_code_imports(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "__path__", list(installed.__path__))
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    make(name, kind, tmp_path)
    assert check(name).sound


HANGING = (
    SINGLE
    + """        if answer is not None and "e" in answer:
            10 ** int(answer.partition("e")[2])
"""
)


def test_a_verifier_that_hangs_over_a_number_is_found(new: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wapo_verl.env_tools.checks.HANGS_S", 0.5)
    found = check(new("math", single=HANGING))
    assert failed(found) == {"hostile number"}
    assert {finding.problem for finding in found.failures} == {
        "raises TimeoutError: no score after 0.5 s; bound its time, or refuse such answers"
    }


def test_a_verifier_that_raises_over_a_number_is_found(new: Make) -> None:
    raising = "        answer = None if answer is None else str(__import__('decimal').Decimal(answer) + 0)\n"
    assert "hostile number" in failed(check(new("math", single=SINGLE + raising)))


def test_a_verifier_that_is_paid_for_the_problems_own_formula_is_found(new: Make, tmp_path: Path) -> None:
    name = new("math", single=SINGLE + "        answer = answer and str(eval(answer))\n")
    rows = [{"question": f"What is $7 + {number}$?", "answer": str(7 + number)} for number in range(3)]
    (tmp_path / name / "sample" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "problem's formula" in failed(check(name))


@pytest.mark.parametrize(
    ("body", "fails"),
    [
        ('answer = episode.completion.split("Answer: ")[-1] or None', {"answer in think"}),
        ('answer = episode.completion.partition("\\n")[0] or None', {"gold", "prompt echo"}),
        ('answer = ground_truth["answers"][0]', {"empty", "wrong answer"}),
    ],
)
def test_a_naive_reading_of_a_completion_is_found(body: str, fails: set[str], new: Make) -> None:
    assert fails <= failed(check(new("math", single=f"        {body}\n")))


@pytest.mark.parametrize("part", sorted(RESERVED_PARTS))
def test_a_part_with_a_name_that_verl_reserves_is_refused(part: str, new: Make) -> None:
    found = check(new("math", logged=f'"{part}": '))
    (problem,) = {failure.problem for failure in found.failures if failure.check in ("gold", "parts")}
    assert f"has a reward part {part!r}, a name that stands for" in problem
    assert "rename it" in problem


def test_a_verifier_that_raises_is_found(new: Make) -> None:
    found = check(new("math", single="        answer = episode.completion.split()[-1]\n"))
    problem = next(item.problem for item in found.failures if item.check == "empty")
    assert problem == "raises IndexError: list index out of range"


@pytest.mark.parametrize(
    ("body", "fails"),
    [
        ('found["exact_match"] = float(gold in answer)', {"answer stuffing", "very long"}),
        ('found["exact_match"] = float(gold in answer + episode.completion)',
         {"prompt echo", "answer in think", "answer in results", "look-alike tags"}),
        ('found["exact_match"] = float(bool(answer))', {"wrong answer", "look-alike letters"}),
        ('found["exact_match"] = float("nan") if not answer else found["exact_match"]', {"empty", "parts"}),
        ('found["exact_match"] = float(not answer or answer == gold)', {"empty"}),
        ('found["exact_match"] *= 0.5', {"gold"}),
    ],
)  # fmt: skip
def test_a_verifier_that_can_be_hacked_is_found(body: str, fails: set[str], new: Make) -> None:
    found = check(new("retrieval", search=SEARCH + PARTS.format(body=body)))
    assert fails <= failed(found), found.failures


def test_weights_that_add_up_to_1_but_for_rounding_are_sound(new: Make) -> None:
    assert 0.7 + 0.2 + 0.1 != 1.0
    weights = '    reward_weights = {"exact_match": 0.7, "f1": 0.2, "retrieval_recall": 0.1}\n'
    code = SEARCH + PARTS.format(body='found["format"] = 1.0') + weights
    assert check(new("retrieval", search=code)).sound
    too_much = weights.replace("0.7", "0.8")
    assert failed(check(new("retrieval", search=code.replace(weights, too_much)))) == {"gold"}


def test_a_verifier_that_depends_on_the_process_is_found(new: Make) -> None:
    body = 'found["format"] = float(hash(gold) % 1000)'
    found = check(new("retrieval", search=SEARCH + PARTS.format(body=body)), twice=True)
    assert failed(found) == {"another process"}


def test_a_verifier_that_remembers_is_found(new: Make) -> None:
    body = 'self.calls = getattr(self, "calls", 0) + 1; found["format"] = float(self.calls)'
    assert "same score" in failed(check(new("retrieval", search=SEARCH + PARTS.format(body=body))))


def test_rows_that_parquet_cannot_hold_are_found(new: Make) -> None:
    found = check(new("retrieval", search=SEARCH.replace("(documents))", "(documents), extra={'note': None})")))
    assert failed(found) == {"schema"}
    assert "extra_info.note" in found.failures[0].problem


def write_rows(name: str, split: str, questions: list[str], tmp_path: Path) -> None:
    lines = [json.dumps({"question": question, "answer": "4"}) for question in questions]
    (tmp_path / name / "sample" / f"{split}.jsonl").write_text("\n".join(lines))


def test_overlap_fails_and_duplicates_are_told(new: Make, tmp_path: Path) -> None:
    name = new("math")
    write_rows(name, "train", ["What is 2+2?", "What is 3+1?", "what is  2+2?"], tmp_path)
    write_rows(name, "test", ["What is 5-1?", "what is 3+1?"], tmp_path)
    found = check(name)
    assert failed(found) == {"overlap"}
    assert [(item.split, item.row, item.problem) for item in found.failures] == [
        ("train", 1, "asks what test row 1 asks")
    ]
    (told,) = NOTES
    assert [(item.row, item.problem) for item in found.tallies[told].first] == [(2, "asks what row 0 asks")]


def test_a_gold_completion_without_the_answer_word_for_word_is_named(new: Make) -> None:
    name = new("math")
    file = Path(os.environ[registry.VARIABLE]) / name / "__init__.py"
    file.write_text(file.read_text().replace("Answer: {answer}", "Answer: {float(_number(answer))}"))
    assert any("cannot be tried" in finding.problem for finding in check(name).failures)


def test_look_alikes_look_alike_and_are_other_letters() -> None:
    assert look_alike("Cape 10") != "Cape 10"
    assert look_alike("Cape 10").translate(str.maketrans("Сареl", "Cape1")) == "Cape 1O"
    assert look_alike("Bug") != "Bug"
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_the_command_names_failing_rows_and_ends_with_1(new: Make) -> None:
    sound = runner.invoke(app, ["check-env", new("math")])
    assert sound.exit_code == 0, sound.output
    name = new("retrieval", search=SEARCH + PARTS.format(body='found["exact_match"] *= 0.5'))
    done = runner.invoke(app, ["check-env", name, "--split", "test", "--limit", "1"])
    assert done.exit_code == 1
    assert "test row 0, gold: the gold episode scores 0.5, not 1 (exact_match 0.5" in done.output
    assert f"{name} fails 1 check(s)" in done.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["hotpot"], "no environment 'hotpot'"),
        (["miniwiki", "--split", "dev"], "has no split 'dev'"),
        (["miniwiki", "--limit", "0"], "--limit must be at least 1"),
        (["miniwiki", "--agent", "solo"], "is not played by 'solo'"),
        (["miniwiki", "--set", "colour=red"], "has no option 'colour'"),
        (["hotpotqa", "--source", "gone"], "there is no file or folder gone"),
        (["miniwiki", "--source", "hub"], "has no data set on the Hugging Face hub"),
    ],
)
def test_a_mistake_ends_with_one_sentence(arguments: list[str], problem: str) -> None:
    done = runner.invoke(app, ["check-env", *arguments])
    assert done.exit_code == 1
    assert problem in done.output
    assert "Traceback" not in done.output


def test_missing_files_are_named(new: Make, tmp_path: Path) -> None:
    name = new("math")
    (tmp_path / name / "sample" / "test.jsonl").unlink()
    (tmp_path / name / "sample" / "train.jsonl").unlink()
    assert "holds no test split" in runner.invoke(app, ["check-env", name]).output
    (tmp_path / name / "sample").rmdir()
    assert "its folder has no sample/" in runner.invoke(app, ["check-env", name]).output
    (tmp_path / name / "__init__.py").write_text("def broken(:\n")
    registry.forget()
    registry._load.cache_clear()
    broken = new("math")
    (tmp_path / broken / "__init__.py").write_text("def broken(:\n")
    done = runner.invoke(app, ["check-env", broken])
    assert done.exit_code == 1
    assert "__init__.py, line 1: invalid syntax" in done.output
    (tmp_path / broken / "__init__.py").unlink()
    registry.forget()
    assert "has no __init__.py" in runner.invoke(app, ["check-env", broken]).output
