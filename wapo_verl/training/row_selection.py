"""Choose the rows that an update needs: those with an advantage, each in the mini-batch it would have been in.

A row without an advantage gives a policy loss no gradient, so leaving it out changes nothing but the work.
Mini-batches keep the number of rows that veRL divides by; one in which no row carries anything is skipped. Ranks get
the same number of rows each, balanced by length; where the rows do not come out even, the shortest rows without an
advantage fill up.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wapo_verl.engine.step_plan import PLAN_KEY

Partition = Callable[[Sequence[int], int], Sequence[Sequence[int]]]
"""(lengths, ranks) -> for each rank the numbers of its rows, as many for each rank."""


@dataclass(frozen=True, slots=True)
class MiniBatch:
    """One optimizer step's rows.

    Attributes:
        rows: numbers of rows in the whole batch, rank by rank, the same count for each.
        micro_batch_rows: rows of a micro-batch on each rank, or None where veRL packs them by their tokens.
    """

    rows: tuple[int, ...]
    micro_batch_rows: int | None


def members(rows: int, ranks: int, mini_batch_rows: int) -> list[list[int]]:
    """Return the row numbers of each mini-batch, as veRL deals them: each rank holds a contiguous share of the batch.

    Args:
        rows: rows of the whole batch, a multiple of `mini_batch_rows`.
        ranks: data-parallel ranks.
        mini_batch_rows: rows of a mini-batch over all ranks, a multiple of `ranks`.

    Raises:
        ValueError: where one is no multiple of the other.
    """
    if rows % mini_batch_rows or mini_batch_rows % ranks:
        raise ValueError(f"{rows} rows, mini-batches of {mini_batch_rows} and {ranks} ranks do not come out even")
    share, each = rows // ranks, mini_batch_rows // ranks
    return [
        [rank * share + first + place for rank in range(ranks) for place in range(each)]
        for first in range(0, share, each)
    ]


def mini_batches(
    carries: Sequence[bool],
    lengths: Sequence[int],
    ranks: int,
    mini_batch_rows: int,
    micro_batch_rows: int | None,
    partition: Partition,
) -> list[MiniBatch]:
    """Return the mini-batches that have a row with an advantage, in their order.

    Args:
        carries: for each row of the batch, in the order in which veRL deals it out, whether it has an advantage.
        lengths: each row's tokens.
        ranks: data-parallel ranks.
        mini_batch_rows: rows of a configured mini-batch over all ranks.
        micro_batch_rows: rows of a configured micro-batch on one rank, or None where veRL packs by tokens.
        partition: deals rows over ranks evenly by their lengths.

    Raises:
        ValueError: where the numbers do not come out even.
    """
    if micro_batch_rows is not None and mini_batch_rows // ranks % micro_batch_rows:
        raise ValueError(
            f"a rank's {mini_batch_rows // ranks} rows of a mini-batch do not come out even in micro-batches of "
            f"{micro_batch_rows}: set actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu to a divisor"
        )
    found = []
    for numbers in members(len(carries), ranks, mini_batch_rows):
        chosen = [number for number in numbers if carries[number]]
        if not chosen:
            continue
        rows_a_rank, micro = _even(math.ceil(len(chosen) / ranks), micro_batch_rows)
        filled = _filled(chosen, numbers, lengths, rows_a_rank * ranks)
        found.append(MiniBatch(tuple(_dealt(filled, lengths, ranks, partition)), micro))
    return found


def forward_rows(
    chosen: Sequence[int],
    lengths: Sequence[int],
    ranks: int,
    micro_batch_rows: int | None,
    partition: Partition,
) -> tuple[list[int], int | None]:
    """Return the rows of a forward pass over the chosen ones, rank by rank, and its micro-batches' rows.

    What is missing to make ranks and micro-batches even is filled with the batch's shortest other rows; where there are
    too few of them, all rows are taken, in the largest micro-batches that come out even.

    Args:
        chosen: numbers of rows in the whole batch.
        lengths: the tokens of each of the batch's rows, whose number is a multiple of `ranks`.
        ranks: as `mini_batches` takes it.
        micro_batch_rows: as `mini_batches` takes it.
        partition: as `mini_batches` takes it.
    """
    rows_a_rank, micro = _even(math.ceil(len(chosen) / ranks), micro_batch_rows)
    wanted = rows_a_rank * ranks
    if wanted > len(lengths) and micro_batch_rows is not None:
        wanted, share = len(lengths), len(lengths) // ranks
        micro = next(size for size in range(micro_batch_rows, 0, -1) if share % size == 0)
    return _dealt(_filled(chosen, range(len(lengths)), lengths, wanted), lengths, ranks, partition), micro


def _filled(chosen: Sequence[int], among: Sequence[int], lengths: Sequence[int], wanted: int) -> list[int]:
    """Return the chosen rows and the shortest others, `wanted` in all, in their order."""
    taken = set(chosen)
    idle = sorted((number for number in among if number not in taken), key=lambda number: lengths[number])
    return sorted([*chosen, *idle[: wanted - len(chosen)]])


def _dealt(rows: Sequence[int], lengths: Sequence[int], ranks: int, partition: Partition) -> list[int]:
    """Return the rows, rank by rank."""
    parts = partition([lengths[row] for row in rows], ranks)
    return [rows[place] for part in parts for place in part]


def _even(rows: int, micro_batch_rows: int | None) -> tuple[int, int | None]:
    """Return rows of a rank and of its micro-batches, none above the configured size, that come out even.

    As many micro-batches as the configured size needs, of equal size: 9 rows in micro-batches of at most 8 are two of
    5.
    """
    if micro_batch_rows is None:
        return rows, None
    count = math.ceil(rows / micro_batch_rows)
    size = math.ceil(rows / count)
    return count * size, size


def balanced(lengths: Sequence[int], ranks: int) -> Sequence[Sequence[int]]:
    """Deal rows over ranks as veRL's own balancing does, by the work that their lengths mean: a `Partition`.

    One rank gets them all as they come, without veRL's search, which takes milliseconds for a few dozen rows.
    """
    if ranks == 1:
        return [range(len(lengths))]
    import torch
    from verl.utils.seqlen_balancing import calculate_workload, get_seqlen_balanced_partitions

    workload = calculate_workload(torch.tensor(lengths, dtype=torch.int64)).tolist()  # its search is slow on tensors
    return get_seqlen_balanced_partitions(workload, k_partitions=ranks, equal_size=True)


def update_orders(
    found: Sequence[MiniBatch], mini_batch_rows: int, epochs: int, plan: Mapping[str, Any]
) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
    """Yield each call of veRL's `update_actor`: the rows to send, and what veRL's worker reads beside them.

    A call is one optimizer step. veRL divides by `global_batch_size`, which stays the configured one, and ends a call
    by advancing the learning rate's schedule, which only the last call of a batch may do: the others' plan says
    `hold_schedule`.

    Args:
        found: the training batch's mini-batches.
        mini_batch_rows: rows of a configured mini-batch over all ranks.
        epochs: how often the batch is trained on.
        plan: the step's plan in plain types (`wapo_verl.engine.step_plan`).
    """
    last = epochs * len(found) - 1
    for number, batch in enumerate(batch for _ in range(epochs) for batch in found):
        beside: dict[str, Any] = {
            "global_batch_size": mini_batch_rows,
            "mini_batch_size": len(batch.rows),
            "epochs": 1,
            "dataloader_kwargs": {"shuffle": False},
            PLAN_KEY: {**plan, "hold_schedule": number < last},
        }
        if batch.micro_batch_rows is not None:
            beside["micro_batch_size_per_gpu"] = batch.micro_batch_rows
        yield batch.rows, beside
