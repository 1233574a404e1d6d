"""What every update measures of itself, whichever the algorithm: ratios, clipping, entropy, the behaviour policy's gap.

Pure functions on flat tensors of a micro-batch's N response tokens. Each result is a pair (weighted sum, weight), or a
maximum, so that micro-batches, ranks and mini-batches can be put together exactly.
"""

import torch

from wapo_verl.taxonomy.diagnostics import LARGEST_LOG_RATIO, Diagnostics, Pair


def update_statistics(
    log_prob: torch.Tensor,
    old_log_prob: torch.Tensor,
    advantages: torch.Tensor,
    slope: torch.Tensor,
    own: torch.Tensor,
    entropy: torch.Tensor | None = None,
) -> Diagnostics:
    """Measure one micro-batch's update.

    Args:
        log_prob: (N,) float, of each response token under the policy being trained.
        old_log_prob: (N,) float, under the behaviour policy.
        advantages: (N,) float, as the loss saw them.
        slope: (N,) float, the derivative of the loss's advantage term by `log_prob`; zero where a clip cuts it.
        own: (N,) bool, tokens the policy wrote.
        entropy: (N,) float, nats; None where nobody computed it.

    Returns:
        `ratio_mean`, `ratio_max` and `clip_fraction` (those with a zero slope) of own tokens with an advantage, a ratio
        counting up to e^20, as in veRL's losses, so that no single token makes the mean infinite;
        `update_entropy` over own tokens; `behaviour_probs_diff_mean` and `_max`, |p - p_old| over own tokens. With the
        rollout's own log-probs as p_old (bypass mode) and one mini-batch a step that is the gap between the rollout
        engine and the actor before the update, which veRL measures with a forward pass of its own in other modes.
    """
    trained = own & (advantages != 0)
    new, old = log_prob.double(), old_log_prob.double()
    log_ratio = torch.where(trained, new - old, 0.0).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    ratio = torch.where(trained, torch.exp(log_ratio), 0.0)
    gap = torch.where(own, (torch.exp(new) - torch.exp(old)).abs(), 0.0)
    means = {
        "ratio_mean": _mean(ratio, trained),
        "clip_fraction": _mean(trained & (slope == 0), trained),
        "behaviour_probs_diff_mean": _mean(gap, own),
    }
    if entropy is not None:
        means["update_entropy"] = _mean(torch.where(own, entropy, 0.0), own)
    return Diagnostics(means, {}, {"ratio_max": ratio.max(), "behaviour_probs_diff_max": gap.max()})


def _mean(values: torch.Tensor, where: torch.Tensor) -> Pair:
    return values.sum(dtype=torch.float64), where.sum(dtype=torch.float64)
