"""The engine: veRL's FSDP engine with a language-model head, which obeys the plan that came with a training batch.

Without a plan, and in every forward-only pass, it is veRL's engine. It takes the place of veRL's own on the devices of
that one, and stands for the CPU, where veRL's code runs as it is with `actor.strategy=fsdp2`. FSDP1 refuses
CPU modules, so it is not registered there and veRL names it as unknown for this device.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tensordict import TensorDict
from torch.distributed.tensor import DTensor
from verl.utils import tensordict_utils as tu
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from wapo_verl.engine.distribution import packed_statistics
from wapo_verl.engine.learning_rate import scaled_learning_rate
from wapo_verl.engine.planned_loss import PlannedLoss
from wapo_verl.engine.step_plan import PLAN_KEY, StepPlan

BACKENDS = (("fsdp", "cuda"), ("fsdp", "npu"), ("fsdp2", "cuda"), ("fsdp2", "npu"), ("fsdp2", "cpu"))


class StepPlanEngine(FSDPEngineWithLMHead):
    """veRL's actor engine, obeying a `StepPlan`."""

    _plan = StepPlan()  # of the mini-batch that runs

    def forward_backward_batch(self, data: TensorDict, loss_function: Callable, forward_only: bool = False) -> Any:
        """Run a mini-batch as veRL does, through a loss that obeys the batch's plan."""
        plan = None if forward_only else tu.get_non_tensor_data(data, PLAN_KEY, default=None)
        self._plan = StepPlan() if plan is None else StepPlan.from_dict(plan)
        if plan is not None:
            loss_function = PlannedLoss(self._plan, loss_function)
        found = super().forward_backward_batch(data, loss_function, forward_only)
        if isinstance(loss_function, PlannedLoss) and self._plan.record and self.is_mp_src_rank_with_outputs():
            loss_function.records.store()
        return found

    def prepare_model_outputs(
        self, output: Any, output_args: dict[str, Any], micro_batch: TensorDict, logits_processor_func: Any
    ) -> dict[str, torch.Tensor]:
        """Return veRL's outputs, and the statistics of the next-token distribution where the plan needs them.

        They are taken first: veRL's log-probs may overwrite the logits. An entropy without gradient is then not
        computed twice. veRL's hangs on the logits even where it is only logged; it is cut off, so that no graph is kept
        and no backward pass goes through it for a gradient of zero.

        Raises:
            RuntimeError: where fused kernels made no logits.
        """
        planned = logits_processor_func
        if not isinstance(planned, PlannedLoss):
            return super().prepare_model_outputs(output, output_args, micro_batch, planned)
        if not planned.plan.needs_statistics:
            outputs: dict[str, torch.Tensor] = super().prepare_model_outputs(output, output_args, micro_batch, planned)
            if "entropy" in outputs and planned.actor.entropy_coeff == 0:
                outputs["entropy"] = outputs["entropy"].detach()
            return outputs
        if getattr(output, "logits", None) is None or tu.get_non_tensor_data(micro_batch, "use_fused_kernels", False):
            raise RuntimeError("the taxonomy needs logits, and fused kernels make none: set use_fused_kernels=False")
        if isinstance(output.logits, DTensor):
            output.logits = output.logits.full_tensor()
        statistics = packed_statistics(self, output.logits.detach(), output_args, micro_batch)
        entropy = statistics.pop("entropy")
        wanted = tu.get_non_tensor_data(micro_batch, "calculate_entropy", default=False)
        if not wanted or planned.actor.entropy_coeff != 0:
            outputs = super().prepare_model_outputs(output, output_args, micro_batch, planned)
        else:
            with _entropy_off(micro_batch):
                outputs = super().prepare_model_outputs(output, output_args, micro_batch, planned)
            outputs["entropy"] = entropy
        return {**outputs, **statistics, "position_entropy": entropy}

    def optimizer_step(self) -> float:
        """Update the weights as veRL does, at the plan's multiple of the schedule's learning rate."""
        with scaled_learning_rate(self.optimizer, self._plan.lr_factor):
            return super().optimizer_step()

    def lr_scheduler_step(self) -> float:
        """Advance the learning rate as veRL does, or leave it where the plan says that the batch is not over."""
        rate = self.lr_scheduler.get_last_lr()[0] if self._plan.hold_schedule else super().lr_scheduler_step()
        return rate * self._plan.lr_factor


@contextmanager
def _entropy_off(micro_batch: TensorDict) -> Iterator[None]:
    """Tell veRL, for as long as this lasts, that nobody wants the entropy."""
    tu.assign_non_tensor(micro_batch, calculate_entropy=False)
    try:
        yield
    finally:
        tu.assign_non_tensor(micro_batch, calculate_entropy=True)


def register() -> None:
    """Put the engine in the place of veRL's own, in a process that works for a run of ours; a second time does nothing.

    veRL's registry refuses a key that is taken, so the engine is replaced in the registry's table. An engine that
    somebody else registered, for a device or for one vendor's, stays: the trainer notices that it answers no plan.
    """
    actors = EngineRegistry._engines["language_model"]
    for backend, device in BACKENDS:
        if actors[backend].get(device) is FSDPEngineWithLMHead:
            actors[backend][device] = StepPlanEngine


register()
