"""When a run has collapsed, said from its record alone: the one definition that tables and detectors use.

The training exact match (`critic/score/mean`, the share of a step's sampled episodes that were right) is averaged over
the newest three steps, fewer at the start. A run has collapsed at step t when from t to its last step this average is
below half of the best average there was up to t, and at least three steps long. The first such step is the label. Where
that is not so, but the validation after the last step's update is below half of the best validation, the run has
collapsed at its last step: no later step is there to show it.

The best average is at least that of the untrained policy, since the first two steps sample from it (the learning rate's
warm-up starts at 0); so a run that only ever falls has collapsed too, and one that dips and comes back has not. A run
that falls by less than half, however badly it ends, has not collapsed: how well it ends is another column. Earlier
validations are not used: they are too rare to date a collapse.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.study.records import HELD_OUT, REWARD, Record

WINDOW = 3
"""Steps that are averaged over, and the fewest for which a collapse must last."""
FALL = 0.5
"""The share of the best average below which a run has collapsed."""


def label(record: Record) -> int | None:
    """The step at which the run had collapsed, None where it did not."""
    curve = record.curve(REWARD)
    rewards = [value for _, value in curve]
    place = collapse_place(rewards)
    if place is not None:
        return curve[place][0]
    validations = record.curve(HELD_OUT)
    last, held_out = validations[-1]
    at_the_end = bool(curve) and last == curve[-1][0]
    return last if at_the_end and held_out < FALL * max(value for _, value in validations) else None


def collapse_place(rewards: Sequence[float]) -> int | None:
    """The place in a run's rewards, counted from 0, at which it had collapsed; None where it did not."""
    averages = trailing_means(rewards)
    best, low = 0.0, []
    for average in averages:
        best = max(best, average)
        low.append(average < FALL * best)
    standing = len(low)
    while standing and low[standing - 1]:
        standing -= 1
    return standing if len(low) - standing >= WINDOW else None


def trailing_means(values: Sequence[float]) -> list[float]:
    """The mean of each value and those before it, `WINDOW` of them at most."""
    return [sum(values[max(0, end - WINDOW) : end]) / min(end, WINDOW) for end in range(1, len(values) + 1)]
