"""MATH-500 and NuminaMath-LEAN: files, prompts, reward parts, hacks. Real worker processes, no GPU, no veRL."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.paths import DATA, ROOT

from wapo_verl.environments.environment import Environment, Example, RowError
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.math.algebra import same_expression
from wapo_verl.environments.math.equivalence import EQUAL, Unreadable, compare
from wapo_verl.environments.math.extraction import FORMATS, extract_answer, written
from wapo_verl.environments.math.verifier import MOST_WARNINGS
from wapo_verl.environments.registry import environment

NAMES = ("math500", "numinamath_lean")
REAL_ROWS = DATA / "math500" / "test.jsonl"
SAMPLES = {name: environment(name).sample_source() or Path() for name in NAMES}
NO_ANSWER = dict.fromkeys(
    ("correct", "exact_match", "format", "copied", "unparsed", "gold_unparsed", "timed_out", "worker_died"), 0.0
)


def read(name: str, split: str, source: Path, **options: Any) -> list[Example]:
    return list(environment(name).examples(split, source, **options))


def rows_of(name: str, split: str, **options: Any) -> list[dict[str, Any]]:
    env = environment(name)
    return [env.row(example, split, index) for index, example in enumerate(read(name, split, SAMPLES[name], **options))]


def parts(env: Environment, row: dict[str, Any], completion: str) -> dict[str, float]:
    return env.parts(Episode(None, completion=completion), row["reward_model"]["ground_truth"])


def parts_of(gold: str, answer: str, match: str = "equivalent") -> dict[str, float]:
    truth = {"answers": [gold], "answer_format": "think", "match": match, "problem": "What is it?"}
    return environment("math500").parts(Episode(None, completion=written(answer, "think")), truth)


def shared_golds() -> list[str]:
    if not REAL_ROWS.is_file():
        pytest.skip(f"no real MATH-500 rows at {REAL_ROWS}")
    return [example.answers[0] for example in read("math500", "test", REAL_ROWS)]


@pytest.mark.parametrize("answer_format", FORMATS)
def test_every_gold_answer_of_math500_scores_one_in_both_formats(answer_format: str) -> None:
    golds = shared_golds()
    assert len(golds) == 250
    env = environment("math500")
    for index, example in enumerate(read("math500", "test", REAL_ROWS, answer_format=answer_format)):
        row = env.row(example, "test", index)
        score = env.score(env.gold_episode(row), row["reward_model"]["ground_truth"])
        assert score == {"score": 1.0, **NO_ANSWER, "correct": 1.0, "exact_match": 1.0, "format": 1.0}


def test_every_gold_answer_of_math500_is_itself_by_its_meaning_too() -> None:
    """Written otherwise where that can be done blindly, so that equal strings do not settle it."""
    for gold in sorted(set(shared_golds())):
        otherwise = re.sub(r"\\d?frac(?=\{)", r"\\dfrac", gold).replace("(", r"\left(").replace(")", r"\right)")
        assert compare(gold, f"$ {otherwise} $", same_expression) == EQUAL
        assert compare(otherwise, gold, same_expression) == EQUAL


def test_the_algebra_finds_gold_expressions_of_math500_equal_to_themselves() -> None:
    expressions = {gold for gold in shared_golds() if re.search(r"sqrt|pi|matrix|\^|[a-z] ?=", gold)}
    expressions = {gold for gold in expressions if not re.search(r"text|mbox|circ|\\in|infty|\(|pm|\$", gold)}
    assert len(expressions) >= 15
    assert all(same_expression(gold, f" {gold}") for gold in expressions)
    with pytest.raises(Unreadable, match="cannot read the gold answer"):
        same_expression("{", "1")


def test_gold_answers_of_math500_differ_from_one_another() -> None:
    """The verifier is no yes-sayer: of the plain numbers among them each equals itself alone."""
    numbers = sorted({gold for gold in shared_golds() if re.fullmatch(r"-?[0-9]+", gold)})
    assert len(numbers) > 50
    assert [(a, b) for a in numbers for b in numbers if a != b and compare(a, b, same_expression) == EQUAL] == []


def test_gold_answers_of_math500_with_one_figure_changed_are_refused() -> None:
    changed = {
        gold: re.sub(r"([0-9])([^0-9]*)$", lambda found: f"{(int(found[1]) + 1) % 10}{found[2]}", gold)
        for gold in shared_golds()
        if re.search("[0-9]", gold) and not re.search(r"\^[{]?[0-9]", gold)
    }
    assert len(changed) > 100
    assert [pair for pair in changed.items() if compare(*pair, same_expression) == EQUAL] == []


def test_the_examples_of_the_documentation_hold() -> None:
    page = (ROOT / "docs" / "envs" / "math500.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (equal|different|unparsed) \|$", page, re.MULTILINE)
    assert len(rows) > 15
    assert [(gold, answer, compare(gold, answer, same_expression)) for gold, answer, _ in rows] == rows
    numbers = [parts_of("13", answer)["correct"] for answer in ("13 boxes", "13.0", "26/2", "$13$", "12.99999")]
    assert numbers == [1.0, 1.0, 1.0, 1.0, 0.0]
    assert parts_of("13", r"\frac{\sqrt{676}}{2}")["correct"] == 1.0


def test_parts_say_why_there_is_no_reward() -> None:
    right = {**NO_ANSWER, "correct": 1.0, "format": 1.0}
    assert parts_of(r"\frac{1}{2}", r"\frac{1}{2}") == {**right, "exact_match": 1.0}
    assert parts_of(r"\frac{1}{2}", "0.5") == right
    assert parts_of(r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}") == right
    assert parts_of(r"\frac{1}{2}", "0.25") == {**NO_ANSWER, "format": 1.0}
    assert parts_of(r"\frac{1}{2}", r"\frac{1}{") == {**NO_ANSWER, "format": 1.0, "unparsed": 1.0}
    assert parts_of(r"\frac{1}{2}", "1" * 5_000) == {**NO_ANSWER, "format": 1.0, "unparsed": 1.0}
    assert parts_of(r"\frac{1}{", "5") == {**NO_ANSWER, "format": 1.0, "gold_unparsed": 1.0}
    assert parts_of(r"\frac{1}{2}", "") == NO_ANSWER


def test_answers_that_cannot_be_read_are_logged_the_first_of_them_as_warnings(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wapo_verl.environments.math.verifier._unread", count())
    caplog.set_level(logging.INFO, "wapo_verl.environments.math.verifier")
    for _ in range(MOST_WARNINGS):
        assert parts_of("5", "(1,2")["unparsed"] == parts_of(r"\frac{1}{", "5")["gold_unparsed"] == 1.0
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned[:2] == [
        "math verifier: unparsed, gold '5', answer '(1,2'",
        r"math verifier: gold_unparsed, gold '\\frac{1}{', answer '5'",
    ]
    assert len(warned) == MOST_WARNINGS + 1
    assert "further answers that cannot be read are logged at level INFO" in warned[-1]
    assert len(caplog.records) == 2 * MOST_WARNINGS + 1


@pytest.mark.parametrize("verdict", ["timed_out", "worker_died"])
def test_an_answer_that_no_worker_judged_is_counted(verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wapo_verl.environments.math.environment.verify", lambda *_: verdict)
    assert parts_of("1", "2") == {**NO_ANSWER, "format": 1.0, verdict: 1.0}


def test_the_strict_match_is_an_option() -> None:
    assert parts_of(r"\frac{1}{2}", r"\frac{1}{2}", "exact")["correct"] == 1.0
    assert parts_of(r"\frac{1}{2}", "0.5", "exact")["correct"] == 0.0
    assert {row["reward_model"]["ground_truth"]["match"] for row in rows_of("math500", "test", match="exact")} == {
        "exact"
    }
    for name in NAMES:
        with pytest.raises(ValueError, match="option 'match' is equivalent or exact, not 'loose'"):
            rows_of(name, "test", match="loose")
        with pytest.raises(ValueError, match="option 'answer_format' is think or boxed, not 'xml'"):
            rows_of(name, "test", answer_format="xml")


@pytest.mark.parametrize("answer_format", FORMATS)
@pytest.mark.parametrize("name", NAMES)
def test_prompts_ask_for_the_format_and_their_echo_earns_nothing(name: str, answer_format: str) -> None:
    env = environment(name)
    for row in rows_of(name, "train", answer_format=answer_format) + rows_of(name, "test", answer_format=answer_format):
        (message,) = row["prompt"]
        assert row["extra_info"]["question"] in message["content"]
        assert ("</think>" in message["content"]) == (answer_format == "think")
        assert ("\\boxed{}" in message["content"]) == (answer_format == "boxed")
        echo = message["content"]
        for completion in (
            echo,
            f"<think>{echo}</think>",
            f"<think></think>{echo}",
            f"<think></think>\n{echo}\n{echo}",
        ):
            assert parts(env, row, completion) == NO_ANSWER


def hacks(gold: str) -> list[str]:
    """Completions that hold the right answer and do not give it."""
    said = f"Answer: {gold} \\boxed{{{gold}}}"
    return [
        f"<think>{said}</think>",
        f"<think>{said}",
        f"<think>\n{said}\n</think>\nSo that is it.",
        f"</think>\nAnswer: {gold}, 987654321\n\\boxed{{{gold}, 987654321}}",
        f"</think>\nAnswer: 987654321 or {gold}\n\\boxed{{987654321 \\text{{ or }} {gold}}}",
        f"</think>\nAnswer: {gold}\nAnswer: 987654321\n\\boxed{{{gold}}} \\boxed{{987654321}}",
        f"</think>\nAnswer: {gold} = 987654321\n\\boxed{{{gold} = 987654321}}",
        f"</think>\nAnswer: 987654321 = {gold}\n\\boxed{{987654321 = {gold}}}",
        f"</think>\nAnswer: [{gold}, 987654321]\n\\boxed{{[{gold}, 987654321]}}",
        f"</think>\nAnswer: \\text{{it is {gold}}} 987654321\n\\boxed{{\\text{{it is {gold}}} 987654321}}",
        f"</think>\nAnswer\uff1a{gold}\n\\boxed\uff5b{gold}\uff5d",
        f"</think>\nAnswer: {gold} {'x ' * 5_000}\n\\boxed{{{gold} {'x ' * 5_000}}}",
        f"</think>\nAnswer:\n{gold}\n\\boxed{{{gold}",
        *(f"</think>\nAnswer: {text}\n\\boxed{{{text}}}" for text in hedges(gold)),
        f"</think>\nAnswer:\n$$987654321$$ or $${gold}$$\n\\boxed{{{gold}}}, \\boxed{{987654321}}",
        f"</think>\nAnswer: $${gold}$$ or $$987654321$$\n$x = \\boxed{{{gold}}}$ or $x = \\boxed{{987654321}}$",
    ]


def hedges(gold: str) -> list[str]:
    """Answers that say two things, one of them right."""
    return [
        rf"{gold} \approx 987654321",
        rf"987654321 \approx {gold}",
        rf"987654321 \text{{ (about }} {gold})",
        f"(A) {gold} (B) 987654321",
        f"(A) 987654321 (B) {gold}",
        rf"{gold} \text{{ cm}} = 987654321 \text{{ cm}}",
        rf"\{{{gold}, 987654321\}}",
        rf"{gold} \pm 987654321",
        rf"{gold}+987654321",
        f"{gold}**7",
        f"{gold} 987654321",
        rf"{gold} \text{{ or not }}",
        rf"\begin{{pmatrix}} {gold} \\ 987654321 \end{{pmatrix}}",
        f"987654321 < {gold}",
        f"x > {gold}",
        f"{gold}th of 987654321",
        f"not {gold}",
    ]


@pytest.mark.parametrize("answer_format", FORMATS)
@pytest.mark.parametrize("name", NAMES)
def test_hacks_do_not_pay(name: str, answer_format: str) -> None:
    env = environment(name)
    for row in rows_of(name, "train", answer_format=answer_format) + rows_of(name, "test", answer_format=answer_format):
        for completion in hacks(row["reward_model"]["ground_truth"]["answers"][0]):
            assert parts(env, row, completion)["correct"] == 0.0, completion[:200]


@pytest.mark.parametrize("answer_format", FORMATS)
def test_hacks_of_real_rows_do_not_pay(answer_format: str) -> None:
    env = environment("math500")
    shared_golds()
    for index, example in enumerate(read("math500", "test", REAL_ROWS, answer_format=answer_format)[::3]):
        if not re.search("^[01]$|= 0$", example.answers[0]):  # 1**7 is right, and so is .. = 0**7
            row = env.row(example, "test", index)
            for completion in hacks(example.answers[0]):
                assert parts(env, row, completion)["correct"] == 0.0, completion[:200]


def test_formulas_of_the_problem_are_no_answer() -> None:
    env, problems = environment("math500"), shared_golds() and read("math500", "test", REAL_ROWS)
    copied = 0
    for index, example in enumerate(problems[::4]):
        for formula in formulas(example.question):
            found = parts(env, env.row(example, "test", index), written(formula, "think"))
            assert found["correct"] == found["exact_match"], (formula, example.answers)
            copied += int(found["copied"])
    assert copied > 60


def formulas(problem: str) -> list[str]:
    """What stands between dollars or display brackets, and the sides of its equations."""
    found = [text for groups in _FORMULA.findall(problem) for text in groups if text]
    sides = [side for text in found for side in text.split("=")]
    return sorted({" ".join(text.split()).strip(" .,?") for text in found + sides} - {""})


_FORMULA = re.compile(r"\\\[(.+?)\\\]|\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)


def test_an_episode_that_ended_without_an_answer_scores_zero() -> None:
    truth = rows_of("math500", "test")[0]["reward_model"]["ground_truth"]
    episode = Episode(None, outcome="context_full", completion=written(truth["answers"][0], "think"))
    assert environment("math500").parts(episode, truth) == NO_ANSWER


# --- files


def math_rows() -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(SAMPLES["math500"].glob("train/*/*.json"))]


def write_lines(rows: list[dict[str, Any]], file: Path) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_array(rows: list[dict[str, Any]], file: Path) -> None:
    file.write_text(json.dumps(rows))


def write_parquet(rows: list[dict[str, Any]], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)


def test_math_is_read_from_its_own_folder() -> None:
    train = read("math500", "train", SAMPLES["math500"])
    assert [example.answers[0] for example in train] == ["18", "5,-2", r"\dfrac{3}{7}", "42"]
    assert [(example.extra["id"], example.extra["level"]) for example in train] == [
        ("algebra/1/0", 2), ("algebra/2/0", 1), ("number_theory/1/0", 1), ("number_theory/2/0", 0)
    ]  # fmt: skip
    assert {example.extra["subject"] for example in train} == {"Algebra", "Number Theory"}
    test = read("math500", "test", SAMPLES["math500"])
    assert next(example.extra["id"] for example in test) == "test/algebra/9001.json"


@pytest.mark.parametrize(
    ("file", "write"),
    [
        ("train.jsonl", write_lines),
        ("train.json", write_array),
        ("algebra/train-00000-of-00001.parquet", write_parquet),
        ("data/train-00000-of-00001.parquet", write_parquet),
    ],
)
def test_math_is_read_from_the_hubs_files(
    file: str, write: Callable[[list[dict[str, Any]], Path], None], tmp_path: Path
) -> None:
    write(math_rows(), tmp_path / file)
    assert environment("math500").available_splits(tmp_path) == ("train",)
    own, hub = (read("math500", "train", source) for source in (SAMPLES["math500"], tmp_path))
    assert [(example.question, example.answers) for example in hub] == [(each.question, each.answers) for each in own]


def test_maths_full_test_split_is_not_taken_for_math500(tmp_path: Path) -> None:
    write_parquet(math_rows(), tmp_path / "algebra" / "test-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="holds no test split of math500"):
        read("math500", "test", tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("solution", "no box", "solution"),
        ("solution", None, "solution"),
        ("problem", None, "problem"),
        ("type", " ", "subject"),
    ],
)
def test_a_malformed_problem_of_math_is_named(field: str, value: Any, named: str, tmp_path: Path) -> None:
    rows = math_rows()
    rows[1][field] = value
    write_lines(rows, tmp_path / "train.jsonl")
    with pytest.raises(RowError) as raised:
        read("math500", "train", tmp_path)
    assert raised.value.row == 1
    assert raised.value.field in (named, field)


def test_an_environments_own_mistake_names_the_row(tmp_path: Path) -> None:
    class Mistaken(type(environment("math500"))):
        def example(self, raw: Any) -> Example:
            return Example(**{"oops": raw.values["problem"]})

    write_lines(math_rows(), tmp_path / "train.jsonl")
    with pytest.raises(
        RowError, match=r"train\.jsonl, row 0, field '\(whole row\)': makes Mistaken\.example raise TypeError: "
    ):
        list(Mistaken().examples("train", tmp_path))


def test_an_answer_of_math_that_is_no_text_is_named(tmp_path: Path) -> None:
    rows = math_rows()
    rows[0]["answer"] = 2
    write_lines(rows, tmp_path / "train.jsonl")
    with pytest.raises(RowError, match=r"row 0, field 'answer': must be text that is not blank, not 2"):
        read("math500", "train", tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]", "5"])
def test_a_damaged_file_of_maths_folder_is_named(content: str, tmp_path: Path) -> None:
    file = tmp_path / "train" / "algebra" / "7.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(RowError, match=r"7\.json, row 0"):
        read("math500", "train", tmp_path)


def lean_rows(count: int) -> list[dict[str, Any]]:
    row = json.loads((SAMPLES["numinamath_lean"] / "train.jsonl").read_text().splitlines()[0])
    return [dict(row, uuid=str(number), problem=f"What is {number}?", answer=str(number)) for number in range(count)]


def test_numinamath_keeps_plain_numbers_of_the_right_kinds() -> None:
    kept = [
        example for split in ("train", "test") for example in read("numinamath_lean", split, SAMPLES["numinamath_lean"])
    ]
    assert sorted(example.answers[0] for example in kept) == ["-7.5", "13", "15000", "2/3", "36", "36", "5/2", "99"]
    assert {example.extra["kind"] for example in kept} == {"math-word-problem", "MCQ"}


ANSWERS = {
    **{"5": "5", " +5 ": "+5", "-5": "-5", "1,234,567": "1234567", "1,234.5": "1234.5", ".5": ".5", "-1/2": "-1/2"},
    **{5: "5", -0.5: "-0.5"},
    **dict.fromkeys(["1,23", "1/0", True, "x", "5%", r"\frac{1}{2}", "5.", "1 2", "", "\u0665", None]),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_counts_as_a_plain_number(answer: Any, tmp_path: Path) -> None:
    write_lines([dict(lean_rows(1)[0], answer=answer)], tmp_path / "train.jsonl")
    kept = read("numinamath_lean", "train", tmp_path)
    assert [example.answers[0] for example in kept] == ([ANSWERS[answer]] if ANSWERS[answer] else [])


def test_numinamath_holds_the_first_thousand_of_a_seeded_shuffle_out(tmp_path: Path) -> None:
    write_parquet(lean_rows(2_500), tmp_path / "data" / "train-00000-of-00001.parquet")
    train, test = (read("numinamath_lean", split, tmp_path) for split in ("train", "test"))
    assert (len(train), len(test)) == (1_500, 1_000)
    ids = [example.extra["id"] for example in test + train]
    assert sorted(map(str, ids), key=int) == [str(number) for number in range(2_500)]
    assert ids != sorted(map(str, ids), key=int)
    assert read("numinamath_lean", "test", tmp_path) == test
    assert {example.question for example in read("numinamath_lean", "test", tmp_path, seed=1)} != {
        example.question for example in test
    }
    assert len(read("numinamath_lean", "test", tmp_path, held_out=10)) == 10


def test_the_published_split_is_that_of_the_authors_code(tmp_path: Path) -> None:
    """Their rows: a number once commas and spaces are gone, shuffled by `datasets`, the first to test on."""
    rows = lean_rows(40)
    for number, answer in ((3, "1, 2"), (7, ".5"), (9, "x"), (11, "1,000")):  # the last is a number to both
        rows[number]["answer"] = answer
    write_lines(rows, tmp_path / "train.jsonl")
    theirs = [row for row in rows if row["answer"] not in (".5", "x")]
    order = datasets.Dataset.from_list([{"id": row["uuid"]} for row in theirs]).shuffle(seed=42)["id"][:]
    for split, expected in (("test", order[:10]), ("train", order[10:])):
        found = read("numinamath_lean", split, tmp_path, published_split=True, held_out=10)
        assert [example.extra["id"] for example in found] == [
            id_ for id_ in expected if id_ != "3"
        ]  # ours has no answer


def test_numinamath_says_what_it_left_out(tmp_path: Path) -> None:
    rows = lean_rows(6)
    for row, change in zip(rows, ({"answer": "$7$"}, {"answer": None}, {"question_type": "proof"}), strict=False):
        row.update(change)
    write_lines(rows, tmp_path / "train.jsonl")
    env = environment("numinamath_lean")
    assert env.selection("train", tmp_path) == {
        "kept": "question_type math-word-problem or MCQ, answer a plain number",
        "rows_read": 6,
        "other_question_type": 1,
        "answer_no_plain_number": 2,
        "held_out": 1,
    }
    assert environment("math500").selection("train", SAMPLES["math500"]) == {}


@pytest.mark.parametrize("held_out", [0, -1])
def test_numinamath_needs_rows_to_test_on(held_out: int) -> None:
    with pytest.raises(ValueError, match=f"option 'held_out' must be at least 1, not {held_out}"):
        read("numinamath_lean", "test", SAMPLES["numinamath_lean"], held_out=held_out)


def test_a_small_file_of_numinamath_holds_half_out(tmp_path: Path) -> None:
    write_lines(lean_rows(7), tmp_path / "train.jsonl")
    assert [len(read("numinamath_lean", split, tmp_path)) for split in ("train", "test")] == [4, 3]


def test_gold_answers_of_both_are_read_back_from_what_is_written() -> None:
    for name in NAMES:
        for split in ("train", "test"):
            for row in rows_of(name, split):
                gold = row["reward_model"]["ground_truth"]["answers"][0]
                assert [extract_answer(written(gold, answer_format), answer_format) for answer_format in FORMATS] == [
                    gold
                ] * 2
