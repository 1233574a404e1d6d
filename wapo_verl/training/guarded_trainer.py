"""The guard inside veRL's V1 trainer: a mixin, silent where `+wapo.guard.action` is not set.

It looks at a step when all its metrics are there and before they are logged, and acts before the next step begins, when
they have been. Left out: rolling back where rollouts go on over steps (a settings error).
"""

from pathlib import Path
from typing import Any

from transfer_queue import KVBatchMeta
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils.checkpoint.checkpoint_manager import find_latest_ckpt_path

from wapo_verl.guard.guard import CollapseError, Guard
from wapo_verl.guard.settings import guard_settings


class GuardedTrainer(PPOTrainer):
    """What the guard adds to a veRL V1 trainer; mixed in before every class that computes metrics."""

    guard: Guard | None = None

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        settings = guard_settings(config)
        if settings is not None and not config.trainer.get("val_only", False):
            self.guard = Guard(settings, Path(config.trainer.default_local_dir))

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        if self.guard is not None:
            self.guard.begin(self.global_steps, self._resumed_from() if self.global_steps else None)

    def _resumed_from(self) -> Path:
        """The folder that veRL has just loaded, found as it finds it."""
        trainer = self.config.trainer
        if trainer.resume_mode == "resume_path":
            return Path(trainer.resume_from_path).absolute()
        return Path(find_latest_ckpt_path(str(Path(trainer.default_local_dir).absolute())))

    def _save_checkpoint(self) -> None:
        if self.guard is not None:
            self.guard.checkpoints.make_room(self.global_steps)
        super()._save_checkpoint()
        if self.guard is not None:
            self.guard.saved(self.global_steps)

    def _compute_metrics(self, batch: KVBatchMeta, metrics: dict, *args: Any, **kwargs: Any) -> None:
        super()._compute_metrics(batch, metrics, *args, **kwargs)
        if self.guard is not None:
            metrics.update(self.guard.observe(self.global_steps, metrics))

    def on_step_begin(self) -> None:
        """Act on the last step's alarms, whose metrics are logged by now."""
        if self.guard is not None and self.guard.wants_out:
            checkpoint = self.guard.way_back()
            if checkpoint is None:
                raise self._stopped(self.guard)
            self._go_back_to(checkpoint)
            self.guard.went_back(checkpoint)
        super().on_step_begin()

    def fit(self, agent_loop_manager: Any) -> None:
        """Train as veRL does; an alarm at the very last step ends the run as one before it would.

        Raises:
            CollapseError: where the guard stops the run; the message names the last good checkpoint.
        """
        super().fit(agent_loop_manager)
        if self.guard is not None and self.guard.wants_out:
            raise self._stopped(self.guard)

    def _stopped(self, guard: Guard) -> CollapseError:
        self._shutdown_dump_executor()
        return guard.stop()

    def _go_back_to(self, checkpoint: Path) -> None:
        """Load what veRL's resuming loads, but for the data's place, and give the rollout the weights."""
        self.checkpoint_manager.sleep_replicas()
        self.actor_rollout_wg.load_checkpoint(local_path=str(checkpoint / "actor"), del_local_after_load=False)
        if self.use_critic:
            self.critic_wg.load_checkpoint(local_path=str(checkpoint / str(Role.Critic)), del_local_after_load=False)
        self.checkpoint_manager.update_weights(self.global_steps - 1)  # the version that this step's episodes will have
