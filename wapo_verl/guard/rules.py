"""The detector's rules: each tells from one metric's past whether its condition holds now. Pure Python.

| rule | its condition holds when |
|---|---|
| `not_finite` | a metric of the policy, its rewards or its episodes is NaN or infinite |
| `entropy_floor`, `entropy_ceiling` | the entropy is below, above its multiple of the run's own start |
| `reward_fall` | the smoothed reward is further below its best than both margins allow |
| `reward_constant` | every completion has the same reward: none beats another, so nothing is learned any more |
| `no_winner` | within no group do rewards differ, though they differ between groups |
| `length_floor`, `length_ceiling` | the mean response length is below, above its multiple of the run's own start |
| `repetition` | completions repeat their own n-grams more than at the start, by the margin |
| `answer_fall` | the smoothed answer rate is further below its best than the margin |
| `truncation` | a larger share of completions is cut by a length limit than at the start, by the margin |
| `winner_likelihood` | the mean log-prob of winners' tokens is below its multiple of the run's own start |
| `search_floor` | episodes search less than the floor's multiple of the run's own start |
| `mismatch` | the gap between rollout and actor is above its multiple of the start's, and above the least that counts |
| `grad_norm` | the gradient norm is above its multiple of its running median, or of the start's where that is larger |

A rule alarms when its condition held for its patience of steps in a row. A step without the rule's metric says nothing:
the count stays. What is done about an alarm is in `guard`.
"""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wapo_verl.guard.thresholds import Thresholds

REWARD, LEAST_REWARD, MOST_REWARD = "critic/score/mean", "critic/score/min", "critic/score/max"
ENTROPY = "actor/entropy"
GRAD_NORM = "actor/grad_norm"
LENGTH = "response_length/mean"
ANSWERS = "episode/answer_rate"
REPETITION = "episode/repetition_rate"
SEARCHES = "episode/searches/mean"
WITH_WINNER = "group/with_winner"
TRUNCATED = "episode/truncated"
WINNER_LOG_PROB = "group/winner_log_prob/mean"
MISMATCH = "training/rollout_probs_diff_mean"

MUST_BE_FINITE = ("actor/", "critic/score/", "response_length/", "episode/", "group/")
"""How the metrics' names begin that `not_finite` reads. A correlation elsewhere may be NaN in a good run."""


@dataclass(slots=True)
class Track:
    """What is remembered of one metric: its start, its last values (newest last), and its best smoothed value."""

    first: list[float] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)
    best: float | None = None

    def add(self, value: float, thresholds: Thresholds) -> None:
        """Remember one more value."""
        if len(self.first) < thresholds.baseline_steps:
            self.first.append(value)
        kept = 1 + max(thresholds.grad_norm_window, thresholds.smoothing_steps, thresholds.baseline_steps)
        self.recent = [*self.recent, value][-kept:]
        smoothed = self.smoothed(thresholds)
        if smoothed is not None:
            self.best = smoothed if self.best is None else max(self.best, smoothed)

    def smoothed(self, thresholds: Thresholds) -> float | None:
        """Return the mean of the last steps, None while they are too few."""
        last = self.recent[-thresholds.smoothing_steps :]
        return statistics.fmean(last) if len(last) == thresholds.smoothing_steps else None

    def start(self, thresholds: Thresholds) -> float | None:
        """Return the mean of the first steps, None while they are too few or this is one of them."""
        settled = len(self.first) == thresholds.baseline_steps and len(self.recent) > len(self.first)
        return statistics.fmean(self.first) if settled else None


