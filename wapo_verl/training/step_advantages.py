"""Compute the advantages of a step's batch, and store them beside its rows."""

from dataclasses import replace

from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.workers.utils.padding import response_to_nested

from wapo_verl.algorithms import Algorithm
from wapo_verl.algorithms.batch import spread
from wapo_verl.engine.token_records import ROW_KEY, row_keys
from wapo_verl.training.advantages import Rows, advantages, outcomes_of, truncated_rows
from wapo_verl.training.decisions import Decisions
from wapo_verl.training.step import StepState
from wapo_verl.training.stored import fetch, rows_of, store


def judged_rows(batch: KVBatchMeta, data: TensorDict, decisions: Decisions) -> Rows:
    """Return the rows of a batch, whose `rm_scores` and `extra_fields` are in `data`, with what gates who wins."""
    outcomes = outcomes_of(list(data["extra_fields"]), batch.tags, decisions.outcome_parts)
    return replace(rows_of(batch, data), outcomes=outcomes, gated=decisions.outcome_gate)


def write_advantages(
    batch: KVBatchMeta, algorithm: Algorithm, decisions: Decisions, limit: int, records: bool
) -> tuple[StepState, KVBatchMeta, dict[str, float]]:
    """Ask an algorithm for the advantages of a batch and store them, spread over the rows' own tokens.

    Args:
        batch: the whole batch.
        algorithm: the run's.
        decisions: the run's.
        limit: the most tokens that a response may have.
        records: whether the update is to store what it knows of each token, for which it needs the rows' keys.

    Returns:
        The step, the batch with a record of the fields, and the advantages' metrics.
    """
    data = fetch(batch, "response_mask", "rm_scores", "extra_fields")
    mask = data["response_mask"].to_padded_tensor(0)
    truncated = truncated_rows(list(data["extra_fields"]), batch.tags, limit)
    rows = judged_rows(batch, data, decisions)
    values, metrics = advantages(rows, mask, truncated, algorithm, decisions.options, decisions.plans.negatives)
    nested = response_to_nested(spread(values, mask), data["response_mask"])
    fields = {"advantages": nested, "returns": nested}
    if records:
        fields[ROW_KEY] = row_keys(batch.keys)
    step = StepState(batch, carries=tuple((values != 0).tolist()), own_tokens=int(mask.sum()))
    return step, store(batch, fields), metrics
