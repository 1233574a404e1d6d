"""Lay out the training dump: one JSON line for each completion, with its episode's record and its reward's parts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wapo_verl.data.question_index import add_entry, step_entry
from wapo_verl.rollout.failures import FAILURE
from wapo_verl.say import say_once
from wapo_verl.training.advantages import episode_of


def dump_columns(
    keys: Sequence[str], extra_fields: Sequence[Any], data_sources: Sequence[Any], text: Callable[[int], str]
) -> dict[str, list[Any]]:
    """Return the columns beside prompt, response, ground truth and score.

    Args:
        keys: each row's key.
        extra_fields: what the agent loop stored of each row.
        data_sources: each row's.
        text: gives a row's response as the reward function reads it, by the row's place.

    Returns:
        `uid`, the key; `environment`, the data source; `episode`, the record or None; `completion`, what the reward
        function read of a row without one, so that it can be called again; and everything that it returned beside the
        score, whatever its type, None where a row has no such part.
    """
    episodes = [episode_of(extra) for extra in extra_fields]
    parts = [_reward_extras(extra) for extra in extra_fields]
    names = sorted({name for part in parts for name in part} - {"score"})
    return {
        "uid": list(keys),
        "environment": [str(source) for source in data_sources],
        "episode": episodes,
        "completion": [text(place) if episode is None else None for place, episode in enumerate(episodes)],
        **{name: [part.get(name) for part in parts] for name in names},
    }


def failed_rows(columns: Mapping[str, Sequence[Any]]) -> list[bool]:
    """Tell of each row whether its episode failed.

    Args:
        columns: what the reward function returned beside the score, by name, and why an episode failed; {} for none.
    """
    return [isinstance(reason, str) for reason in columns.get(FAILURE, ())]


def without_rewards(
    scores: Sequence[Any], columns: Mapping[str, Sequence[Any]]
) -> tuple[Sequence[Any], Mapping[str, Sequence[Any]]]:
    """Return scores and columns of a dump with None for the reward of each failed episode, which has none."""
    failed = failed_rows(columns)
    if not any(failed):
        return scores, columns

    def blank(values: Sequence[Any]) -> list[Any]:
        return [None if out else value for value, out in zip(values, failed, strict=True)]

    return blank(scores), {**columns, **{name: blank(columns[name]) for name in ("reward",) if name in columns}}


@contextmanager
def whole_dump(file: Path) -> Iterator[None]:
    """Write a dump in here; where the disk does not take it, say so once, take away what is there, and go on."""
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            file.unlink(missing_ok=True)
        say_once("dump", f"{file} could not be written; training goes on without such dumps: {error}")


def index_dump(file: Path, step: int, lines: Iterable[Mapping[str, Any]]) -> None:
    """Add a dump's line to the index beside it; where the disk does not take it, the viewer will."""
    with suppress(OSError):
        add_entry(file.parent, step_entry(step, file.stat().st_size, lines))


def _reward_extras(extra_fields: Any) -> dict[str, Any]:
    return extra_fields.get("reward_extra_info") or {} if isinstance(extra_fields, dict) else {}
