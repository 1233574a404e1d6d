"""The task of long answers: its questions, its imperfect demonstrations, and a run of two real steps. No GPU."""

import json
import random
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks.study import chain
from benchmarks.study.cell import Seed, run_cell
from benchmarks.study.records import is_finished, write_record
from benchmarks.study.settings import TASKS, Cell, ChainSettings
from benchmarks.study.task import model_folder, prepare_files
from examples.quickstart.settings import QuickstartSettings, WarmStartSettings
from examples.quickstart.tokenizer import make_tokenizer
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.registry import environment

DIGIT_ROWS = st.lists(st.integers(0, 9), min_size=1, max_size=80)
SMALL = ChainSettings(
    steps=2,
    validate_every=2,
    validation_questions=8,
    links=4,
    train_questions=16,
    task=QuickstartSettings(prompts_per_step=4, group_size=4, max_turns=1, max_turn_tokens=8),
)


def follows(digits: list[int], answer: list[int]) -> list[bool]:
    """Whether each link goes on rightly from the one before it."""
    return [link == (before + digit) % 10 for digit, before, link in zip(digits, [0, *answer], answer, strict=False)]


@given(DIGIT_ROWS)
def test_a_link_is_the_last_digit_of_the_sum_so_far(digits: list[int]) -> None:
    assert chain.sums(digits) == [total % 10 for total in accumulate(digits)]
    assert all(follows(digits, chain.sums(digits)))


@given(DIGIT_ROWS, st.integers())
def test_a_demonstration_goes_on_from_its_mistakes(digits: list[int], seed: int) -> None:
    assert chain.with_mistakes(digits, 0.0, random.Random(seed)) == chain.sums(digits)
    assert not any(follows(digits, chain.with_mistakes(digits, 1.0, random.Random(seed))))


def test_the_share_of_wrong_links_is_the_one_asked_for() -> None:
    wrong = 0
    for first, second in chain.conversations(0, ChainSettings(links=20)):
        digits, answer = first["content"].split(), second["content"].split()[1:-1]
        wrong += follows([*map(int, digits)], [*map(int, answer)]).count(False)
    assert wrong / (20 * chain.DEMONSTRATIONS) == pytest.approx(0.05, abs=0.002)


def test_only_the_whole_answer_is_right() -> None:
    (question, answer), *others = chain.questions("test", 3, ChainSettings(validation_questions=3))
    assert [chain.written(chain.sums([*map(int, question.split())]))] == [answer]
    assert len({question, *(other for other, _ in others)}) == 3
    assert chain.questions("test", 3, ChainSettings(validation_questions=3))[0] == (question, answer)
    assert chain.questions("train", 3, ChainSettings())[0][0] != question
    truth = {"answers": [answer], "document_ids": []}
    score = environment("miniwiki").score
    assert score(Episode(answer=answer, turns=1), truth)["score"] == 1.0
    for link in range(64):
        digits = answer.split()
        digits[link] = str((int(digits[link]) + 1) % 10)
        assert score(Episode(answer=" ".join(digits), turns=1), truth)["score"] == 0.0
    assert score(Episode(answer=answer[:-2], turns=1), truth)["score"] == 0.0


def test_question_and_answer_fit_into_their_limits() -> None:
    settings = TASKS["chain"]
    assert isinstance(settings, ChainSettings)
    tokenizer = make_tokenizer()
    (messages, *_) = chain.conversations(0, settings)
    prompt = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert len(tokenizer(prompt)["input_ids"]) <= settings.task.max_prompt_tokens
    assert len(tokenizer(messages[1]["content"])["input_ids"]) == 64 + 2 < settings.task.max_turn_tokens


def test_a_run_from_its_warm_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lesson = WarmStartSettings(batch_size=16, warm_up_steps=5, max_plateau_steps=30, decay_steps=10, passage_weight=0.0)
    monkeypatch.setattr(chain, "lesson", lambda settings: lesson)
    monkeypatch.setattr(chain, "DEMONSTRATIONS", 200)
    console = Console(quiet=True)
    prepare_files(tmp_path, 0, SMALL, console)
    weights = model_folder(tmp_path, 0) / "model.safetensors"
    made = weights.stat().st_mtime_ns
    prepare_files(tmp_path, 0, SMALL, console)
    assert weights.stat().st_mtime_ns == made, "it is kept"
    model_folder(tmp_path, 1).mkdir()
    (model_folder(tmp_path, 1) / "notes.txt").write_text("of someone else")
    with pytest.raises(ValueError, match="seed-1 exists and holds no warm start"):
        prepare_files(tmp_path, 1, SMALL, console)
    cell = Cell("wapo", 1e-3, 2, 0)
    steps = list(run_cell(cell, Seed(tmp_path, 0, SMALL)))
    assert [step["step"] for step in steps] == [0, 1, 2]
    assert steps[2]["episode/turns/mean"] == 1
    assert steps[2]["val/answer_rate"] > 0.5, "it has learned how an answer is given"
    write_record(tmp_path, cell, SMALL, steps, {})
    assert is_finished(tmp_path, cell, SMALL)
    header = json.loads(next((tmp_path / "cells").iterdir()).read_text().splitlines()[0])
    assert header["settings"]["links"] == 4
