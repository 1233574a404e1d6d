"""Count a run's failed episodes, and stop the run where more failed than its budget allows (docs/failures.md)."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wapo_verl.environments.failures import REASONS
from wapo_verl.rollout.failures import FAILURE, GROUP, MESSAGE, FailureBudget
from wapo_verl.say import say

WINDOW = 50
"""Steps over which the budget must hold as well, the running one among them."""

LEDGER = "wapo_failures"
"""The attribute of a replay buffer that holds the ledger, which every look at the rollout's progress shows to it."""

Tags = Mapping[str, Mapping[str, Any]]
"""Key "{uid}_{session}_{output}" -> the tag of a row."""


class FailureBudgetError(RuntimeError):
    """More episodes failed than the budget allows; the message has every reason, its count and its first error."""


@dataclass(slots=True)
class Count:
    """The episodes of a step, or of a validation.

    Attributes:
        planned: those of one batch.
        seen: those that were played, which may be more: a group filter asks for further ones.
        failed: reason -> failed ones.
    """

    planned: int = 0
    seen: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def episodes(self) -> int:
        """What shares are of."""
        return max(self.planned, self.seen)


class FailureLedger:
    """Counts the failed episodes of a run's steps and validations.

    Args:
        budget: the run's.
    """

    def __init__(self, budget: FailureBudget) -> None:
        self._budget = budget
        self._now = {"train": Count(), "val": Count()}
        self._before: deque[Count] = deque(maxlen=WINDOW - 1)
        self._known: dict[str, set[str]] = {"train": set(), "val": set()}
        self._first: dict[str, str] = {}

    def begin_step(self, episodes: int) -> None:
        """Begin a step whose batch has so many episodes."""
        if not self._now["train"].planned:  # what was seen before the first step counts as its own
            self._now["train"].planned = episodes
            return
        self._before.append(self._now["train"])
        self._now["train"] = Count(episodes)

    def begin_validation(self, episodes: int) -> None:
        """Begin a validation of so many episodes."""
        self._now["val"] = Count(episodes)

    def look(self, partitions: Mapping[str, Tags], finished: Mapping[str, set[str]]) -> None:
        """Count what was played since the last look.

        Args:
            partitions: "train" and "val" -> the rows that are there.
            finished: "train" and "val" -> the uids of the prompts whose episodes are all over.

        Raises:
            FailureBudgetError: where the budget is passed.
        """
        for partition, count in self._now.items():
            over, rows = finished.get(partition, set()), partitions.get(partition, {})
            episodes = {session_of(key): tag for key, tag in rows.items() if uid_of(key) in over}
            new = [tag for episode, tag in episodes.items() if episode not in self._known[partition]]
            self._known[partition] = set(episodes)
            count.seen += len(new)
            for tag in new:
                if reason := tag.get(FAILURE):
                    count.failed[reason] += 1
                    self._tell(reason, str(tag[MESSAGE]))
        self._check([self._now["val"]], "this validation")
        self._check([self._now["train"]], "this step")
        self._check([*self._before, self._now["train"]], f"the last {len(self._before) + 1} steps")

    def metrics(self) -> dict[str, float]:
        """Return `failures/REASON`, how many episodes of this step failed so, and `failures/share`, of all of them."""
        count = self._now["train"]
        return {
            **{f"failures/{reason}": float(count.failed[reason]) for reason in _in_order([*REASONS, *count.failed])},
            "failures/share": count.failed.total() / max(count.episodes, 1),
        }

    def _tell(self, reason: str, message: str) -> None:
        """Print the first failure of each reason; the metrics and the dump have them all."""
        if reason not in self._first:
            self._first[reason] = message
            say(f"an episode failed ({reason}) and is left out, the first such: {message}")

    def _check(self, counts: Sequence[Count], over: str) -> None:
        episodes, failed = sum(count.episodes for count in counts), Counter[str]()
        for count in counts:
            failed.update(count.failed)
        counted = sum(number for reason, number in failed.items() if self._budget.counts(reason))
        allowed = self._budget.allowed(episodes)
        if counted > allowed:
            raise FailureBudgetError(self._message(f"{counted} of {episodes} episodes of {over}", allowed, failed))

    def _message(self, failed_ones: str, allowed: int, failed: Counter[str]) -> str:
        reasons = "; ".join(
            f"{number} {reason}, the first: {self._first[reason]}"
            for reason, number in failed.most_common()
            if self._budget.counts(reason)
        )
        return (
            f"{GROUP}.budget={self._budget.share:g} is passed: {failed_ones} failed, and {allowed} may ({reasons}); "
            "repair what failed and resume the run, or raise the budget"
        )


def uid_of(key: str) -> str:
    """Return the uid of a row's prompt, as veRL's replay buffer tells it from the key."""
    return key.split("_")[0]


def session_of(key: str) -> str:
    """Return the name of the episode that a row is an output of, "{uid}_{session}"."""
    return key.rsplit("_", 1)[0]


def _in_order(reasons: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(reasons))
