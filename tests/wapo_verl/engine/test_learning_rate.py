"""A multiple of the learning rate, on real optimizers and veRL's own schedules: torch only, no Ray, no GPU."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from verl.utils.torch_functional import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup

from wapo_verl.engine.learning_rate import scaled_learning_rate

SCHEDULES: dict[str, Callable[[Optimizer], LRScheduler]] = {
    "constant": lambda optimizer: get_constant_schedule_with_warmup(optimizer, 3),
    "cosine": lambda optimizer: get_cosine_schedule_with_warmup(optimizer, 3, 12),
}


class Training:
    """One weight of four numbers under an optimizer and a schedule."""

    def __init__(self, optimizer: type[Optimizer], schedule: str, rate: float) -> None:
        self.weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64))
        self.optimizer = optimizer([self.weight], lr=rate)
        self.schedule = SCHEDULES[schedule](self.optimizer)

    def steps(self, count: int, factor: float = 1.0) -> list[float]:
        """Make steps on the gradient of sum(w^4), and return the weight after each, one after the other."""
        found: list[float] = []
        for _ in range(count):
            self.optimizer.zero_grad()
            self.weight.pow(4).sum().backward()
            with scaled_learning_rate(self.optimizer, factor):
                self.optimizer.step()
            self.schedule.step()
            found += self.weight.tolist()
        return found

    def state(self) -> dict[str, Any]:
        parts = {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}
        return copy.deepcopy({"weight": self.weight.data, **parts})

    def load(self, state: dict[str, Any]) -> None:
        self.weight.data.copy_(state["weight"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.schedule.load_state_dict(copy.deepcopy(state["schedule"]))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", [SGD, AdamW])
@given(factor=st.floats(0.01, 1), steps=st.integers(1, 8))
@settings(max_examples=10)
def test_a_factor_is_another_learning_rate_at_every_step_of_a_schedule(
    optimizer: type[Optimizer], schedule: str, factor: float, steps: int
) -> None:
    scaled = Training(optimizer, schedule, 1e-3).steps(steps, factor)
    assert scaled == pytest.approx(Training(optimizer, schedule, factor * 1e-3).steps(steps), rel=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_neither_optimizer_nor_schedule_remembers_it(schedule: str) -> None:
    scaled, plain = (Training(SGD, schedule, 1e-3) for _ in range(2))
    scaled.steps(5, 0.25)
    plain.steps(5)
    for name in ("optimizer", "schedule"):
        assert scaled.state()[name] == plain.state()[name]


def test_an_error_in_the_step_leaves_the_rate() -> None:
    made = Training(SGD, "constant", 1e-3)
    with pytest.raises(RuntimeError), scaled_learning_rate(made.optimizer, 0.5):
        raise RuntimeError
    assert made.optimizer.param_groups[0]["lr"] == made.schedule.get_last_lr()[0]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_each_rollback_multiplies_once_however_often_the_run_is_resumed(schedule: str) -> None:
    """Back to step 4 twice, the second time in another process: what follows is a run at a quarter of the rate."""
    run = Training(AdamW, schedule, 1e-3)
    run.steps(4)
    kept = run.state()
    run.steps(3)
    run.load(kept)
    run.steps(2, 0.5)
    resumed = Training(AdamW, schedule, 1e-3)
    resumed.load(run.state())
    resumed.steps(2, 0.5)
    resumed.load(kept)
    expected = Training(AdamW, schedule, 1e-3)
    expected.steps(4)
    for group in expected.optimizer.param_groups:
        group["initial_lr"] *= 0.25
    expected.schedule.base_lrs = [rate * 0.25 for rate in expected.schedule.base_lrs]
    for group in expected.optimizer.param_groups:
        group["lr"] *= 0.25
    assert resumed.steps(5, 0.25) == pytest.approx(expected.steps(5), rel=1e-9)
