"""Compute a training batch's advantages and group counts from what veRL stores of its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from wapo_verl.algorithms import Algorithm, Batch
from wapo_verl.algorithms.groups import group_advantages, group_metrics, phantom_winner_groups
from wapo_verl.environments.episode import TRUNCATED_OUTCOMES
from wapo_verl.rollout.failures import FAILURE

LEAST_LOG_PROB = -20.0
"""What the least log-prob of a token counts as in a logged mean, so that no single one makes the mean infinite."""


@dataclass(frozen=True, slots=True)
class Rows:
    """R rows of a training batch, as veRL's V1 trainer stores them.

    Attributes:
        keys: "{uid}_{session}_{output}" of each row.
        tags: each row's tag; `is_padding` marks rows that veRL added, `failure` those of a failed episode.
        rewards: (R,) float, each row's reward; a failed episode has none, whatever stands there.
        outcomes: (R,) float, above 0 where the row's answer is right; None where nobody asks.
        gated: whether completions win only where they differ in these.
    """

    keys: Sequence[str]
    tags: Sequence[Mapping[str, Any]]
    rewards: torch.Tensor
    outcomes: torch.Tensor | None = None
    gated: bool = False

    @property
    def padding(self) -> list[bool]:
        """Whether each row was added by veRL to fill the last mini-batch."""
        return [is_padding(tag) for tag in self.tags]

    def batch(self, truncated: Sequence[bool] | None = None, lengths: torch.Tensor | None = None) -> Batch:
        """Return the rows as algorithms take them, a failed episode's as padding: in a group of their own.

        So no statistic of its group, no count and no normaliser has it, and its rows have no advantage, while veRL's
        average over the rows of a mini-batch goes on counting them, as it counts padding (`averaging`).

        Args:
            truncated: R flags, or None.
            lengths: (R,) int64, tokens of each row that the policy wrote, or None.
        """
        failed = [is_failed(tag) for tag in self.tags]
        keys = [f"failed-{key}" if out else key for key, out in zip(self.keys, failed, strict=True)]
        padding = [out or added for out, added in zip(failed, self.padding, strict=True)]
        rewards = self.rewards.masked_fill(torch.tensor(failed, dtype=torch.bool, device=self.rewards.device), 0.0)
        return Batch.from_keys(keys, rewards, padding, truncated, lengths, self.outcomes if self.gated else None)

    def winners(self) -> torch.Tensor:
        """Return which rows are of a completion whose reward is above its group's mean: (R,) bool."""
        completions = self.batch().completions()
        plain = group_advantages(completions.rewards, completions.groups)
        return ((plain > 0) & completions.real)[completions.of_row]

    def phantom_winner_groups(self) -> dict[str, float]:
        """Count the groups in which a completion wins by its reward though none is right; nothing where nobody asks."""
        if self.outcomes is None:
            return {}
        completions = replace(self, gated=True).batch().completions()
        assert completions.outcomes is not None
        plain = group_advantages(completions.rewards, completions.groups)
        count = phantom_winner_groups(plain, completions.outcomes, completions.groups, completions.real)
        return {"group/phantom_winner_groups": float(count)}


