"""Whole records of a validation's completions, taken before veRL clears their rows.

veRL 0.9.1 validates in one method: a batch is sampled from the replay buffer, read, and cleared from TransferQueue, and
only after the last batch the lines are dumped, from what was read. The one place between is `ReplayBuffer.sample`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from transfer_queue import KVBatchMeta

Columns = Mapping[str, Sequence[Any]]


class Picked(Sequence[Any]):
    """A column put together from places in other columns, each read when it is asked for.

    Args:
        places: of each row, its column and its place in it.
    """

    def __init__(self, places: Sequence[tuple[Sequence[Any], int]]) -> None:
        self._places = places

    def __len__(self) -> int:
        """Return the rows."""
        return len(self._places)

    def __getitem__(self, row: Any) -> Any:
        """Return what a row has."""
        column, place = self._places[row]
        return column[place]


class ValidationRecords:
    """The records of one validation."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[Columns, int]] = {}

    def take(self, keys: Sequence[str], columns: Columns) -> None:
        """Keep the records of a batch, whose columns have a row a key."""
        self._rows.update({key: (columns, place) for place, key in enumerate(keys)})

    def beside(self, columns: Columns) -> dict[str, Sequence[Any]]:
        """Return the columns that veRL dumps, and those of the records for the same rows; veRL's own stay.

        Args:
            columns: veRL's, `uid` among them.
        """
        rows = [self._rows[key] for key in columns["uid"]]
        names = dict.fromkeys(name for kept, _ in rows for name in kept)
        return {**{name: Picked([(kept[name], place) for kept, place in rows]) for name in names}, **columns}


@contextmanager
def sampled_batches(buffer: Any, see: Callable[[KVBatchMeta], None]) -> Iterator[None]:
    """Show every batch that is sampled from a replay buffer, veRL's or a user's own, before anybody else reads it."""
    sample = buffer.sample

    def sample_and_show(*args: Any, **kwargs: Any) -> Any:
        batch, metrics = sample(*args, **kwargs)
        see(batch)
        return batch, metrics

    buffer.sample = sample_and_show
    try:
        yield
    finally:
        del buffer.sample  # the class's own again
