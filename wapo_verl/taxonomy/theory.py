"""Compute what one policy-gradient step does to a next-token distribution, to first order in the step.

At one position let p = softmax(z), s the sampled token, S = sum_j p_j^2, H = -sum_j p_j ln p_j. Ascending A ln p_s
with a step eta in the logits moves them by dz = eta A (e_s - p), and with it

    dp_j = eta A p_j ([j = s] - p_j - p_s + S)
    dH   = eta A (sum_j p_j f(p_j) - f(p_s)),   f(x) = x (ln x + H)

Everything here is per unit of eta. A is the factor of the gradient of ln p_s in the direction of ascent; for a loss it
is minus the derivative of the loss by ln p_s.

**A sampled valley (p_s < S): always.** Reinforced, it raises the entropy; punished, it lowers it. Proof: f is
convex, so by Jensen sum_j p_j f(p_j) >= f(sum_j p_j^2) = f(S). The logarithm is concave, so ln S >= sum_j p_j ln p_j
= -H, that is f(S) >= 0, with equality only where p is uniform on its support, and there no token of it has p_s < S.
Now f is negative on (0, e^-H) and increasing from there on (f' = ln x + H + 1 >= 1), so p_s < S gives f(p_s) < f(S)
either way. Hence dH has A's sign.

**A sampled peak (p_s >= S): mostly.** f crosses sum_j p_j f(p_j) once, at a tau >= S: above tau a reinforced peak
lowers the entropy, between S and tau it raises it, as a valley does. How often that is: docs/taxonomy.md.

**Tokens that were not sampled.** With A > 0 such a token gains where p_j < S - p_s, so only beside a sampled valley;
with A < 0 it gains where p_j > S - p_s, so beside a punished peak all of them gain, beside a punished valley only
the larger.

This holds for small steps at one position; a step in shared weights changes other positions too.
"""

import torch

from wapo_verl.taxonomy.statistics import Statistics


def entropy_change(logits: torch.Tensor, sampled: torch.Tensor, advantage: torch.Tensor) -> torch.Tensor:
    """Return dH = -A [p_s (ln p_s + H) - sum_j p_j^2 (ln p_j + H)] in nats per unit step, (N,).

    Args:
        logits: (N, V) float; z. A logit of -inf is a token of probability 0.
        sampled: (N,) int64; s.
        advantage: (N,) float; A.
    """
    log_p = torch.log_softmax(logits, dim=-1)
    p = log_p.exp()
    surprise = torch.where(p > 0, log_p, 0.0)
    above_mean = surprise - (p * surprise).sum(dim=-1, keepdim=True)  # ln p_j + H
    force = p * above_mean
    return advantage * ((p * force).sum(dim=-1) - force.gather(-1, sampled[:, None])[:, 0])


def entropy_change_from_statistics(
    log_prob: torch.Tensor, statistics: Statistics, weight: torch.Tensor
) -> torch.Tensor:
    """Return dH = -w [p_s (ln p_s + H) - (sum_j p_j^2 ln p_j + H S)] in nats per unit step, without the logits.

    Args:
        log_prob: float, ln p_s, any shape.
        statistics: of the same shape.
        weight: float, same shape: what multiplies the gradient of ln p_s in the direction of ascent.
    """
    entropy = statistics.entropy
    own = log_prob.exp() * (log_prob + entropy)
    return weight * (statistics.square_log_prob + entropy * statistics.collision - own)
