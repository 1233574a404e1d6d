"""The plugin's sync trainer, which goes on to another algorithm every few steps, from the same weights each time.

Starting Ray, the actor and vLLM takes longer than ten steps of the tiny task. So one run trains every algorithm in
turn: each has the settings that a run of its own resolves to, its own loss in the worker, and the start's weights and
optimizer. The folder named in WAPO_RELAY holds `NAME.yaml` (the resolved `algorithm` and `actor` settings, and the
decisions) for each of them, and `order.json`.
"""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.utils.losses import ppo_loss

from wapo_verl.training.decisions import Decisions
from wapo_verl.training.trainer import WapoTrainerSync


@register_trainer("wapo_relay")
class RelayTrainer(WapoTrainerSync):
    """Trains `order.json`'s algorithms one after the other, `steps` steps each."""

    def __init__(self, config: Any) -> None:
        with open_dict(config):
            config.trainer.v1.trainer_mode = "wapo_sync"
        super().__init__(config)
        self._folder = Path(os.environ["WAPO_RELAY"])
        plan = json.loads((self._folder / "order.json").read_text())
        self._names, self._steps = plan["names"], plan["steps"]

    def on_train_begin(self) -> None:
        """Keep the start's weights and optimizer."""
        self.actor_rollout_wg.save_checkpoint(str(self._start / "actor"), None, 0, max_ckpt_to_keep=None)
        super().on_train_begin()

    def on_step_begin(self) -> None:
        """Hand over where an algorithm's steps are done."""
        turn, step = divmod(self.global_steps - 1, self._steps)
        if step == 0:
            self._hand_over_to(self._names[turn])
        super().on_step_begin()

    @property
    def _start(self) -> Path:
        return self._folder / "start"

    def _hand_over_to(self, name: str) -> None:
        resolved = OmegaConf.load(self._folder / f"{name}.yaml")
        with open_dict(self.config):
            self.config.algorithm = resolved.algorithm
            self.config.actor_rollout_ref.actor = resolved.actor
        self._obey(Decisions.model_validate(OmegaConf.to_container(resolved.decisions)))
        actor = omega_conf_to_dataclass(self.config.actor_rollout_ref.actor)
        self.actor_rollout_wg.set_loss_fn(partial(ppo_loss, config=actor))
        self._go_back_to(self._start)
