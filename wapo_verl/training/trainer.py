"""The trainer: veRL's V1 step with this project's advantages, updates of chosen rows, metrics and guard.

`wapo_sync`, `wapo_colocate_async` and `wapo_separate_async` are veRL's trainer modes of the same name, except that

- advantages come from the algorithm, which knows sessions and padding; in a winners-only run they come right after the
  rewards, and log-probs and the update see only the rows that have one;
- a batch in which nobody has an advantage (WAPO: no winner) takes no step: no gradient, no optimizer moments, no count;
- each step's plan goes to the engine with the batch, and comes back as metrics of the update;
- episodes and reward parts are metrics and in the dump, the group filter has an end, and a guard may watch.

Every decision is read from the configuration (`Decisions`). A hook is a few lines that call plain functions.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.trainer.ppo.v1.trainer_base import PPOTrainer, register_trainer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync
from verl.trainer.ppo.v1.trainer_separate_async import PPOTrainerSeparateAsync
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils import tensordict_utils as tu
from verl.utils.debug import marked_timer

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.algorithms.objective import bypasses
from wapo_verl.data.question_index import indexed_lines
from wapo_verl.engine.step_plan import PLAN_KEY, StepPlan
from wapo_verl.engine.token_records import ROW_KEY, row_keys
from wapo_verl.evaluation.validation import sound_samples, validation_metrics
from wapo_verl.guard.guard import CollapseError, Guard
from wapo_verl.rollout.seeds import PromptNames
from wapo_verl.training.advantages import LEAST_LOG_PROB, group_counts
from wapo_verl.training.checkpoints import find_whole, saving
from wapo_verl.training.decisions import PREFIX, Decisions
from wapo_verl.training.dump import index_dump, whole_dump, without_rewards
from wapo_verl.training.failures import LEDGER, FailureLedger
from wapo_verl.training.metrics_file import resumes_at
from wapo_verl.training.recorder import Recorder
from wapo_verl.training.replay_buffer import bounded
from wapo_verl.training.step import StepState, choose_rows, forward_passes, loaded_checkpoint
from wapo_verl.training.step_advantages import write_advantages
from wapo_verl.training.step_metrics import sampled_metrics
from wapo_verl.training.stored import fetch, real_keys, rows_of, store
from wapo_verl.training.update import (
    EntropyChange,
    check_answer,
    finish_metrics,
    has_answer,
    own_mean,
    trained_rows_metrics,
    update_chosen_rows,
)

POLL_SECONDS = 0.05
"""Not where `separate_async` lends its trainer's devices to the rollout: there a wait of one poll means idleness."""


