"""How many episodes of a run may fail, and which settings cannot leave one out. veRL's own configuration; no GPU."""

from typing import Any

import pytest
from omegaconf import DictConfig
from support.runs import ROLLOUT, WAPO, changed, composed, resolve

from retrieval_index import Document, build_index
from wapo_verl.environments.failures import REASONS
from wapo_verl.rollout.failures import FailureBudget
from wapo_verl.settings.keys import SettingsError

BUDGET = ("wapo.failures.budget", 0.02)
OUR_REWARD = ("reward.custom_reward_function.path", "pkg://wapo_verl.reward")


@pytest.fixture(scope="module")
def run() -> DictConfig:
    return composed(WAPO)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The setting of a run that searches."""
    folder = tmp_path_factory.mktemp("failures") / "index"
    build_index([Document("a", "A", "a text")], folder)
    return "wapo.search_agent.index", str(folder)


def decided(config: DictConfig) -> tuple[FailureBudget, str]:
    """What a run's trainer and workers obey, and what is printed of it."""
    printed = resolve(config)
    lines = [line for line in printed.splitlines() if "wapo.failures.budget" in line]
    return FailureBudget.of(config), " ".join(" ".join(lines).split())


def test_without_searches_the_first_failure_ends_the_run(run: DictConfig) -> None:
    budget, printed = decided(changed(run))
    assert budget == FailureBudget()
    assert not printed


def test_of_a_run_that_searches_one_search_in_a_hundred_may_fail(run: DictConfig, index: tuple[str, str]) -> None:
    budget, printed = decided(changed(run, index))
    assert budget == FailureBudget(share=0.01, reasons=["retriever"], undecided=True)
    assert printed.startswith("wapo.failures.budget 0.01 search_agent share of a step's episodes that may fail in")


def test_a_budget_that_is_given_is_for_every_reason(run: DictConfig, index: tuple[str, str]) -> None:
    budget, printed = decided(changed(run, BUDGET, index))
    assert budget == FailureBudget(share=0.02, reasons=list(REASONS), undecided=True)
    assert "0.02 user" in printed
    assert decided(changed(run, BUDGET))[0].undecided is False, "another's reward says nothing of verdicts"


def test_a_budget_of_nothing_ends_a_run_that_searches_at_its_first_failure(
    run: DictConfig, index: tuple[str, str]
) -> None:
    budget, _ = decided(changed(run, ("wapo.failures.budget", 0.0), index))
    assert (budget.share, budget.reasons) == (0.0, [])


def test_a_verdict_that_is_none_is_no_zero_in_any_run_of_ours(run: DictConfig) -> None:
    assert decided(changed(run, OUR_REWARD))[0] == FailureBudget(undecided=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([("wapo.trainer", False)], "only this project's trainer leaves episodes out: leave out wapo.trainer=false"),
        ([("algorithm.adv_estimator", "grpo"), ("wapo.trainer", True)], "adv_estimator=grpo is veRL's and takes every"),
        ([("algorithm.adv_estimator", "grpo")], "adv_estimator=grpo is veRL's and takes every row for a member"),
        ([(f"{ROLLOUT}.agent.agent_loop_manager_class", "mine.Manager")], "agent_loop_manager_class is another's"),
        ([(f"{ROLLOUT}.enable_rollout_routing_replay", True)], "wants every episode's routes"),
    ],
    ids=str,
)
def test_a_budget_that_cannot_be_obeyed_is_refused_by_name(
    run: DictConfig, index: tuple[str, str], settings: list[tuple[str, Any]], said: str
) -> None:
    with pytest.raises(SettingsError, match=rf"wapo\.failures\.budget=0\.02: .*{said}"):
        resolve(changed(run, BUDGET, *settings))
    assert decided(changed(run, index, *settings))[0] == FailureBudget(), "without the key nothing is left out"


def test_the_number_of_the_key_is_a_share(run: DictConfig) -> None:
    with pytest.raises(SettingsError, match=r"a finite number of at least 0.* and of at most 0\.5, not 2"):
        resolve(changed(run, ("wapo.failures.budget", 2.0)))
