"""What stopping settled groups does to WAPO's estimate and to the sampling, in closed form.

One prompt, n completions drawn independently, each right (reward 1) with probability p and wrong (reward 0) with
q = 1 - p; k of them are the probe. The derivations are in `docs/sampling.md`. Left out: rewards with more than two
values, for which only the probability of stopping, P(reward is the highest)^k, stays the same.
"""


def stopped(p: float, k: int) -> float:
    """Return the probability that a group is settled by its probe: p^k."""
    return p**k


def saved_completions(p: float, n: int, k: int) -> float:
    """Return the expected number of completions of a prompt that are not asked for: p^k (n - k)."""
    return stopped(p, k) * (n - k)


def gradient_share(p: float, n: int, k: int) -> float:
    """Return the share of a prompt's expected WAPO gradient, before the normaliser, that stopping leaves.

    1 - p^(k-1) (n-k) (k + (n-k-1) p) / (n (n-1)), for n >= 2. It falls from 1 at p = 0 (k >= 2) to k/n at p = 1.
    """
    return 1 - p ** (k - 1) * (n - k) * (k + (n - k - 1) * p) / (n * (n - 1))


def winner_probability(p: float, n: int, k: int) -> float:
    """Return the probability that a prompt's group has a winner and is not stopped: 1 - q^n - p^k.

    With k = n nothing is stopped, and it is the probability that a group's rewards differ.
    """
    return 1 - (1 - p) ** n - stopped(p, k)
