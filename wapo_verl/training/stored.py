"""The rows of a batch in TransferQueue, as this project's trainer reads and writes them."""

from typing import Any

import transfer_queue as tq
from tensordict import TensorDict
from transfer_queue import KVBatchMeta

from wapo_verl.training.advantages import Rows, is_failed, is_padding


def fetch(batch: KVBatchMeta, *fields: str) -> TensorDict:
    """Fetch these fields of a batch's rows."""
    return tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=list(fields))


def store(batch: KVBatchMeta, fields: dict[str, Any]) -> KVBatchMeta:
    """Store fields of a batch's rows; return the batch with a record of them."""
    stored = TensorDict(fields, batch_size=len(batch))
    return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=stored)


def rows_of(batch: KVBatchMeta, data: TensorDict) -> Rows:
    """Return what the algorithms read of a batch, whose `rm_scores` are in `data`."""
    return Rows(batch.keys, batch.tags, data["rm_scores"].to_padded_tensor(0.0).sum(dim=-1))


def real_keys(batch: KVBatchMeta, failed: bool = True) -> list[str]:
    """Return the keys of a batch's rows without those that veRL added as padding, with those that failed or without."""
    rows = zip(batch.keys, batch.tags, strict=True)
    return [key for key, tag in rows if not is_padding(tag) and (failed or not is_failed(tag))]
