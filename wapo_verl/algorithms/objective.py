"""Hold what the algorithms share: the veRL keys of an objective, their notes, and the settings that contradict it.

Every algorithm here uses the rollout's own log-probs as those of the behaviour policy (veRL's bypass mode), as the
papers' formulas do.
"""

from collections.abc import Callable, Mapping
from typing import Any

from wapo_verl.algorithms.algorithm import Default, Finding

ROLLOUT = "actor_rollout_ref.rollout"
ACTOR = "actor_rollout_ref.actor"
CORRECTION = "algorithm.rollout_correction"

NO_DUAL_CLIP = 1e9
"""A `clip_ratio_c` that no ratio reaches: veRL's own loss bounds the ratio at e^20."""

FROM_THE_ROLLOUT: Mapping[str, Default] = {
    f"{CORRECTION}.bypass_mode": True,
    f"{ROLLOUT}.calculate_log_probs": True,
    f"{ROLLOUT}.n": 8,
    f"{ACTOR}.calculate_entropy": True,
}

NOTES: Mapping[str, str] = {
    f"{ACTOR}.policy_loss.loss_mode": "the loss",
    f"{ACTOR}.clip_ratio_low": "ratios count from 1 - this, where the advantage is negative",
    f"{ACTOR}.clip_ratio_high": "ratios count up to 1 + this",
    f"{ACTOR}.clip_ratio_c": "no dual clip",
    f"{ACTOR}.loss_agg_mode": "the average",
    f"{ACTOR}.loss_scale_factor": "the average's divisor; the rest of it is in the advantages",
    f"{CORRECTION}.bypass_mode": "old log-probs are the rollout's own",
    f"{ROLLOUT}.calculate_log_probs": "the rollout keeps its log-probs",
    f"{ROLLOUT}.n": "G, completions a group",
    f"{ACTOR}.calculate_entropy": "bypass mode logs no entropy otherwise",
}


def objective(loss_mode: str, averaging: str, **actor: Default) -> Mapping[str, Default]:
    """Return the veRL keys of an objective.

    Args:
        loss_mode: the loss, as `actor.policy_loss.loss_mode`.
        averaging: the average, as `actor.loss_agg_mode`.
        actor: further keys under `actor_rollout_ref.actor.`.

    Returns:
        Full key -> value, with the keys that all algorithms share.
    """
    return {
        f"{ACTOR}.policy_loss.loss_mode": loss_mode,
        **{f"{ACTOR}.{name}": value for name, value in actor.items()},
        f"{ACTOR}.loss_agg_mode": averaging,
        **FROM_THE_ROLLOUT,
    }


def shared_errors(config: Any) -> list[Finding]:
    """Return the errors of a configuration that no algorithm here can work with."""
    rollout, algorithm = config.actor_rollout_ref.rollout, config.algorithm
    correction = algorithm.get("rollout_correction") or {}
    bypass = bool(correction.get("bypass_mode", False))
    rules = (
        (
            bool(algorithm.get("use_kl_in_reward", False)),
            "algorithm.use_kl_in_reward",
            "a KL term in the reward sets equal completions apart, and so decides who wins; use actor.use_kl_loss",
        ),
        (
            bypass and not rollout.calculate_log_probs,
            f"{ROLLOUT}.calculate_log_probs",
            "bypass mode takes the old log-probs from the rollout, which is told to keep none; set it to True",
        ),
        (
            not bypass and bool(correction.get("rollout_is") or correction.get("rollout_rs")),
            CORRECTION,
            "rollout_is and rollout_rs are not computed for this project's algorithms; leave them out, and "
            "bypass_mode=True takes the ratio to the policy that sampled",
        ),
        (
            not config.trainer.get("use_v1", True),
            "trainer.use_v1",
            "the old trainer replaces loss_mode in bypass mode; set it to True",
        ),
        (
            rollout.n < 2,
            f"{ROLLOUT}.n",
            "a completion alone in its group beats nobody, so it never has an advantage; set it to 2 or more",
        ),
    )
    return [Finding("error", key, message) for applies, key, message in rules if applies]


def shared_warnings(config: Any) -> list[Finding]:
    """Return the settings that are doubtful with every algorithm here, as warnings."""
    correction = config.algorithm.get("rollout_correction") or {}
    bypass = bool(correction.get("bypass_mode", False))
    rules = (
        (
            not bypass,
            f"{CORRECTION}.bypass_mode",
            "the ratio is taken to recomputed log-probs, not to the policy that sampled the completions",
        ),
        (
            bypass and bool(correction.get("rollout_is") or correction.get("rollout_rs")),
            CORRECTION,
            "rollout_is and rollout_rs have no effect in bypass mode",
        ),
    )
    return [Finding("warning", key, message) for applies, key, message in rules if applies]


def differing(config: Any, defaults: Mapping[str, Default], keys: tuple[str, ...]) -> list[Finding]:
    """Return a warning for each of these actor keys that differs from the algorithm's definition."""
    actor = config.actor_rollout_ref.actor
    found = {
        "policy_loss.loss_mode": actor.policy_loss.loss_mode,
        "loss_agg_mode": actor.loss_agg_mode,
        "loss_scale_factor": actor.loss_scale_factor,
        "clip_ratio_c": actor.clip_ratio_c,
    }
    return [
        Finding("warning", f"{ACTOR}.{key}", f"the algorithm is defined with {defaults[f'{ACTOR}.{key}']}")
        for key in keys
        if found[key] != defaults[f"{ACTOR}.{key}"]
    ]


def check_against(defaults: Mapping[str, Default]) -> Callable[[Any, set[str]], list[Finding]]:
    """Make the `check` of an algorithm that consists of its advantages and these keys."""
    names = ("policy_loss.loss_mode", "loss_agg_mode", "loss_scale_factor", "clip_ratio_c")
    keys = tuple(name for name in names if f"{ACTOR}.{name}" in defaults)

    def check(config: Any, explicit: set[str]) -> list[Finding]:
        return [*shared_errors(config), *differing(config, defaults, keys), *shared_warnings(config)]

    return check