@dataclass(frozen=True, slots=True)
class Look:
    """One step as a rule sees it: the rule's metric and its track, this value among it, and all metrics."""

    value: float
    track: Track
    metrics: Mapping[str, float]
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class Breach:
    """A condition that holds: the value, the limit it is beyond, and a few words that say so.

    A rule that looks at all metrics says which one it is about.
    """

    value: float
    limit: float
    words: str
    metric: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule by name: its metric (None: it looks at all of them), its condition, and how long that must hold."""

    name: str
    metric: str | None
    judge: Callable[[Look], Breach | None]
    patience: Callable[[Thresholds], int] = lambda thresholds: thresholds.patience


def _below_start(name: str, multiple: Callable[[Thresholds], float]) -> Callable[[Look], Breach | None]:
    return _beyond_start(name, multiple, operator.lt)


def _above_start(name: str, multiple: Callable[[Thresholds], float]) -> Callable[[Look], Breach | None]:
    return _beyond_start(name, multiple, operator.gt)


def _beyond_start(
    name: str, multiple: Callable[[Thresholds], float], is_beyond: Callable[[float, float], bool]
) -> Callable[[Look], Breach | None]:
    def judge(look: Look) -> Breach | None:
        start = look.track.start(look.thresholds)
        limit = 0.0 if start is None else multiple(look.thresholds) * start
        if start is None or not is_beyond(look.value, limit):
            return None
        return Breach(look.value, limit, f"{name} is {look.value:.4g}, at the start it was {start:.4g}")

    return judge


def _fall(name: str, margin: Callable[[Thresholds, float], float]) -> Callable[[Look], Breach | None]:
    def judge(look: Look) -> Breach | None:
        smoothed, best = look.track.smoothed(look.thresholds), look.track.best
        if smoothed is None or best is None:
            return None
        limit = best - margin(look.thresholds, best)
        if smoothed >= limit:
            return None
        words = f"{name}, over {look.thresholds.smoothing_steps} steps, fell to {smoothed:.4g} from its best {best:.4g}"
        return Breach(smoothed, limit, words)

    return judge


def _rise(name: str, margin: Callable[[Thresholds], float]) -> Callable[[Look], Breach | None]:
    def judge(look: Look) -> Breach | None:
        start = look.track.start(look.thresholds)
        limit = math.inf if start is None else start + margin(look.thresholds)
        if look.value <= limit:
            return None
        return Breach(look.value, limit, f"{name} is {look.value:.1%}, at the start it was {start:.1%}")

    return judge


def reward_margin(thresholds: Thresholds, best: float) -> float:
    """Return how far the smoothed reward may fall from its best: the larger of both margins."""
    return max(thresholds.reward_fall_absolute, thresholds.reward_fall_relative * abs(best))


def not_finite(look: Look) -> Breach | None:
    """Find the first metric, of those that must be finite, that is not."""
    found = [name for name in look.metrics if name.startswith(MUST_BE_FINITE) and not math.isfinite(look.metrics[name])]
    if not found:
        return None
    return Breach(look.metrics[found[0]], math.inf, f"{found[0]} is {look.metrics[found[0]]}", found[0])


def reward_constant(look: Look) -> Breach | None:
    """Find a step whose completions all have the same reward.

    A run without the least and the greatest reward shows it by a mean of 0. A positive reward to which the run has
    risen, and which is its best, is no breach: the task is solved.
    """
    least, most = look.metrics.get(LEAST_REWARD), look.metrics.get(MOST_REWARD)
    same = look.value == 0 if least is None or most is None else least == most
    start, best = look.track.start(look.thresholds), look.track.best
    if not same or (start is not None and look.value > max(start, 0) and look.value >= (best or 0) * (1 - 1e-6)):
        return None
    words = f"every completion has the reward {look.value:.4g}, so nothing can be learned"
    return Breach(look.value, look.value, words)


def no_winner(look: Look) -> Breach | None:
    """Find a step whose groups have no winner; where all rewards are the same `reward_constant` judges it."""
    least, most = look.metrics.get(LEAST_REWARD), look.metrics.get(MOST_REWARD)
    all_the_same = least is not None and least == most
    if look.value > 0 or all_the_same:
        return None
    return Breach(look.value, 0.0, "no group has a winner, so nothing can be learned")


def mismatch(look: Look) -> Breach | None:
    """Find a gap between the probabilities of rollout and actor far above the start's."""
    start = look.track.start(look.thresholds)
    if start is None:
        return None
    limit = max(look.thresholds.mismatch_factor * start, look.thresholds.mismatch_least)
    if look.value <= limit:
        return None
    words = f"the rollout's probabilities are {look.value:.4g} from the actor's, at the start it was {start:.4g}"
    return Breach(look.value, limit, words)


def grad_norm(look: Look) -> Breach | None:
    """Find a gradient norm far above the usual; a run near its optimum has tiny ones, so the start's counts as well."""
    before = look.track.recent[:-1][-look.thresholds.grad_norm_window :]
    if look.track.start(look.thresholds) is None:
        return None
    usual = max(statistics.median(before), statistics.median(look.track.first))
    limit = look.thresholds.grad_norm_factor * usual
    if look.value <= limit or usual == 0:
        return None
    return Breach(look.value, limit, f"the gradient norm is {look.value:.4g}, usual is {usual:.4g}")


RULES: tuple[Rule, ...] = (
    Rule("not_finite", None, not_finite, lambda t: t.not_finite_steps),
    Rule("entropy_floor", ENTROPY, _below_start("the entropy", lambda t: t.entropy_floor)),
    Rule("entropy_ceiling", ENTROPY, _above_start("the entropy", lambda t: t.entropy_ceiling)),
    Rule("reward_fall", REWARD, _fall("the reward", reward_margin)),
    Rule("reward_constant", REWARD, reward_constant, lambda t: t.constant_reward_steps),
    Rule("no_winner", WITH_WINNER, no_winner, lambda t: t.no_winner_steps),
    Rule("length_floor", LENGTH, _below_start("the response length", lambda t: t.length_floor)),
    Rule("length_ceiling", LENGTH, _above_start("the response length", lambda t: t.length_ceiling)),
    Rule("repetition", REPETITION, _rise("the share of repeated n-grams", lambda t: t.repetition_rise)),
    Rule("truncation", TRUNCATED, _rise("the share of truncated completions", lambda t: t.truncation_rise)),
    Rule("answer_fall", ANSWERS, _fall("the answer rate", lambda t, best: t.answer_fall)),
    Rule(
        "winner_likelihood",
        WINNER_LOG_PROB,
        _below_start("winners' log-prob a token", lambda t: t.winner_log_prob_factor),
    ),
    Rule("search_floor", SEARCHES, _below_start("the number of searches of an episode", lambda t: t.search_floor)),
    Rule("mismatch", MISMATCH, mismatch),
    Rule("grad_norm", GRAD_NORM, grad_norm),
)
