"""Hold what one step knows of its batch, and choose the rows that the step computes on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transfer_queue import KVBatchMeta
from verl.utils.checkpoint.checkpoint_manager import find_latest_ckpt_path

from wapo_verl.algorithms.objective import bypasses
from wapo_verl.training.row_selection import MiniBatch, balanced, forward_rows, mini_batches


@dataclass(frozen=True, slots=True)
class StepState:
    """What a step knows of its batch, once the rows have advantages.

    Attributes:
        batch: the whole batch, dealt over the ranks.
        carries: of each of its rows, whether it has an advantage.
        own_tokens: tokens of the batch that the policy wrote.
        parts: the mini-batches of the chosen rows; None where the step is on the whole batch.
        forward_micro: rows of a micro-batch in a forward pass over the chosen rows; None where veRL packs by tokens.
    """

    batch: KVBatchMeta
    carries: tuple[bool, ...]
    own_tokens: int
    parts: tuple[MiniBatch, ...] | None = None
    forward_micro: int | None = None

    @property
    def trains(self) -> bool:
        """Whether any row has an advantage."""
        return any(self.carries)

    @property
    def chosen(self) -> list[int]:
        """The numbers of the rows that the update is computed on."""
        return sorted({row for part in self.parts or () for row in part.rows})

    def only(self, rows: Sequence[int]) -> KVBatchMeta:
        """Return the batch with these rows alone."""
        return self.batch.select_keys([self.batch.keys[row] for row in rows])

    def in_even_micro_batches(self, batch: KVBatchMeta) -> KVBatchMeta:
        """Tell veRL's workers the size of a forward pass's micro-batches, since they want equal ones."""
        if self.forward_micro is not None:
            batch.extra_info["micro_batch_size_per_gpu"] = self.forward_micro
        return batch


def choose_rows(step: StepState, ranks: int, passes: Sequence[Any], config: Any) -> tuple[StepState, KVBatchMeta]:
    """Choose the rows with an advantage, and those that make ranks and micro-batches even.

    Args:
        step: the step, with the whole batch's advantages.
        ranks: data-parallel ranks.
        passes: the settings of the forward passes before the update, as `forward_passes` gives them.
        config: veRL's whole configuration.

    Returns:
        The step with its mini-batches, and the batch that the forward passes compute on.
    """
    if not step.trains:
        return replace(step, parts=()), step.batch
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    lengths = [int(tag["seq_len"]) for tag in step.batch.tags]
    parts = mini_batches(
        carries=step.carries,
        lengths=lengths,
        ranks=ranks,
        mini_batch_rows=actor.ppo_mini_batch_size * rollout.n,
        micro_batch_rows=None if actor.use_dynamic_bsz else actor.ppo_micro_batch_size_per_gpu,
        partition=balanced,
    )
    step = replace(step, parts=tuple(parts))
    if not passes:
        return step, step.only(step.chosen)
    sizes = [each.log_prob_micro_batch_size_per_gpu for each in passes if not each.log_prob_use_dynamic_bsz]
    filled, micro = forward_rows(step.chosen, lengths, ranks, min(sizes, default=None), balanced)
    step = replace(step, forward_micro=micro)
    return step, step.in_even_micro_batches(step.only(filled))


def forward_passes(config: Any, has_reference: bool, reference_in_actor: bool) -> list[Any]:
    """Return the settings of the passes that compute log-probs outside the update: the actor's, the reference's."""
    if bypasses(config) and not has_reference:
        return []
    passes = [config.actor_rollout_ref.rollout]
    return passes if not has_reference or reference_in_actor else [*passes, config.actor_rollout_ref.ref]


def optimizer_steps(config: Any, rows: int, parts: Sequence[MiniBatch] | None = None) -> int:
    """Return how many optimizer steps a batch makes; veRL counts a mini-batch in prompts.

    Args:
        config: veRL's whole configuration.
        rows: rows of the batch.
        parts: its mini-batches where rows were chosen, or None.
    """
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    mini_batches = max(rows // (actor.ppo_mini_batch_size * rollout.n), 1) if parts is None else len(parts)
    return int(mini_batches * actor.ppo_epochs)


def loaded_checkpoint(trainer: Any) -> Path:
    """Return the folder that veRL has just resumed from, found as veRL finds it.

    Args:
        trainer: the group `trainer` of the configuration.
    """
    if trainer.resume_mode == "resume_path":
        return Path(trainer.resume_from_path).absolute()
    return Path(find_latest_ckpt_path(str(Path(trainer.default_local_dir).absolute())))
