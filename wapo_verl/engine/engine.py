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
from verl.utils.device import get_device_id
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead, FSDPEngineWithValueHead

from wapo_verl.engine.distribution import packed_statistics
from wapo_verl.engine.planned_loss import PlannedLoss
from wapo_verl.engine.step_plan import PLAN_KEY, StepPlan

BACKENDS = (("fsdp", "cuda"), ("fsdp", "npu"), ("fsdp2", "cuda"), ("fsdp2", "npu"), ("fsdp2", "cpu"))


class StepPlanEngine(FSDPEngineWithLMHead):
    """veRL's actor engine, obeying a `StepPlan`."""

    _planned: PlannedLoss | None = None
    _holds_schedule = False

    def forward_backward_batch(self, data: TensorDict, loss_function: Callable, forward_only: bool = False) -> Any:
        """Run a mini-batch as veRL does, through a loss that obeys the batch's plan."""
        plan = None if forward_only else tu.get_non_tensor_data(data, PLAN_KEY, default=None)
        self._planned = None if plan is None else PlannedLoss(StepPlan.from_dict(plan), loss_function)
        self._holds_schedule = self._planned is not None and self._planned.plan.hold_schedule
        return super().forward_backward_batch(data, self._planned or loss_function, forward_only)

    def prepare_model_outputs(
        self, output: Any, output_args: dict[str, Any], micro_batch: TensorDict, logits_processor_func: Any
    ) -> dict[str, torch.Tensor]:
        """Return veRL's outputs, and the statistics of the next-token distribution where the plan needs them.

        They are taken first: veRL's log-probs may overwrite the logits. An entropy without gradient is then not
        computed twice.

        Raises:
            RuntimeError: where fused kernels made no logits.
        """
        planned = logits_processor_func
        if not isinstance(planned, PlannedLoss) or not planned.plan.needs_statistics:
            return super().prepare_model_outputs(output, output_args, micro_batch, planned)
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

    def optimizer_step(self) -> Any:
        """Take veRL's optimizer step, after the gradients were scaled where the plan says so."""
        planned, self._planned = self._planned, None
        if planned is not None and planned.plan.renormalise:
            scale = self._eligible_over_kept(planned)
            for parameter in self.module.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(scale)
        return super().optimizer_step()

    def lr_scheduler_step(self) -> float:
        """Advance the learning rate as veRL does, or leave it where the plan says that the batch is not over."""
        if self._holds_schedule:
            return self.lr_scheduler.get_last_lr()[0]
        return super().lr_scheduler_step()

    def _eligible_over_kept(self, planned: PlannedLoss) -> float:
        """Return the factor that makes up for tokens left out of a mini-batch, over all its micro-batches and ranks.

        With nothing kept it is 1: the gradients are zero and stay it.
        """
        counts = torch.tensor([int(planned.eligible), int(planned.kept)]).to(get_device_id())
        torch.distributed.all_reduce(counts, group=self.get_data_parallel_group())
        eligible, kept = counts.tolist()
        return eligible / kept if kept else 1.0


@contextmanager
def _entropy_off(micro_batch: TensorDict) -> Iterator[None]:
    """Tell veRL, for as long as this lasts, that nobody wants the entropy."""
    tu.assign_non_tensor(micro_batch, calculate_entropy=False)
    try:
        yield
    finally:
        tu.assign_non_tensor(micro_batch, calculate_entropy=True)


class CPUEngineWithValueHead(FSDPEngineWithValueHead):
    """The critic's FSDP2 engine over gloo."""


def register() -> None:
    """Put the engines into veRL's registry; calling it again changes nothing.

    veRL's registry refuses a key that is taken, so its own engine is replaced in the registry's table. An engine that
    somebody else registered, for a device or for one vendor's, stays: the trainer notices that it answers no plan.
    """
    actors = EngineRegistry._engines["language_model"]
    for backend, device in BACKENDS:
        if actors[backend].get(device, FSDPEngineWithLMHead) is FSDPEngineWithLMHead:
            actors[backend][device] = StepPlanEngine
    EngineRegistry._engines["value_model"]["fsdp2"].setdefault("cpu", CPUEngineWithValueHead)


register()
