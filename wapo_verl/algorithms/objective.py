"""Hold what the algorithms share: the veRL keys of an objective, their notes, and what differs from a definition.

Every algorithm here uses the rollout's own log-probs as those of the behaviour policy (veRL's bypass mode), as the
papers' formulas do.
"""

from collections.abc import Mapping
from typing import Any

from wapo_verl.algorithms.algorithm import Conflict, Default

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


def correction(config: Any) -> Mapping[str, Any]:
    """Return veRL's `algorithm.rollout_correction`, empty where a configuration has none."""
    return config.algorithm.get("rollout_correction") or {}


def bypasses(config: Any) -> bool:
    """Tell whether the old log-probs are the rollout's own (veRL's bypass mode)."""
    return bool(correction(config).get("bypass_mode", False))


_DEFINING = ("policy_loss.loss_mode", "loss_agg_mode", "loss_scale_factor", "clip_ratio_c")
"""Keys of the actor that an algorithm is made of; its clips may be changed."""


def differences(config: Any, defaults: Mapping[str, Default], but: tuple[str, ...] = ()) -> list[Conflict]:
    """Return a warning for each key of the actor, except `but`, that differs from the algorithm's definition."""
    actor = config.actor_rollout_ref.actor
    there = {
        "policy_loss.loss_mode": actor.policy_loss.loss_mode,
        **{key: actor[key] for key in _DEFINING if key != "policy_loss.loss_mode"},
    }
    return [
        Conflict("warning", f"{ACTOR}.{key}", f"the algorithm is defined with {defaults[f'{ACTOR}.{key}']}")
        for key in _DEFINING
        if f"{ACTOR}.{key}" in defaults and key not in but and there[key] != defaults[f"{ACTOR}.{key}"]
    ]
