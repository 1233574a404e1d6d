"""One rollout server is asked for once, and only where there is one. The balancer's process is replaced."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from verl.workers.rollout.llm_server import LLMServerClient

from wapo_verl.rollout.one_server import OneServerClient, has_one_server, without_the_balancer


class Remote:
    """A method of an actor: counts its calls and gives a fixed answer."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.calls = answer, 0

    def remote(self, **_: Any) -> Any:
        self.calls += 1
        future = asyncio.get_running_loop().create_future()
        future.set_result(self.answer)
        return future


def config_of(mode: str, nodes: int, devices: int, tensor_parallel: int) -> DictConfig:
    rollout = {
        "tensor_model_parallel_size": tensor_parallel,
        "data_parallel_size": 1,
        "pipeline_model_parallel_size": 1,
    }
    trainer = {"nnodes": nodes, "n_gpus_per_node": devices, "v1": {"trainer_mode": mode}}
    return OmegaConf.create({"trainer": trainer, "actor_rollout_ref": {"rollout": rollout}})


def test_it_is_asked_for_once() -> None:
    balancer = SimpleNamespace(
        require_acquire_fields=Remote([]),
        require_release_fields=Remote([]),
        acquire_server=Remote(("server", "handle")),
        release_server=Remote(None),
    )
    client = LLMServerClient(config=OmegaConf.create({}), load_balancer_handle=balancer)
    short = without_the_balancer(client, config_of("sync", 1, 1, 1))

    async def requests() -> list[Any]:
        found = []
        for number in range(3):
            found.append(await short._acquire_server(str(number)))
            short._release_server("server", str(number))
        return found

    assert asyncio.run(requests()) == [("server", "handle")] * 3
    assert balancer.acquire_server.calls == balancer.release_server.calls == 1


@pytest.mark.parametrize(
    ("mode", "nodes", "devices", "tensor_parallel", "one"),
    [
        ("sync", 1, 1, 1, True),
        ("sync", 1, 4, 4, True),
        ("sync", 1, 2, 1, False),
        ("sync", 2, 1, 1, False),
        ("separate_async", 1, 1, 1, False),
        ("colocate_async", 1, 1, 1, False),
    ],
)
def test_there_is_one_only_where_it_takes_all_devices(
    mode: str, nodes: int, devices: int, tensor_parallel: int, one: bool
) -> None:
    assert has_one_server(config_of(mode, nodes, devices, tensor_parallel)) is one


def test_a_users_own_client_stays() -> None:
    class Own(LLMServerClient):
        pass

    own = Own(config=OmegaConf.create({}))
    assert without_the_balancer(own, config_of("sync", 1, 1, 1)) is own
    verls = LLMServerClient(config=OmegaConf.create({}))
    assert without_the_balancer(verls, config_of("sync", 2, 1, 1)) is verls
    assert type(without_the_balancer(verls, config_of("sync", 1, 1, 1))) is OneServerClient
