"""Take an optimizer step at a multiple of the schedule's learning rate, which neither of them remembers."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.optim import Optimizer


@contextmanager
def scaled_learning_rate(optimizer: Optimizer, factor: float) -> Iterator[None]:
    """Multiply the learning rate of every parameter group by `factor`, for as long as this lasts.

    The schedule's and the optimizer's own state stay veRL's, so that a schedule's step does not undo the factor, a
    checkpoint does not hold it, and no resume multiplies by it twice.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * factor
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