def advantages(
    rows: Rows,
    mask: torch.Tensor,
    truncated: Sequence[bool],
    algorithm: Algorithm,
    options: Mapping[str, str],
    with_losers: bool,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Ask the algorithm for the advantage of each row.

    Args:
        rows: the batch's R rows.
        mask: (R, T), 1 on tokens that the policy wrote.
        truncated: R flags, whether a length limit cut the row.
        algorithm: the run's algorithm.
        options: its options, name -> value.
        with_losers: whether losers that the algorithm leaves out get their advantages too.

    Returns:
        The advantages, (R,) float64, and the batch's metrics.
    """
    found = algorithm.advantages(rows.batch(truncated, lengths=mask.sum(dim=-1)), options)
    metrics = {**found.metrics, **rows.phantom_winner_groups()}
    if with_losers and found.loser_rows is not None:
        return found.rows + found.loser_rows, metrics
    return found.rows, metrics


def winning_rows(
    rows: Rows,
    lengths: torch.Tensor,
    truncated: Sequence[bool],
    algorithm: Algorithm | None,
    options: Mapping[str, str],
) -> torch.Tensor:
    """Return which rows are of the completions that `group/winner_fraction` counts: (R,) bool.

    Args:
        rows: the batch's R rows.
        lengths: (R,) int64, tokens of each row that the policy wrote.
        truncated: as `advantages` takes it.
        algorithm: the run's; None where veRL's own estimator makes the advantages.
        options: its options, name -> value.
    """
    if algorithm is None:
        return rows.winners()
    return algorithm.advantages(rows.batch(truncated, lengths), options).winners


def group_counts(rows: Rows) -> dict[str, float]:
    """Count winners and groups where one of veRL's own estimators, which does not count them, makes the advantages."""
    completions = rows.batch().completions()
    plain = group_advantages(completions.rewards, completions.groups)
    return group_metrics(completions.rewards, (plain > 0) & completions.real, completions.groups, completions.real)


def outcomes_of(
    extra_fields: Sequence[Any], tags: Sequence[Mapping[str, Any]], parts: Sequence[str]
) -> torch.Tensor | None:
    """Return each row's outcome, the first of these reward parts that it has: (R,) float64; None where there are none.

    Args:
        extra_fields: what the agent loop stored of each row.
        tags: each row's tag; padding and failed episodes have no outcome and get 0.
        parts: names of reward parts.

    Raises:
        ValueError: where a row's reward has none of them.
    """
    if not parts:
        return None
    values = []
    for extra, tag in zip(extra_fields, tags, strict=True):
        scores = {} if is_padding(tag) or is_failed(tag) else extra.get("reward_extra_info", {})
        found = next((part for part in parts if part in scores), None)
        if found is None and not is_padding(tag) and not is_failed(tag):
            raise ValueError(
                f"a row's reward has no part {' or '.join(parts)}, which wapo.outcome_gate asks for; it has "
                f"{', '.join(scores) or 'none'}"
            )
        values.append(0.0 if found is None else float(scores[found]))
    return torch.tensor(values, dtype=torch.float64)


def is_padding(tag: Mapping[str, Any]) -> bool:
    """Tell whether veRL added the row of this tag."""
    return bool(tag.get("is_padding", False))


def is_failed(tag: Mapping[str, Any]) -> bool:
    """Tell whether the row of this tag is a failed episode's; padding has the tag of the row it was copied from."""
    return FAILURE in tag and not is_padding(tag)


def truncated_rows(extra_fields: Sequence[Any], tags: Sequence[Mapping[str, Any]], limit: int) -> list[bool]:
    """Tell for each row whether a length limit cut it: by its episode's outcome, else by its length in tokens.

    Args:
        extra_fields: what the agent loop stored of each row.
        tags: each row's tag, with `response_len`.
        limit: the most tokens that a response may have.
    """
    episodes = [episode_of(extra) for extra in extra_fields]
    return [
        episode["outcome"] in TRUNCATED_OUTCOMES if episode else tag.get("response_len", 0) >= limit
        for episode, tag in zip(episodes, tags, strict=True)
    ]


def truncation_metrics(truncated: Sequence[bool]) -> dict[str, float]:
    """Return `episode/truncated`, the share of a step's rows that a length limit cut; empty for an empty batch.

    veRL's `response_length/clip_ratio` is not that: its V1 trainer counts rows as long as the batch's longest one.
    """
    return {"episode/truncated": sum(truncated) / len(truncated)} if truncated else {}


def winner_metrics(winners: torch.Tensor, log_probs: torch.Tensor, mask: torch.Tensor) -> dict[str, float]:
    """Return `group/winner_log_prob/mean`, of the winners' own tokens, nats a token; empty without a winner.

    Args:
        winners: (R,) bool, the rows of winners.
        log_probs: (R, T) float, of the policy that sampled; a token counts down to `LEAST_LOG_PROB`.
        mask: (R, T), 1 on tokens that the policy wrote.
    """
    chosen = log_probs[winners][mask[winners].bool()].double().clamp(min=LEAST_LOG_PROB)
    return {"group/winner_log_prob/mean": float(chosen.mean())} if len(chosen) else {}


def episode_of(extra_fields: Any) -> dict[str, Any] | None:
    """Return the record of a row's episode, or None where its agent loop keeps none."""
    return extra_fields.get("episode") if isinstance(extra_fields, dict) else None
