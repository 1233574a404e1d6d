"""Compute a step's metrics under the names of veRL runs; those of the update are in `update.Trainer`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from benchmarks.study.episodes import Played, padded
from benchmarks.study.records import ENTROPY, HELD_OUT, REWARD
from wapo_verl.environments.episode import TRUNCATED_OUTCOMES
from wapo_verl.evaluation.attempts import pass_at_k
from wapo_verl.metrics.episodes import episode_metrics
from wapo_verl.metrics.repetition import repetition_metrics
from wapo_verl.taxonomy import Statistics, entropy_change_from_statistics
from wapo_verl.taxonomy.bins import BINS, assign_bins
from wapo_verl.training.advantages import truncation_metrics

KEPT = ("episode/answer_rate", "episode/searches/mean", "episode/turns/mean")
PASS_KS = (1, 4, 16, 64)
PASS_SAMPLES = max(PASS_KS)
"""Samples of a question for pass@k."""


def rollout_metrics(episodes: Sequence[Played]) -> dict[str, float]:
    """What a step's episodes show: reward, entropy (nats, mean over own tokens), lengths, searches, repetition.

    The entropy is that of the policy that sampled; veRL's is the mean over the step's updates, which is the same where
    there is one.
    """
    records = [played.episode.to_record() for played in episodes if played.episode is not None]
    found = episode_metrics(records)
    ids, lengths = padded([played.trajectory.ids for played in episodes])
    mask, _ = padded([played.trajectory.mask for played in episodes])
    measures = measure_table(episodes)
    return {
        REWARD: sum(played.reward for played in episodes) / len(episodes),
        ENTROPY: float(measures[:, 1].mean()),
        "response_length/mean": float(lengths.double().mean()),
        "episode/own_tokens/mean": float(mask.sum()) / len(episodes),
        **{name: found[name] for name in KEPT},
        **truncation_metrics([record["outcome"] in TRUNCATED_OUTCOMES for record in records]),
        **repetition_metrics(ids, mask),
    }


def winner_metrics(episodes: Sequence[Played], winners: torch.Tensor, after: torch.Tensor) -> dict[str, float]:
    """How likely the winners' own tokens are to the policy that sampled them, and how far the update moved that.

    A likelihood that falls though these are the completions to reinforce is the displacement of arXiv 2512.04220.

    Args:
        episodes: of the step.
        winners: (R,) bool, those whose reward is above their group's mean, whatever the algorithm makes of them.
        after: (N,) the log-probs of the winners' own tokens under the updated weights, episode by episode.

    Returns:
        `group/winner_log_prob/mean` in nats a token, and `group/winner_log_prob/change`; nothing without a winner.
    """
    chosen = [played for played, won in zip(episodes, winners.tolist(), strict=True) if won]
    if not chosen:
        return {}
    before = measure_table(chosen)[:, 0]
    return {
        "group/winner_log_prob/mean": float(before.mean()),
        "group/winner_log_prob/change": float((after.double() - before).mean()),
    }


def pass_metrics(episodes: Sequence[Played]) -> dict[str, float]:
    """`val/pass@k` of episodes of which each question has `PASS_SAMPLES`, one after the other."""
    right = torch.tensor([played.reward > 0 for played in episodes]).view(-1, PASS_SAMPLES).sum(dim=1)
    samples = torch.full_like(right, PASS_SAMPLES)
    return {f"val/pass@{k}": float(pass_at_k(samples, right, k).mean()) for k in PASS_KS}


def held_out_metrics(episodes: Sequence[Played]) -> dict[str, float]:
    """What a validation shows."""
    records = [played.episode.to_record() for played in episodes if played.episode is not None]
    return {
        HELD_OUT: sum(played.reward for played in episodes) / len(episodes),
        "val/answer_rate": episode_metrics(records)["episode/answer_rate"],
    }


def measure_table(episodes: Sequence[Played]) -> torch.Tensor:
    """(N, 4) float64, the `Measure` of each of the N own tokens, episode by episode."""
    return torch.tensor([measure for played in episodes for measure in played.measures], dtype=torch.float64)


def taxonomy_metrics(episodes: Sequence[Played], advantages: torch.Tensor) -> dict[str, float]:
    """Bins of the tokens that have an advantage, and what their gradient does to the entropy, to first order.

    The change (`taxonomy.entropy_change_from_statistics`) is per unit of step in a token's own logits along
    A * grad ln p_s, and all is of the policy that sampled. Tokens share weights and mini-batches move them, so it is a
    direction, not a forecast.

    Args:
        advantages: (R,) float64, one an episode.

    Returns:
        `taxonomy/tokens/BIN`, how many there are, and `taxonomy/entropy_change/predicted`, the mean over them in nats;
        nothing without an advantage.
    """
    counts = torch.tensor([len(played.measures) for played in episodes])
    spread = advantages.double().repeat_interleave(counts)
    log_prob, entropy, collision, square_log_prob = measure_table(episodes).unbind(dim=1)
    bins = assign_bins(log_prob.exp(), collision, spread)
    carrying = int((bins >= 0).sum())
    if not carrying:
        return {}
    change = entropy_change_from_statistics(log_prob, Statistics(collision, entropy, square_log_prob), spread)
    tokens = {f"taxonomy/tokens/{name}": float((bins == place).sum()) for place, name in enumerate(BINS)}
    return {**tokens, "taxonomy/entropy_change/predicted": float(change.sum()) / carrying}
