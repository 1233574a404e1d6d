"""Rows of a training batch, kept as TransferQueue keeps them, without its processes."""

from typing import Any

import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict
from transfer_queue import KVBatchMeta


class Queue:
    """Stands in for TransferQueue: fields by key, and metadata that, as there, does not remember a batch's extras."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def kv_batch_get(self, keys: list[str], partition_id: str, select_fields: list[str]) -> TensorDict:
        found = TensorDict({}, batch_size=len(keys))
        for name in select_fields:
            values = [self.rows[key][name] for key in keys]
            tensors = isinstance(values[0], torch.Tensor)
            found[name] = (
                torch.nested.as_nested_tensor(values, layout=torch.jagged) if tensors else NonTensorStack(*values)
            )
        return found

    def kv_batch_put(
        self, keys: list[str], partition_id: str, fields: TensorDict | None = None, tags: Any = None
    ) -> KVBatchMeta | None:
        if fields is None:  # the marks of prompts, which no test reads
            return None
        for name, values in fields.items():
            for key, value in zip(keys, values.unbind(0), strict=True):
                self.rows[key][name] = value.data if isinstance(value, NonTensorData) else value
        return KVBatchMeta(partition_id=partition_id, keys=list(keys), tags=[self.rows[key]["tag"] for key in keys])

    def kv_clear(self, keys: list[str], partition_id: str) -> None:
        for key in keys:
            del self.rows[key]
