"""Times the turns of an episode, the policy's and the environment's by turns."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from verl.utils.profiler import simple_timer


@contextmanager
def timed(name: str, metrics: MutableMapping[str, Any], seconds: list[float]) -> Iterator[None]:
    """Add the time of a turn to the episode's sum under veRL's name, and to the list as one more turn."""
    before = metrics.get(name, 0.0)
    with simple_timer(name, metrics):
        yield
    seconds.append(metrics[name] - before)
