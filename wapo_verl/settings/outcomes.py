"""Tell what a run's rewards consist of, which part says that an answer is right, and what a shaped reward risks."""

from collections.abc import Iterator, Mapping

from omegaconf import OmegaConf

from wapo_verl.algorithms import Conflict
from wapo_verl.algorithms.algorithm import errors, warnings
from wapo_verl.data.training_files import first_ground_truths
from wapo_verl.environments.environment import Environment
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.registry import environment_of
from wapo_verl.reward import weights_for
from wapo_verl.settings.decide import Run

WEIGHTS = "reward.custom_reward_function.reward_kwargs.weights"


def outcome_parts(run: Run) -> list[str]:
    """Return the parts that say whether an answer is right, where a run needs to know: a gate, or a shaped reward."""
    if run.keys.outcome_gate is not None:
        return [run.keys.outcome_gate]
    return list(dict.fromkeys(each.outcome for each, _ in _shaped(run))) if run.algorithm is not None else []


def outcome_conflicts(run: Run) -> list[Conflict]:
    """Find a gate that nobody obeys, and a shaped reward without one."""
    gate = run.keys.outcome_gate
    if gate is None:
        return _without_a_gate(run)
    missing = {of: names for of, names in score_names(run) if gate not in names}
    return errors(
        (
            run.algorithm is None,
            "wapo.outcome_gate",
            f"algorithm.adv_estimator={run.config.algorithm.adv_estimator} is veRL's and lets every completion win "
            "that beats its group: choose an algorithm of this project, or leave it out",
        ),
        *(
            (True, f"wapo.outcome_gate={gate}", f"{of} have no such reward: choose {', '.join(names)}")
            for of, names in missing.items()
        ),
    )


def _without_a_gate(run: Run) -> list[Conflict]:
    if run.algorithm is None:
        return []
    return warnings(
        *(
            (
                True,
                WEIGHTS,
                f"{each.name} pays for {', '.join(beside)} beside {each.outcome}, so completions win in groups without "
                f"a right answer too (group/phantom_winner_groups counts them): +wapo.outcome_gate={each.outcome} lets "
                "a group count only where that part differs in it",
            )
            for each, beside in _shaped(run)
        )
    )


def _shaped(run: Run) -> Iterator[tuple[Environment, list[str]]]:
    """Yield each environment of a run's rows whose score has other parts than its outcome in it, with these."""
    if not run.our_reward:
        return
    given = OmegaConf.select(run.config, WEIGHTS)
    for source in first_ground_truths(run.training_files):
        each = environment_of(source)
        weights: Mapping[str, float] = weights_for(each, given) or each.reward_weights
        beside = [part for part, weight in weights.items() if weight and part != each.outcome]
        if beside:
            yield each, beside


def score_names(run: Run) -> Iterator[tuple[str, list[str]]]:
    """Yield whose rewards a run has and what they consist of; nothing where a function of the user's scores.

    An environment tells by scoring an episode that says nothing.
    """
    reward = run.config.reward
    if run.our_reward:
        for source, gold in first_ground_truths(run.training_files).items():
            score = environment_of(source).score(Episode(answer=None, outcome="no_tag"), gold)
            yield f"rows of {source}", list(score)
    elif (
        reward.custom_reward_function.path is None
        and not reward.reward_model.enable
        and reward.reward_manager.name == "naive"
    ):
        yield "veRL's own rewards", ["acc", "score"]
