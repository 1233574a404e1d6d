"""The weights' way from the trainer to rollouts on devices of their own, over gloo: a checkpoint engine of veRL's.

veRL's `separate_async` mode needs one, and those it ships need a GPU's or a network card's library. A sync opens a
store at the actor's rank 0, joins that rank and every rollout worker to a process group, and broadcasts the weights in
buckets; nothing of it is kept for the next sync, so rollout workers may come and go. What blocks runs in a thread, so
that the processes' event loops live.

veRL imports this module through `rollout.checkpoint_engine.custom_backend_module`, which registers the engine.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import ray
import torch
from torch.distributed import ProcessGroupGloo, TCPStore
from verl.checkpoint_engine.base import CheckpointEngine, CheckpointEngineRegistry

BACKEND = "gloo"
"""The engine's name, as `rollout.checkpoint_engine.backend`."""

TIMEOUT = timedelta(minutes=10)
"""As long as veRL waits for its own process groups (`nccl_timeout`)."""

_ALIGNMENT = 16
"""Bytes at whose multiples weights begin in a bucket: a view of another dtype has to begin at one of its items."""

Weights = Sequence[tuple[str, torch.Tensor]]


def buckets(weights: Iterable[tuple[str, torch.Tensor]], size: int) -> Iterator[Weights]:
    """Yield weights in groups of at most `size` bytes; one that is larger is a group by itself."""
    bucket: list[tuple[str, torch.Tensor]] = []
    room = size
    for name, weight in weights:
        if bucket and weight.nbytes > room:
            yield bucket
            bucket, room = [], size
        bucket.append((name, weight))
        room -= weight.nbytes
    if bucket:
        yield bucket


def pack(bucket: Weights) -> tuple[bytes, torch.Tensor]:
    """Return what the weights are, and their bytes one after the other: (P,) uint8."""
    parts, pieces, offset = [], [torch.empty(0, dtype=torch.uint8)], 0
    for name, weight in bucket:
        data = weight.detach().cpu().contiguous().view(-1).view(torch.uint8)
        padding = -data.numel() % _ALIGNMENT
        parts.append((name, list(weight.shape), str(weight.dtype).removeprefix("torch."), offset, data.numel()))
        pieces += [data, data.new_zeros(padding)]
        offset += data.numel() + padding
    return json.dumps(parts).encode(), torch.cat(pieces)


def unpack(header: bytes, payload: torch.Tensor) -> Weights:
    """Return the weights that `pack` was given, as views of the bytes."""
    return [
        (name, payload[offset : offset + length].view(getattr(torch, dtype)).view(shape))
        for name, shape, dtype, offset, length in json.loads(header)
    ]


@CheckpointEngineRegistry.register(BACKEND)
class GlooCheckpointEngine(CheckpointEngine):
    """Sends the weights from the actor's rank 0 to every rollout worker.

    Args:
        bucket_size: bytes of weights in one broadcast.
        is_master: whether this process is the actor's rank 0.
    """

    def __init__(self, bucket_size: int, is_master: bool = False) -> None:
        self.bucket_size = bucket_size
        self.is_master = is_master
        self._store: TCPStore | None = None
        self._group: ProcessGroupGloo | None = None

    def prepare(self) -> dict[str, Any]:
        """Open the store of this sync at the actor's rank 0 and return its address; nothing elsewhere."""
        if not self.is_master:
            return {}
        host = ray.util.get_node_ip_address().strip("[]")
        self._store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
        return {"host": host, "port": self._store.port}

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[dict[str, Any]]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Give the actor's rank 0 the rank 0, its other ranks none (-1), and the rollout workers 1, 2, ...

        Args:
            actor_wg_world_size: the actor's ranks.
            rollout_world_size: rollout workers.
            metadata: what `prepare` returned, the actor's ranks first.

        Returns:
            The arguments of `init_process_group`, a value for each of the actor's ranks and for each rollout worker.
        """
        actor = [0, *[-1] * (actor_wg_world_size - 1)]
        rollout = list(range(1, rollout_world_size + 1))
        shared = {"world_size": 1 + rollout_world_size, **metadata[0]}

        def arguments(ranks: list[int]) -> dict[str, list[Any]]:
            return {"rank": ranks, **{name: [value] * len(ranks) for name, value in shared.items()}}

        return arguments(actor), arguments(rollout)

    def init_process_group(self, rank: int, world_size: int, host: str, port: int) -> None:
        """Join this sync's process group, unless the rank is -1."""
        if rank < 0:
            return
        store = self._store or TCPStore(host, port, timeout=TIMEOUT, wait_for_workers=False)
        self._group = ProcessGroupGloo(store, rank, world_size, TIMEOUT)

    def finalize(self) -> None:
        """Leave the process group, and close the store."""
        self._group = self._store = None

    async def send_weights(self, weights: Iterable[tuple[str, torch.Tensor]], global_steps: int | None = None) -> None:
        """Broadcast the weights; an actor's rank that is not in the group only takes part in making each of them."""
        if self._group is None:
            for _ in weights:
                pass
            return
        for bucket in buckets(weights, self.bucket_size):
            await asyncio.to_thread(self._send, bucket)
        await asyncio.to_thread(self._send, [])

    async def receive_weights(self, global_steps: int | None = None) -> AsyncIterator[tuple[str, torch.Tensor]]:
        """Yield the weights as they come."""
        while bucket := await asyncio.to_thread(self._receive):
            for name, weight in bucket:
                yield name, weight

    def _send(self, bucket: Weights) -> None:
        """Broadcast one bucket; an empty one is the end."""
        header, payload = pack(bucket)
        self._broadcast(torch.tensor([len(header), payload.numel()]))
        self._broadcast(torch.frombuffer(bytearray(header), dtype=torch.uint8))
        if payload.numel():
            self._broadcast(payload)

    def _receive(self) -> Weights:
        header_bytes, payload_bytes = self._broadcast(torch.empty(2, dtype=torch.int64)).tolist()
        header = self._broadcast(torch.empty(header_bytes, dtype=torch.uint8))
        payload = torch.empty(payload_bytes, dtype=torch.uint8)
        if payload_bytes:
            self._broadcast(payload)
        return unpack(bytes(header.tolist()), payload)

    def _broadcast(self, tensor: torch.Tensor) -> torch.Tensor:
        """Send the tensor from rank 0, or fill it elsewhere; return it."""
        assert self._group is not None
        self._group.broadcast(tensor, 0).wait()  # type: ignore[attr-defined]  # which torch's stubs leave out
        return tensor
