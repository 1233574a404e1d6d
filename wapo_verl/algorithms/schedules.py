"""Change a number from one value to another over the steps of a run."""

import math
from collections.abc import Callable, Mapping

CURVES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda progress: 0.0,
    "linear": lambda progress: progress,
    "cosine": lambda progress: (1 - math.cos(math.pi * progress)) / 2,
}
"""Kind -> function from progress in [0, 1] to the share of the way from the first value to the last."""


def scheduled(start: float, final: float, kind: str, step: int, total: int) -> float:
    """Return the value of one step: `start` in the first, `final` in the last, between them in the steps between.

    Args:
        start: the value of the first step, and of every step where `kind` is "constant".
        final: the value of the last step, and of steps after it.
        kind: a name in `CURVES`.
        step: the step, counted from 1.
        total: the number of steps of the run; a run of one step has `start` alone.

    Raises:
        ValueError: where `kind` is unknown, or `step` or `total` is below 1.
    """
    if kind not in CURVES:
        raise ValueError(f"a schedule of kind {kind!r} is not known: choose {', '.join(CURVES)}")
    if step < 1 or total < 1:
        raise ValueError(f"step {step} of {total} is not possible: both are counted from 1")
    progress = min((step - 1) / (total - 1), 1.0) if total > 1 else 0.0
    share = CURVES[kind](progress)
    return start * (1 - share) + final * share
