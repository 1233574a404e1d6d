"""Turns the algorithms into what veRL's registries take. veRL is imported inside the functions only."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.algorithms.algorithm import Algorithm, LossInputs, TokenLoss
from wapo_verl.algorithms.batch import Batch, numbered, spread
from wapo_verl.engine.loss_metrics import reducible
from wapo_verl.verl_plugin.errors import PluginError
from wapo_verl.verl_plugin.seams import SETTINGS, misfits
from wapo_verl.verl_plugin.verl_source import VerlSource

PADDING = "pad"
"""What the uid of the rows begins with by which veRL fills a batch up; all others are plain UUIDs."""

PolicyLoss = Callable[..., tuple[torch.Tensor, dict[str, Any]]]
Estimator = Callable[..., tuple[torch.Tensor, torch.Tensor]]


def register_all() -> None:
    """Register every algorithm's estimator and losses with veRL; calling it again changes nothing.

    Raises:
        ValueError: where veRL, or another plugin, already has an estimator or a loss of one of these names.
    """
    for found in ALGORITHMS.values():
        register_estimator(found.name)
        for loss in found.losses:
            register_loss(loss)


def register_estimator(name: str) -> None:
    """Register the estimator of one of our algorithms with veRL, as `register_all` does.

    Raises:
        PluginError: where veRL's validation has moved, before which an algorithm's settings are resolved: the estimator
            alone would train with another loss.
    """
    import verl
    from verl.trainer.ppo import core_algos

    if wrong := misfits(SETTINGS, VerlSource(Path(verl.__file__).parent)):
        raise PluginError(f"the settings of the algorithm {name!r} cannot be resolved with this veRL: {wrong[0]}")
    if not _has_ours(core_algos.ADV_ESTIMATOR_REGISTRY, "estimator", name):
        core_algos.register_adv_est(name)(estimator(ALGORITHMS[name]))


def register_loss(name: str) -> None:
    """Register one of our losses with veRL, as `register_all` does."""
    from verl.trainer.ppo import core_algos

    if not _has_ours(core_algos.POLICY_LOSS_REGISTRY, "policy loss", name):
        loss = next(found.losses[name] for found in ALGORITHMS.values() if name in found.losses)
        core_algos.register_policy_loss(name)(policy_loss(loss))


def _has_ours(registry: Mapping[str, Any], kind: str, name: str) -> bool:
    taken = registry.get(name)
    if taken is not None and taken.__module__ != __name__:
        raise ValueError(f"the {kind} {name!r} is already registered with veRL, by {taken.__module__}: rename ours")
    return taken is not None


def estimator(found: Algorithm) -> Estimator:
    """Make the function veRL calls for `algorithm.adv_estimator`.

    veRL does not tell it which rows share a session, so each row is a completion here, which is exact for one output a
    session, and the options have their defaults. The plugin's trainer calls `found.advantages` itself.
    """

    def compute_advantages(
        token_level_rewards: torch.Tensor,
        response_mask: torch.Tensor,
        index: np.ndarray | None = None,
        config: Any = None,
        **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if index is None:
            raise ValueError(f"{found.name} needs each row's group: the batch has no `uid`")
        groups = numbered(np.asarray(index), token_level_rewards.device)
        padding = torch.tensor([str(uid).startswith(PADDING) for uid in index], device=groups.device)
        rewards, lengths = token_level_rewards.sum(dim=-1), response_mask.sum(dim=-1)
        batch = Batch(rewards, groups, padding=padding, lengths=lengths)
        tokens = spread(found.advantages(batch, found.default_options()).rows, response_mask, token_level_rewards.dtype)
        return tokens, tokens

    return compute_advantages


def policy_loss(loss: Callable[[LossInputs], TokenLoss]) -> PolicyLoss:
    """Make the function veRL calls for `actor.policy_loss.loss_mode`: `loss`, averaged by veRL's own `agg_loss`."""

    def compute_policy_loss(
        old_log_prob: torch.Tensor,
        log_prob: torch.Tensor,
        advantages: torch.Tensor,
        response_mask: torch.Tensor,
        loss_agg_mode: str = "token-mean",
        config: Any = None,
        rollout_is_weights: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        from verl.trainer.ppo.core_algos import agg_loss

        mask = response_mask.bool()
        inputs = LossInputs(log_prob, old_log_prob, advantages, mask, config)
        result = loss(inputs)
        values = result.values if rollout_is_weights is None else result.values * rollout_is_weights
        averaged = agg_loss(loss_mat=values, loss_mask=mask, loss_agg_mode=loss_agg_mode, **config.global_batch_info)
        return averaged, reducible(result.means, {}, result.maxima)

    return compute_policy_loss
