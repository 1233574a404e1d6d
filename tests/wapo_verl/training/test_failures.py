"""Failed episodes in the trainer: left out of every statistic, counted, and too many of them end the run. No Ray."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.algorithms.objective import ACTOR
from wapo_verl.environments.failures import REASONS
from wapo_verl.evaluation.verl_dumps import read_dump
from wapo_verl.rollout.failures import FAILURE, MESSAGE, FailureBudget
from wapo_verl.training.advantages import Rows, advantages
from wapo_verl.training.dump import without_rewards
from wapo_verl.training.failures import WINDOW, FailureBudgetError, FailureLedger

DEAD = {FAILURE: "retriever", MESSAGE: "RetrievalError: no index at world"}
BUG = {FAILURE: "verifier", MESSAGE: "KeyError: 'answers'"}
SLOW = {FAILURE: "timed_out", MESSAGE: "the verifier came to no verdict"}
ALL = FailureBudget(share=0.01, reasons=list(REASONS), undecided=True)
SEARCHES = FailureBudget(share=0.01, reasons=["retriever"], undecided=True)


# What a group is without its failed members.


@st.composite
def groups(draw: st.DrawFn) -> list[list[tuple[float, bool]]]:
    """Draw (reward, failed) of each completion of each group; somebody is left in the batch."""
    member = st.tuples(st.integers(0, 3).map(lambda tenths: tenths / 10), st.booleans())
    drawn = draw(st.lists(st.lists(member, min_size=1, max_size=5), min_size=1, max_size=4))
    return [*drawn, [(1.0, False), (0.0, False)]]


def rows_of(drawn: list[list[tuple[float, bool]]], failed: bool) -> Rows:
    """Return the rows with their failed members, or without; a failed one has the reward of the agent loop's worker."""
    kept = [
        (f"g{group}_{session}_0", {} if sound else DEAD, reward if sound else float("nan"))
        for group, members in enumerate(drawn)
        for session, (reward, lost) in enumerate(members)
        for sound in [not lost]
        if sound or failed
    ]
    keys, tags, rewards = zip(*kept, strict=True)
    return Rows(keys, tags, torch.tensor(rewards, dtype=torch.float64))


