"""Compute statistics of groups, for all algorithms, without a loop over completions or groups."""

import torch

# A reward is a sum of a few rounded numbers, so equal rewards may differ in their last bits.
ROUNDING_STEPS = 4


def group_count(group_ids: torch.Tensor) -> int:
    """Return K, the number of groups, from (N,) int64 group numbers 0..K-1."""
    return int(group_ids.max()) + 1 if len(group_ids) else 0


def group_sum(values: torch.Tensor, group_ids: torch.Tensor) -> torch.Tensor:
    """Sum (N,) values over each group of (N,) int64 group numbers 0..K-1: (K,), in the values' dtype."""
    return values.new_zeros(group_count(group_ids)).index_add_(0, group_ids, values)


def group_sizes(group_ids: torch.Tensor) -> torch.Tensor:
    """Count the members of each group of (N,) int64 group numbers 0..K-1: (K,) int64."""
    return group_sum(torch.ones_like(group_ids), group_ids)


def group_any(flags: torch.Tensor, group_ids: torch.Tensor) -> torch.Tensor:
    """Tell for each group whether any of its (N,) bool flags is set: (K,) bool."""
    return group_sum(flags.to(torch.int64), group_ids) > 0


def group_advantages(rewards: torch.Tensor, group_ids: torch.Tensor) -> torch.Tensor:
    """Return each reward minus its group's mean, and exactly 0 where the two differ by rounding alone.

    A_i = r_i - mean(group), without a division by the standard deviation (WAPO, arXiv 2606.16154; Dr. GRPO).

    The mean of equal rewards may differ from them by a rounding step (0.1 + 0.1 + 0.1 is 0.30000000000000004), and a
    false winner would make its group count in WAPO's normaliser. So the sum is taken in float64, and a difference of at
    most `ROUNDING_STEPS` rounding steps of the rewards' own dtype, at the size of the group's largest reward, is zero.

    Args:
        rewards: (N,) float32 or float64; an integer dtype is treated as float64.
        group_ids: (N,) int64 numbers 0..K-1.

    Returns:
        (N,) float64.
    """
    precision = torch.finfo(rewards.dtype if rewards.is_floating_point() else torch.float64).eps
    exact = rewards.to(torch.float64)
    mean = group_sum(exact, group_ids) / group_sizes(group_ids)
    largest = torch.zeros_like(mean).scatter_reduce_(0, group_ids, exact.abs(), "amax")
    difference = exact - mean[group_ids]
    return torch.where(difference.abs() <= ROUNDING_STEPS * precision * largest[group_ids], 0.0, difference)


def group_std(rewards: torch.Tensor, group_ids: torch.Tensor, correction: int) -> torch.Tensor:
    """Return the standard deviation of each member's group, and exactly 0 where its rewards differ by rounding alone.

    Args:
        rewards: (N,) float32 or float64.
        group_ids: (N,) int64 numbers 0..K-1.
        correction: 0 divides by G (population), 1 by G - 1 (sample); a group of one gives 0 in both cases.

    Returns:
        (N,) float64.
    """
    difference = group_advantages(rewards, group_ids)
    sizes = group_sizes(group_ids)
    variance = group_sum(difference.square(), group_ids) / (sizes - correction).clamp(min=1)
    return variance.sqrt()[group_ids]


def phantom_winner_groups(plain: torch.Tensor, outcomes: torch.Tensor, groups: torch.Tensor, real: torch.Tensor) -> int:
    """Count the groups in which a completion beats the mean though none has a right outcome.

    Args:
        plain: (C,) float64, each completion's reward minus its group's mean.
        outcomes: (C,) float, right where above 0.
        groups: (C,) int64 group numbers 0..K-1.
        real: (C,) bool, true on completions that are not padding.
    """
    return int((group_any((plain > 0) & real, groups) & ~group_any((outcomes > 0) & real, groups)).sum())


def group_metrics(
    rewards: torch.Tensor, won: torch.Tensor, groups: torch.Tensor, real: torch.Tensor
) -> dict[str, float]:
    """Return the `group/...` metrics of a batch, over completions that are not padding.

    Args:
        rewards: (C,) float.
        won: (C,) bool, the winners.
        groups: (C,) int64 group numbers 0..K-1.
        real: (C,) bool, true on completions that are not padding.

    Returns:
        Metric name -> number; without `group/winner_advantage/mean` where nobody won.
    """
    plain = group_advantages(rewards, groups)
    count = int(group_any(real, groups).sum())
    unequal = int(group_any((plain != 0) & real, groups).sum())
    metrics = {
        "group/winner_fraction": int(won.sum()) / max(int(real.sum()), 1),
        "group/count": float(count),
        "group/with_winner": float(group_any(won, groups).sum()),
        "group/all_equal": float(count - unequal),
        "group/with_reward": float(group_any((rewards > 0) & real, groups).sum()),
        "group/advantage_size/mean": float(plain[real].abs().mean()) if real.any() else 0.0,
    }
    if won.any():
        metrics["group/winner_advantage/mean"] = float(plain[won].mean())
    return metrics
