"""The plugin's sync trainer, whose sampling changes from step to step, so that one run shows them all.

WAPO_SAMPLING_PLAN is a JSON list, an entry a step: [probe or 0, whether all-equal groups are filtered]. The run itself
has `algorithm.filter_groups.enable=True` and no `wapo.settled_groups`.
"""

import json
import os
from typing import Any

import ray
from omegaconf import open_dict
from verl.trainer.ppo.v1.trainer_base import register_trainer

from wapo_verl.training.sampling_settings import SettledGroups
from wapo_verl.training.trainer import StableTrainerSync


def set_settled_groups(worker: Any, settings: SettledGroups | None) -> None:
    """Give an agent-loop worker other settings; runs in its process."""
    worker.settled_groups = settings


@register_trainer("wapo_sampling_relay")
class SamplingRelayTrainer(StableTrainerSync):
    """Samples each step as its entry in the plan says."""

    def __init__(self, config: Any) -> None:
        with open_dict(config):
            config.trainer.v1.trainer_mode = "wapo_sync"
        super().__init__(config)
        self._plan = json.loads(os.environ["WAPO_SAMPLING_PLAN"])

    def on_step_begin(self) -> None:
        """Change to this step's sampling before its prompts are given out."""
        probe, filtered = self._plan[self.global_steps - 1]
        self.settled_groups = SettledGroups(probe) if probe else None
        workers = self.agent_loop_manager.agent_loop_workers
        ray.get([worker.__ray_call__.remote(set_settled_groups, self.settled_groups) for worker in workers])
        self.replay_buffer.filter_groups_metric = "reward" if filtered else None
        super().on_step_begin()
