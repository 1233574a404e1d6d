"""The verdict on an answer: by text alone where that settles it, else by a worker process.

Verdicts: those of `wapo_verl.environments.math.equivalence`, and `TIMED_OUT` and `WORKER_DIED` of
`wapo_verl.environments.math.workers`. Only "equal" is right; all the others but "different" are counted by name, so
that an answer nobody could read is no silent zero. The match "exact" is the strict comparison of strings, without any
mathematics.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from itertools import count
from threading import Lock

from wapo_verl.environments.math.equivalence import DIFFERENT, EQUAL, GOLD_UNPARSED, UNPARSED, compare
from wapo_verl.environments.math.workers import TIMED_OUT, WORKER_DIED, pool

EQUIVALENT, EXACT = "equivalent", "exact"
MATCHES = (EQUIVALENT, EXACT)
UNDECIDED = (UNPARSED, GOLD_UNPARSED, TIMED_OUT, WORKER_DIED)
"""The verdicts that say nothing about the mathematics: the reward is 0 and the part of that name is 1."""

_LOG = logging.getLogger(__name__)
_REMEMBERED = 4_096
MOST_WARNINGS = 20
"""Answers that could not be read and are logged as warnings, of one process."""


def verify(gold: str, answer: str, match: str = EQUIVALENT) -> str:
    """Return the verdict on an answer; blocks while a worker looks at it.

    Args:
        gold: as written.
        answer: as written.
        match: ``EQUIVALENT``, or ``EXACT`` for equal strings (white space at the ends aside).

    Raises:
        ValueError: for another match.
        WorkerError: when no worker can be started.
    """
    if match not in MATCHES:
        raise ValueError(f"match {match!r} is unknown; use {' or '.join(MATCHES)}")
    if match == EXACT:
        return EQUAL if exactly(gold, answer) else DIFFERENT
    try:
        verdict = compare(gold, answer, _ask_a_worker)
    except _NeedsAlgebra:
        verdict = _remembered(gold, answer)
    if verdict in (UNPARSED, GOLD_UNPARSED):  # the pool says what timed out or ended a worker
        _log_unread(verdict, gold, answer)
    return verdict


def exactly(gold: str, answer: str) -> bool:
    """Tell whether gold and answer are the same text, white space at the ends aside."""
    return gold.strip() == answer.strip()


class _NeedsAlgebra(Exception):
    """Text alone does not settle it."""


def _ask_a_worker(gold: str, answer: str) -> bool:
    raise _NeedsAlgebra


_unread = count()


def _log_unread(verdict: str, gold: str, answer: str) -> None:
    """Warn of the first few; an untrained policy writes thousands that nobody can read, and the metric counts them."""
    number = next(_unread)
    level = logging.WARNING if number < MOST_WARNINGS else logging.INFO
    _LOG.log(level, "math verifier: %s, gold %.200r, answer %.200r", verdict, gold, answer)
    if number + 1 == MOST_WARNINGS:
        _LOG.warning("math verifier: further answers that cannot be read are logged at level INFO, and counted")


_verdicts: OrderedDict[tuple[str, str], str] = OrderedDict()
_lock = Lock()


def _remembered(gold: str, answer: str) -> str:
    """Return a worker's verdict; the completions of a group often give the same answer. A dead worker's is not kept."""
    key = (gold, answer)
    with _lock:
        if key in _verdicts:
            _verdicts.move_to_end(key)
            return _verdicts[key]
    verdict = pool().ask(gold, answer)
    if verdict != WORKER_DIED:
        with _lock:
            _verdicts[key] = verdict
            if len(_verdicts) > _REMEMBERED:
                _verdicts.popitem(last=False)
    return verdict
