"""Where the random numbers of a completion come from: its own place in the run, not the order of arrival.

vLLM draws for all requests from one generator, in the order in which they reach it, which differs from run to run. A
request with a seed has a generator of its own.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

SEED = "wapo.resolved.sampling_seed"
"""Where `wapo_verl.settings` writes the run's seed; null where requests have none."""


class SampleSeed(int):
    """The seed of a completion. Each of its turns gets one of its own (`seed_the_turn`); a plain int is left alone."""


def seed_of(*place: object) -> int:
    """Return the seed of a place, such as (run's seed, prompt, number of the sample): 31 bits of a hash."""
    text = "/".join(map(str, place))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def turn_seed(seed: int, prompt_tokens: int) -> int:
    """Return the seed of a turn: a completion's turns must not draw the same random numbers one after the other.

    Args:
        seed: the completion's.
        prompt_tokens: tokens that stand before the turn, of which no two turns have as many.
    """
    return seed_of(seed, prompt_tokens)


def seed_the_turn(sampling_params: Mapping[str, Any], prompt_tokens: int) -> Mapping[str, Any]:
    """Return a request's sampling parameters with the turn's seed in the place of the completion's."""
    seed = sampling_params.get("seed")
    if not isinstance(seed, SampleSeed):
        return sampling_params
    return {**sampling_params, "seed": turn_seed(seed, prompt_tokens)}


class PromptNames:
    """Gives each prompt that a run fetches a name (veRL's `uid`): the same in every run, also in a resumed one."""

    def __init__(self) -> None:
        self._step, self._fetched = 0, 0

    def next(self, step: int, prompts: int) -> list[str]:
        """Return the names of the prompts that are fetched next.

        Args:
            step: the step that fetches them; it never falls.
            prompts: how many they are.
        """
        if step != self._step:
            self._step, self._fetched = step, 0
        first, self._fetched = self._fetched, self._fetched + prompts
        digests = (hashlib.sha256(f"{step}/{number}".encode()).digest() for number in range(first, self._fetched))
        return [str(uuid.UUID(bytes=digest[:16])) for digest in digests]


def row_name(row: Mapping[str, Any]) -> str:
    """Return a name of a validation row, whose `uid` veRL draws anew: its number and what it asks."""
    asked = json.dumps([str(row.get("index")), list(row.get("raw_prompt", []))], sort_keys=True, default=str)
    return hashlib.sha256(asked.encode()).hexdigest()[:16]
