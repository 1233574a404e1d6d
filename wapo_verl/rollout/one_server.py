"""Leaves veRL's load balancer alone where one rollout server serves the whole run: there is nothing to balance.

veRL 0.9.1 asks the balancer's process before each request and tells it after, two thirds of an episode's messages to
the engine's side. On two cores and with a tiny model that is more than a quarter of the time in which a step's
episodes are played (docs/measured.md).
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig
from verl.workers.rollout.llm_server import LLMServerClient


class OneServerClient(LLMServerClient):
    """veRL's client of the rollout engine, which asks for the server once."""

    def __init__(self, client: LLMServerClient) -> None:
        super().__init__(config=client.config, load_balancer_handle=client._load_balancer)
        self._server: tuple[str, Any] | None = None

    async def _acquire_server(self, request_id: str, **extra: Any) -> tuple[str, Any]:
        if self._server is None:
            self._server = await super()._acquire_server(request_id, **extra)
            super()._release_server(self._server[0], request_id)
        return self._server

    def _release_server(self, server_id: str, request_id: str | None = None) -> None:
        """Tell nobody: the one server was given back at once."""


def has_one_server(config: DictConfig) -> bool:
    """Tell whether one rollout server serves the whole run: sync mode, and no more devices than a server takes."""
    rollout, trainer = config.actor_rollout_ref.rollout, config.trainer
    of_a_server = rollout.tensor_model_parallel_size * rollout.data_parallel_size * rollout.pipeline_model_parallel_size
    return trainer.v1.trainer_mode == "sync" and trainer.nnodes * trainer.n_gpus_per_node == of_a_server


def without_the_balancer(client: Any, config: DictConfig) -> Any:
    """Return veRL's own client in its short form where the run has one server; any other client as it is."""
    return OneServerClient(client) if type(client) is LLMServerClient and has_one_server(config) else client
