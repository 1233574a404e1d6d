"""Weights over gloo, from an actor of two ranks to two rollout workers. Threads stand for processes; no Ray, no GPU."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import ray
import torch
from verl.checkpoint_engine.base import CheckpointEngineRegistry

from wapo_verl.cpu.checkpoint_engine import BACKEND, GlooCheckpointEngine, buckets, pack, unpack

WEIGHTS = {
    "odd": torch.arange(7, dtype=torch.uint8),
    "matrix": torch.arange(12, dtype=torch.float32).reshape(3, 4).T,  # not contiguous
    "half": torch.linspace(-1, 1, 5, dtype=torch.bfloat16),
    "large": torch.arange(100, dtype=torch.float32),
    "scalar": torch.tensor(3.0, requires_grad=True),
    "empty": torch.empty(0, 4),
}


def test_buckets_hold_what_fits_and_what_is_too_large_for_any() -> None:
    found = [[name for name, _ in bucket] for bucket in buckets(WEIGHTS.items(), size=64)]
    assert found == [["odd", "matrix"], ["half"], ["large"], ["scalar", "empty"]]
    assert list(buckets([], size=64)) == []


def test_a_bucket_comes_out_as_it_went_in() -> None:
    bucket = list(WEIGHTS.items())
    for (name, weight), (unpacked_name, unpacked) in zip(bucket, unpack(*pack(bucket)), strict=True):
        assert unpacked_name == name
        assert unpacked.dtype == weight.dtype
        assert torch.equal(unpacked, weight)


def sync(actor: list[GlooCheckpointEngine], rollout: list[GlooCheckpointEngine], taken: list[str]) -> list[dict]:
    """Do what veRL's manager does at each sync; return what every rollout worker received."""

    def made() -> Iterator[tuple[str, torch.Tensor]]:
        for name, weight in WEIGHTS.items():
            taken.append(name)
            yield name, weight

    async def received(engine: GlooCheckpointEngine) -> dict[str, torch.Tensor]:
        return {name: weight async for name, weight in engine.receive_weights(global_steps=1)}

    engines = actor + rollout
    metadata = [engine.prepare() for engine in engines]
    of_actor, of_rollout = GlooCheckpointEngine.build_topology(len(actor), len(rollout), metadata)
    arguments = [
        {name: values[place] for name, values in group.items()}
        for group, size in ((of_actor, len(actor)), (of_rollout, len(rollout)))
        for place in range(size)
    ]
    with ThreadPoolExecutor(len(engines)) as pool:
        list(pool.map(lambda pair: pair[0].init_process_group(**pair[1]), zip(engines, arguments, strict=True)))
        sent = [pool.submit(lambda engine=engine: asyncio.run(engine.send_weights(made()))) for engine in actor]
        found = list(pool.map(lambda engine: asyncio.run(received(engine)), rollout))
        for each in sent:
            each.result()
    for engine in engines:
        engine.finalize()
    return found


def test_every_worker_gets_every_weight_at_every_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second sync has one worker more: nothing of the first one's group is left."""
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    assert CheckpointEngineRegistry.get(BACKEND) is GlooCheckpointEngine
    actor = [CheckpointEngineRegistry.new(BACKEND, bucket_size=64, is_master=rank == 0) for rank in range(2)]
    for workers in (1, 2):
        rollout = [CheckpointEngineRegistry.new(BACKEND, bucket_size=64) for _ in range(workers)]
        taken: list[str] = []
        found = sync(actor, rollout, taken)
        assert len(found) == workers
        for weights in found:
            assert list(weights) == list(WEIGHTS)
            assert all(torch.equal(weights[name], weight) for name, weight in WEIGHTS.items())
        assert sorted(taken) == sorted([*WEIGHTS, *WEIGHTS]), "making a weight is collective: the other rank takes part"
