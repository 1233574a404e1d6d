"""Choose the rows of an environment that a check or a game is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from wapo_verl.environments.environment import Environment, Example
from wapo_verl.environments.hub import HubSource, parse_source
from wapo_verl.environments.registry import environment


@dataclass(frozen=True, slots=True)
class RowChoice:
    """Which rows of an environment: their source, options and splits, and at most so many of each split."""

    env: Environment
    source: Path | None
    splits: tuple[str, ...]
    options: Mapping[str, Any]
    limit: int | None = None

    def examples(self, split: str) -> Iterator[tuple[int, Example]]:
        """Read the split's examples with their places, from the start."""
        return enumerate(islice(self.env.examples(split, self.source, **self.options), self.limit))


def rows_of(
    name: str,
    source: Path | str | None = None,
    splits: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
    limit: int | None = None,
    agent: str | None = None,
) -> RowChoice:
    """Return the rows that the user asked for, of the environment's own sample where no source is given.

    Args:
        name: the environment.
        source: a place, or as text also a data set on the Hugging Face hub (`wapo_verl.environments.hub.parse_source`).
        splits: of them; all that the source has by default.
        options: the environment's own.
        limit: at most so many rows of each split.
        agent: the agent loop, where it is not the environment's own.

    Raises:
        ValueError: where there are no rows, with the fix.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"--limit must be at least 1, not {limit}")
    env = environment(name) if agent is None else environment(name).played_by(agent)
    source = env.sample_source() if source is None else _place(env, source, splits)
    if source is None and not env.generates_documents and env.file_patterns():
        raise ValueError(
            f"{name} is read from files and its folder has no sample/: put a few rows there, or give --source"
        )
    chosen = splits or env.available_splits(source)
    for split in chosen:
        if split not in env.splits:
            raise ValueError(f"{name} has no split {split!r}; its splits are {', '.join(env.splits)}")
    return RowChoice(env, source, tuple(dict.fromkeys(chosen)), env.resolve_options(options or {}), limit)


def _place(env: Environment, source: Path | str, splits: tuple[str, ...]) -> Path:
    found = parse_source(source, env.hub_repo) if isinstance(source, str) else source
    return found.fetch(env.file_patterns(splits))[0] if isinstance(found, HubSource) else found