class WapoTrainer(PPOTrainer):
    """What this project changes in a veRL V1 trainer; mixed into each of its modes below."""

    _step: StepState | None = None  # of the step that runs, once there are advantages
    guard: Guard | None = None

    def __init__(self, config: DictConfig) -> None:
        with open_dict(config):
            # veRL branches on the mode's own name in many places.
            config.trainer.v1.trainer_mode = config.trainer.v1.trainer_mode.removeprefix(PREFIX)
        self._obey(Decisions.of(config))
        super().__init__(config)
        if self.decisions.guard is not None:
            self.guard = Guard(self.decisions.guard, Path(config.trainer.default_local_dir))

    def _obey(self, decisions: Decisions) -> None:
        self.decisions = decisions
        self.algorithm = None if decisions.algorithm is None else ALGORITHMS[decisions.algorithm]
        self._entropy_change = EntropyChange()
        self.failures = FailureLedger(decisions.failures)
        self._prompt_names = PromptNames()

    def _init_tokenizer(self) -> None:
        super()._init_tokenizer()
        self._recorder = Recorder(self.config, self.decisions, self.tokenizer)

    def _init_dataloader(self) -> None:
        """Build the data loaders as veRL does.

        Raises:
            ValueError: where the rows that are left of the training files do not fill one batch.
        """
        super()._init_dataloader()
        rows, batch = len(self.train_dataset), self.config.data.train_batch_size
        if rows < batch:
            raise ValueError(
                f"data.train_files has {rows} rows that fit data.max_prompt_length, fewer than "
                f"data.train_batch_size={batch}: set a smaller batch or give more rows"
            )

    def _build_replay_buffer(self) -> ReplayBuffer:
        """Build veRL's replay buffer, in which the group filter has an end."""
        buffer = super()._build_replay_buffer()
        separate = self.trainer_mode == "separate_async"
        lends = separate and self.config.trainer.v1.separate_async.hybrid_rollout.enable_switch
        if not lends:
            buffer.poll_interval = POLL_SECONDS
        if self.decisions.failures.leaves_out:
            setattr(buffer, LEDGER, self.failures)
        batches = self.decisions.filter_batches
        return buffer if batches is None else bounded(buffer, batches)

    def _resolve_filter_groups_metric(self) -> str | None:
        """Resolve it as veRL does, without its warning that the limit is ignored: here it is not."""
        if self.decisions.filter_batches is None:
            return super()._resolve_filter_groups_metric()
        groups = self.config.algorithm.filter_groups
        with open_dict(groups):
            limit, groups.max_num_gen_batches = groups.max_num_gen_batches, 0
            try:
                return super()._resolve_filter_groups_metric()
            finally:
                groups.max_num_gen_batches = limit

    def on_step_begin(self) -> None:
        """Act on the last step's alarms, whose metrics are logged by now."""
        if self.guard is not None and self.guard.wants_out:
            checkpoint = self.guard.way_back()
            if checkpoint is None:
                raise self._stopped(self.guard)
            self._go_back_to(checkpoint)
            self.guard.went_back(checkpoint)
        self._recorder.begin_step()
        if self.decisions.failures.leaves_out:
            self.failures.begin_step(self.config.data.train_batch_size * self.config.actor_rollout_ref.rollout.n)
        super().on_step_begin()

    def _fetch_one_gen_batch(self) -> TensorDict:
        """Fetch prompts as veRL does, under names that are the same in every run."""
        batch = super()._fetch_one_gen_batch()
        return tu.assign_non_tensor(batch, uid=self._prompt_names.next(self.global_steps, len(batch)))

    def _step_once(self, *args: Any, **kwargs: Any) -> KVBatchMeta:
        """Take one step as veRL does, and return the whole batch, not the part that was trained on."""
        self._step = None
        batch = super()._step_once(*args, **kwargs)
        return batch if self._step_on_chosen is None else self._step_on_chosen.batch

    @property
    def _step_on_chosen(self) -> StepState | None:
        """The step that runs, where it computes on chosen rows alone; None where it is on the whole batch."""
        return None if self._step is None or self._step.parts is None else self._step

    def _balance_batch(self, batch: KVBatchMeta, metrics: dict, *args: Any, **kwargs: Any) -> KVBatchMeta:
        """Deal the rows over the ranks as veRL does; in a winners-only run, compute on with those that have advantages.

        Nothing is chosen in a critic's warm-up, which updates no actor.
        """
        in_order = batch.select_keys(sorted(batch.keys))  # they come in the order of arrival
        batch = super()._balance_batch(in_order, metrics, *args, **kwargs)
        if not self.decisions.winners_only or self.config.trainer.critic_warmup > self.global_steps:
            return batch
        step, _ = self._write_advantages(batch, metrics)
        data = fetch(batch, "rollout_log_probs", "response_mask")
        # Estimated by what was drawn: the update sees winners' distributions alone, more certain ones than losers'.
        log_probs = data["rollout_log_probs"].clamp(min=LEAST_LOG_PROB)
        metrics["actor/entropy"] = -own_mean(log_probs, data["response_mask"])
        ranks = max(self.actor_rollout_wg._dispatch_info["actor"]) + 1
        passes = forward_passes(self.config, self.use_reference_policy, self.ref_in_actor)
        self._step, batch = choose_rows(step, ranks, passes, self.config)
        metrics.update(trained_rows_metrics(self._step, self.config))
        return batch

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Compute old log-probs, of the chosen rows where there are such; log the entropy of every row, a token's mean.

        veRL averages the entropy as the loss, whose sum over tokens grows with their number.
        """
        step = self._step_on_chosen
        if step is not None and not step.trains:
            return batch
        entropy = metrics.get("actor/entropy")
        batch = super()._compute_old_log_prob(batch, metrics)
        if step is None and not bypasses(self.config):
            data = fetch(batch, "entropy", "response_mask")
            entropy = own_mean(data["entropy"], data["response_mask"])
        if entropy is not None:
            metrics["actor/entropy"] = entropy
        return batch

    def _compute_ref_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Compute reference log-probs of the chosen rows."""
        step = self._step_on_chosen
        if step is not None and not step.trains:
            return batch
        if step is not None:
            batch = step.in_even_micro_batches(batch)  # the old log-probs gave the batch a new record
        return super()._compute_ref_log_prob(batch, metrics)

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Compute the batch's advantages, unless they came before its rows were chosen."""
        if self.algorithm is None:
            metrics.update(group_counts(rows_of(batch, fetch(batch, "rm_scores"))))
            if self._recorder.wants_numbers(self.global_steps):
                store(batch, {ROW_KEY: row_keys(batch.keys)})
            return super()._compute_advantage(batch, metrics)
        if self._step is None:
            self._step, batch = self._write_advantages(batch, metrics)
        return batch

    def _write_advantages(self, batch: KVBatchMeta, metrics: dict) -> tuple[StepState, KVBatchMeta]:
        """Ask the algorithm for the advantages and store them."""
        assert self.algorithm is not None
        limit = self.config.actor_rollout_ref.rollout.response_length
        records = self._recorder.wants_numbers(self.global_steps)
        step, batch, found = write_advantages(batch, self.algorithm, self.decisions, limit, records)
        metrics.update(found)
        return step, batch

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Update the actor with this step's plan; skip a batch without an advantage, which would move Adam's weights.

        Raises:
            RuntimeError: where the workers' engine answers no plan, and this batch needs one to.
        """
        step, on_chosen, rows = self._step, self._step_on_chosen, len(batch.keys)
        metrics["actor/skipped_steps"] = float(step is not None and not step.trains)
        if step is not None and not step.trains:
            return batch
        plan = self._plan()
        wants_answer = on_chosen is not None or plan != StepPlan()
        plan = replace(plan, record=self._recorder.wants_numbers(self.global_steps))
        if on_chosen is not None:
            metrics.update(update_chosen_rows(self.actor_rollout_wg, on_chosen, plan, self.config))
        else:
            batch.extra_info[PLAN_KEY] = plan.to_dict()
            batch = super()._update_actor(batch, metrics)
        check_answer(metrics, needed=wants_answer)
        if plan.record and has_answer(metrics):
            self._recorder.measured(batch.keys if on_chosen is None else on_chosen.only(on_chosen.chosen).keys)
        finish_metrics(metrics, step, rows, plan, self.config)
        self._entropy_change.pair(metrics)
        return batch

    def _plan(self) -> StepPlan:
        plan = self.decisions.plans.at(self.global_steps, self.total_training_steps)
        return plan if self.guard is None else replace(plan, lr_factor=self.guard.lr_factor)

    def _compute_metrics(self, batch: KVBatchMeta, metrics: dict, *args: Any, **kwargs: Any) -> None:
        """Measure what was sampled, but neither padding nor failed episodes, and show it to the guard."""
        batch = batch.select_keys(real_keys(batch, failed=False))
        super()._compute_metrics(batch, metrics, *args, **kwargs)
        metrics.update(sampled_metrics(batch, self.config, self.decisions))
        if self.decisions.failures.leaves_out:
            metrics.update(self.failures.metrics())
        if self.guard is not None:
            metrics.update(self.guard.observe(self.global_steps, metrics))

    def on_validate_begin(self) -> None:
        """Begin to count a validation's failures."""
        if self.decisions.failures.leaves_out:
            samples = self.config.actor_rollout_ref.rollout.val_kwargs.n
            self.failures.begin_validation(len(self.val_dataset) * samples)
        super().on_validate_begin()

    def _validate(self) -> dict[str, float]:
        """Validate as veRL does; where a dump is asked for, take the records before veRL clears their rows."""
        with self._recorder.validation(self.replay_buffer):
            return super()._validate()

    def _val_metrics_update(
        self,
        data_sources: Any,
        sample_uids: Any,
        reward_extra_infos_dict: Any,
        sample_turns: Any,
        expected_acc_counts: Any = None,
    ) -> dict[str, float]:
        """Compute veRL's numbers of a validation without the samples that failed, and those of an evaluation."""
        given = (data_sources, sample_uids, reward_extra_infos_dict, sample_turns, expected_acc_counts)
        metrics: dict[str, float] = super()._val_metrics_update(*sound_samples(*given))
        return metrics | validation_metrics(data_sources, sample_uids, reward_extra_infos_dict)

    def _log_rollout_data(self, batch: KVBatchMeta, timing_raw: dict, rollout_data_dir: str) -> None:
        """Write one JSON line a completion: what veRL writes, and what docs/records.md lists."""
        if self._recorder.is_due(self.global_steps):
            with marked_timer("dump_rollout_generations", timing_raw, color="green"):
                found = self._recorder.training_dump(batch.select_keys(sorted(real_keys(batch))))
                self._dump_generations(**found, dump_path=rollout_data_dir)

    def _dump_generations(
        self, inputs: Any, outputs: Any, gts: Any, scores: Any, reward_extra_infos_dict: Any, dump_path: Any
    ) -> None:
        """Dump as veRL does; a validation's lines with the records that were taken."""
        columns = self._recorder.beside(reward_extra_infos_dict)
        super()._dump_generations(inputs, outputs, gts, scores, columns, dump_path)

    def _write_generations(
        self, inputs: Any, outputs: Any, gts: Any, scores: Any, reward_extra_infos_dict: Any, *where: Any
    ) -> None:
        """Write a dump as veRL does, in its thread, a failed episode without a reward; and its line of the index.

        That one cannot be written is said once, and the run goes on.
        """
        folder, step = where
        scores, columns = without_rewards(scores, reward_extra_infos_dict)
        file = Path(folder) / f"{step}.jsonl"
        with whole_dump(file):
            super()._write_generations(inputs, outputs, gts, scores, columns, *where)
            index_dump(file, step, indexed_lines(inputs, gts, scores, columns))

    def _load_checkpoint(self) -> None:
        """Load the newest whole checkpoint, as veRL does with the one that its note names.

        Raises:
            CheckpointError: where `trainer.resume_from_path` is not whole.
        """
        find_whole(self.config.trainer, self._checkpoint_parts)
        super()._load_checkpoint()
        resumes_at(self.global_steps)
        if self.guard is not None:
            self.guard.begin(self.global_steps, loaded_checkpoint(self.config.trainer) if self.global_steps else None)

    def _save_checkpoint(self) -> None:
        """Save a checkpoint as veRL does.

        Raises:
            CheckpointError: where that fails; the message has the path, the free space and the last whole checkpoint.
        """
        if self.guard is not None:
            self.guard.checkpoints.make_room(self.global_steps)
        with saving(self.config, self.global_steps, self._checkpoint_parts):
            super()._save_checkpoint()
        if self.guard is not None:
            self.guard.saved(self.global_steps)

    @property
    def _checkpoint_parts(self) -> list[str]:
        return ["actor", *[str(Role.Critic)] * self.use_critic]

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
        """Load what veRL's resuming loads, except the data's place, and give the rollout the weights."""
        self._entropy_change = EntropyChange()  # the next entropy is no effect of the step before
        self.checkpoint_manager.sleep_replicas()
        self.actor_rollout_wg.load_checkpoint(local_path=str(checkpoint / "actor"), del_local_after_load=False)
        if self.use_critic:
            self.critic_wg.load_checkpoint(local_path=str(checkpoint / str(Role.Critic)), del_local_after_load=False)
        self.checkpoint_manager.update_weights(self.global_steps - 1)  # the version that this step's episodes will have


@register_trainer(f"{PREFIX}sync")
class WapoTrainerSync(WapoTrainer, PPOTrainerSync):
    """Trainer and rollout take turns on the same devices."""


@register_trainer(f"{PREFIX}colocate_async")
class WapoTrainerColocateAsync(WapoTrainer, PPOTrainerColocateAsync):
    """Trainer and rollout share devices, rollouts continuing over steps."""


@register_trainer(f"{PREFIX}separate_async")
class WapoTrainerSeparateAsync(WapoTrainer, PPOTrainerSeparateAsync):
    """Trainer and rollout on devices of their own."""