def asked(rows: Rows, name: str, **options: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return each key's advantage, as a share of the batch's rows by which veRL's average divides, and the metrics."""
    found, mask = ALGORITHMS[name], torch.tensor([[int(FAILURE not in tag)] * 2 for tag in rows.tags])
    given = found.default_options() | options
    values, metrics = advantages(rows, mask, [False] * len(mask), found, given, with_losers=True)
    if found.defaults[f"{ACTOR}.loss_agg_mode"] != "token-mean":  # which divides by the tokens of a mini-batch
        values = values / len(mask)
    return dict(zip(rows.keys, values.tolist(), strict=True)), metrics


CASES = [(name, {option: value}) for name, each in ALGORITHMS.items() for option, allowed in
         (each.options or {"": [""]}).items() for value in allowed]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_a_group_with_failed_members_is_the_group_without_them(name: str, options: dict[str, str]) -> None:
    options = {key: value for key, value in options.items() if key}

    @settings(max_examples=15)
    @given(groups())
    def check(drawn: list[list[tuple[float, bool]]]) -> None:
        values, metrics = asked(rows_of(drawn, failed=True), name, **options)
        expected, theirs = asked(rows_of(drawn, failed=False), name, **options)
        assert {key: values[key] for key in expected} == pytest.approx(expected, abs=1e-12)
        assert not any(value for key, value in values.items() if key not in expected)
        assert metrics == pytest.approx(theirs)

    check()


def test_one_that_is_left_alone_in_its_group_wins_nothing() -> None:
    values, metrics = asked(rows_of([[(1.0, False), (0.0, True)]], failed=True), "wapo")
    assert values["g0_0_0"] == 0.0
    assert metrics["group/count"] == 1.0
    assert metrics["group/all_equal"] == 1.0


def test_padding_that_was_copied_from_a_failed_row_is_padding() -> None:
    rows = Rows(["pad_0_0", "g_0_0", "g_1_0"], [{**DEAD, "is_padding": True}, {}, {}], torch.tensor([0.0, 1.0, 0.0]))
    values, _ = asked(rows, "wapo")
    assert values == pytest.approx({"pad_0_0": 0.0, "g_0_0": 0.25, "g_1_0": 0.0 - 0.25})


def test_a_reward_that_is_no_number_without_a_failure_still_ends_the_run() -> None:
    with pytest.raises(ValueError, match=r"row 0 has the reward nan"):
        asked(Rows(["g_0_0"], [{}], torch.tensor([float("nan")])), "wapo")


# The budget.


class Run:
    """A run's ledger, shown the rows of one step after the other; `episodes` a step."""

    def __init__(self, budget: FailureBudget, episodes: int) -> None:
        self.ledger, self.episodes, self.steps = FailureLedger(budget), episodes, 0

    def step(self, *failed: dict[str, str], looks: int = 2, extra: int = 0) -> dict[str, float]:
        """Play a step with these failures; of a batch with `extra` episodes more than planned."""
        self.steps += 1
        self.ledger.begin_step(self.episodes)
        count = self.episodes + extra
        tags = [*failed, *[{}] * (count - len(failed))]
        rows = {f"s{self.steps}_{session}_0": tag for session, tag in enumerate(tags)}
        for _ in range(looks):
            self.ledger.look({"train": rows}, {"train": {f"s{self.steps}"}})
        return self.ledger.metrics()


def test_what_failed_is_counted_by_reason_once_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(ALL.model_copy(update={"share": 0.05}), episodes=100)
    metrics = run.step(DEAD, DEAD, BUG, SLOW)
    assert metrics == {
        "failures/retriever": 2.0,
        "failures/context": 0.0,
        "failures/generation": 0.0,
        "failures/verifier": 1.0,
        "failures/timed_out": 1.0,
        "failures/share": 0.04,
    }
    assert run.step()["failures/share"] == 0.0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3, "the first of each reason is said"
    assert said[0].endswith("(retriever) and is left out, the first such: RetrievalError: no index at world")


def test_a_group_that_is_not_over_is_not_counted_yet() -> None:
    ledger = FailureLedger(ALL)
    ledger.begin_step(10)
    ledger.look({"train": {"a_0_0": DEAD, "b_0_0": {}}}, {"train": {"b"}})
    assert ledger.metrics()["failures/retriever"] == 0.0
    ledger.look({"train": {"a_0_0": DEAD, "b_0_0": {}}}, {"train": {"a", "b"}})
    assert ledger.metrics()["failures/retriever"] == 1.0


def test_several_outputs_of_one_episode_fail_once() -> None:
    ledger = FailureLedger(ALL)
    ledger.begin_step(10)
    ledger.look({"train": {"a_0_0": DEAD, "a_0_1": DEAD}}, {"train": {"a"}})
    assert ledger.metrics()["failures/retriever"] == 1.0


@pytest.mark.parametrize(("episodes", "allowed"), [(16, 1), (100, 1), (101, 2), (300, 3), (256, 3)])
def test_a_share_is_rounded_up_to_whole_episodes(episodes: int, allowed: int) -> None:
    Run(ALL, episodes).step(*[DEAD] * allowed)
    with pytest.raises(FailureBudgetError):
        Run(ALL, episodes).step(*[DEAD] * (allowed + 1))


def test_the_run_ends_with_every_reason_in_one_sentence() -> None:
    with pytest.raises(FailureBudgetError) as error:
        Run(ALL, episodes=256).step(DEAD, BUG, {**DEAD, MESSAGE: "RetrievalError: 500"}, SLOW)
    assert str(error.value) == (
        "wapo.failures.budget=0.01 is passed: 4 of 256 episodes of this step failed, and 3 may (2 retriever, the "
        "first: RetrievalError: no index at world; 1 verifier, the first: KeyError: 'answers'; 1 timed_out, the first: "
        "the verifier came to no verdict); repair what failed and resume the run, or raise the budget"
    )


def test_the_budget_holds_over_the_last_50_steps_too() -> None:
    """One failure in 60 episodes is within a step's budget, rounded up, but not step after step."""
    run = Run(ALL, episodes=60)
    run.step(DEAD)
    run.step(DEAD)  # 2 of 120
    with pytest.raises(FailureBudgetError, match=r"3 of 180 episodes of the last 3 steps failed, and 2 may"):
        run.step(DEAD)


def test_failures_of_more_than_50_steps_ago_are_forgotten() -> None:
    run = Run(ALL, episodes=10)
    run.step(DEAD)
    for _ in range(WINDOW - 1):
        run.step()
    run.step(*[DEAD] * 1)
    assert len(run.ledger._before) == WINDOW - 1


def test_what_is_not_in_the_budget_does_not_count_against_it() -> None:
    """A time-out of the verifier is left out of its group, but by default no number of them ends a run."""
    metrics = Run(SEARCHES, episodes=16).step(DEAD, *[SLOW] * 9)
    assert metrics["failures/timed_out"] == 9.0
    with pytest.raises(FailureBudgetError):
        Run(ALL, episodes=16).step(*[SLOW] * 2)


def test_a_group_filter_plays_more_episodes_than_a_batch_has() -> None:
    metrics = Run(ALL, episodes=100).step(*[DEAD] * 5, extra=400)
    assert metrics["failures/share"] == 0.01


def test_what_was_played_before_the_first_step_counts_as_the_first_steps() -> None:
    ledger = FailureLedger(ALL)
    ledger.look({"train": {"a_0_0": DEAD}}, {"train": {"a"}})
    ledger.begin_step(100)
    assert ledger.metrics()["failures/retriever"] == 1.0


def test_a_validation_has_a_budget_of_its_own() -> None:
    ledger = FailureLedger(ALL)
    for _ in range(2):
        ledger.begin_validation(100)
        ledger.look({"val": {"a_0_0": DEAD}}, {"val": {"a"}})
        ledger.look({"val": {}}, {"val": set()})
    assert ledger.metrics()["failures/retriever"] == 0.0, "what is logged is the step's"
    with pytest.raises(FailureBudgetError, match="2 of 100 episodes of this validation failed, and 1 may"):
        ledger.look({"val": {"b_0_0": DEAD}}, {"val": {"b"}})


# The dump.


def test_a_dumped_failure_has_its_reason_and_no_reward(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {FAILURE: [None, "retriever"], "reward": [1.0, float("nan")], "f1": [0.5, None]}
    scores, kept = without_rewards([1.0, float("nan")], columns)
    assert list(scores) == [1.0, None]
    assert kept == {FAILURE: [None, "retriever"], "reward": [1.0, None], "f1": [0.5, None]}
    lines = [{"input": "q", "output": "a", "gts": "x", "score": 1.0, "uid": "g_0_0", "f1": 0.5, FAILURE: None}]
    lines += [{"input": "q", "output": "", "gts": "x", "score": None, "uid": "g_1_0", "f1": None, **DEAD}]
    file = tmp_path / "1.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    samples = read_dump(file)[0][""]
    assert samples.failed() == {"retriever": 1}
    assert samples.without_failures().scores["score"].tolist() == [1.0]


def test_a_part_of_a_users_that_is_called_failure_is_no_failure() -> None:
    assert without_rewards([0.0], {FAILURE: [1.0]}) == ([0.0], {FAILURE: [1.0]})
