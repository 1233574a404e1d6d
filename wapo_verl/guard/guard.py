"""Act on an alarm: warn, stop, or go back to the last good checkpoint. The trainer calls this; it knows no veRL.

A checkpoint of step s is good when the detector had no alarm at s, none until s + `confirm` and none later until a step
at which no rule's condition holds at all: a collapse shows in the metrics later than it begins in the weights, so a
checkpoint waits to be judged. An alarm gives up every checkpoint that waits; the last good one stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wapo_verl.guard.checkpoints import GoodCheckpoints, read_state, step_of, write_state
from wapo_verl.guard.detector import Alarm, Detector, newly_good
from wapo_verl.guard.settings import GuardSettings

LR_FACTOR, ROLLBACKS = "lr_factor", "rollbacks"
"""Beside the detector's state in `guard.json`: what the rollbacks up to then have multiplied the learning rate by, and
how many they were."""


class CollapseError(RuntimeError):
    """The guard ended the run; the message says why, and which checkpoint to go on from."""


def _say(line: str) -> None:
    print(f"wapo-verl guard: {line}", flush=True)


class Guard:
    """Watches one run.

    Args:
        settings: of the run.
        folder: of its checkpoints, veRL's `trainer.default_local_dir`.
        say: prints a line.
    """

    def __init__(self, settings: GuardSettings, folder: Path, say: Callable[[str], None] = _say) -> None:
        self.settings = settings
        self.detector = Detector(settings, settings.rules)
        self.checkpoints = GoodCheckpoints(folder)
        self.rollbacks = 0
        self.lr_factor = 1.0
        self._alarms: list[Alarm] = []
        self._saved: int | None = None
        self._say = say

    def begin(self, step: int, resumed: Path | None) -> None:
        """Start after `step` steps, 0 in a new run: forget what another run left, remember what this one had.

        Checkpoints that waited to be judged when this run ended wait on, those of later steps are given up: they are
        made again.

        Args:
            step: the step that veRL goes on from.
            resumed: the checkpoint it goes on from, or None.
        """
        is_same_run = resumed is not None and self.checkpoints.folder in resumed.parents
        self.checkpoints.forget_unjudged(after=step if is_same_run else -1)
        good = self.checkpoints.last_good
        if good is not None and step_of(good) > step:
            self.checkpoints.forget_last_good()
        state = None if resumed is None else read_state(resumed)
        if state is not None:
            self.detector.load_state_dict(state)
            self.lr_factor = float(state.get(LR_FACTOR, 1.0))
            self.rollbacks = int(state.get(ROLLBACKS, 0))
            if self.lr_factor != 1:
                self._say(f"the learning rate is {self.lr_factor:g} times the schedule's, as {resumed} was saved with")
        elif resumed is not None:
            self._say(f"{resumed} was saved without a guard: the run's start is measured from step {step + 1} on")

    def saved(self, step: int) -> None:
        """Note that veRL has saved a checkpoint at `step`, which is not observed yet: validation may come before.

        A run that ends meanwhile resumes with what the detector knew before that step.
        """
        self._saved = step
        self.checkpoints.remember(step, self._state())
        self.checkpoints.take_away_again()

    def observe(self, step: int, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Look at a step's metrics, judge the checkpoints, say what is new.

        Args:
            step: the training step.
            metrics: all of the step's; what is no number is left out.

        Returns:
            `stability/alarms`, how many are active; `stability/rule/NAME`, 1 where that rule's is, else 0;
            `stability/rollbacks`, how often the run went back; `stability/last_good_step`, once there is one;
            `stability/lr_factor`, where a rollback changes it.
        """
        numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float | np.number)}
        before = {alarm.rule for alarm in self._alarms}
        self._alarms = self.detector.observe(step, numbers)
        for alarm in self._alarms:
            if alarm.rule not in before:
                self._say(f"alarm {alarm.rule} at step {step}: {alarm.sentence}")
        if self.settings.keeps_checkpoints:
            self._judge(step)
        return self._metrics()

    def _judge(self, step: int) -> None:
        if self._alarms:
            self.checkpoints.forget_unjudged()
            return
        if self._saved == step:
            self.checkpoints.offer(step, self._state())
        good = newly_good(self.checkpoints.unjudged, step, self.settings.confirm, self.detector)
        if good is not None:
            self._say(f"the checkpoint of step {good} is good: {self.checkpoints.confirm(good)}")

    def _state(self) -> dict[str, Any]:
        return {**self.detector.state_dict(), LR_FACTOR: self.lr_factor, ROLLBACKS: self.rollbacks}

    def _metrics(self) -> dict[str, float]:
        active = {alarm.rule for alarm in self._alarms}
        good = self.checkpoints.last_good
        return {
            "stability/alarms": float(len(active)),
            **{f"stability/rule/{rule.name}": float(rule.name in active) for rule in self.settings.rules},
            "stability/rollbacks": float(self.rollbacks),
            **({} if self.settings.on_rollback is None else {"stability/lr_factor": self.lr_factor}),
            **({} if good is None else {"stability/last_good_step": float(step_of(good))}),
        }

    @property
    def wants_out(self) -> bool:
        """Whether an alarm is active that must end the run, or send it back."""
        return bool(self._alarms) and self.settings.keeps_checkpoints

    def way_back(self) -> Path | None:
        """Return the checkpoint to go back to, None where the settings or the checkpoints do not allow it."""
        allowed = self.settings.action == "rollback" and self.rollbacks < self.settings.max_rollbacks
        return self.checkpoints.last_good if allowed else None

    def went_back(self, checkpoint: Path) -> None:
        """Note that weights, optimizer and schedule are those of `checkpoint`: the detector goes back with them.

        What a rollback changes stays changed, and is written into the checkpoint: a crash before the next one must not
        resume from the collapse, nor at the learning rate that led to it, nor with a rollback that was used up.
        """
        self.rollbacks += 1
        self.detector.load_state_dict(read_state(checkpoint) or Detector().state_dict())
        self._alarms = []
        if self.settings.on_rollback is not None:
            self.lr_factor *= self.settings.on_rollback.lr_factor
        write_state(checkpoint, self._state())
        self.checkpoints.resume_from_last_good()
        slower = "" if self.lr_factor == 1 else f"; the learning rate is {self.lr_factor:g} times the schedule's now"
        self._say(
            f"went back to the weights, optimizer and schedule of step {step_of(checkpoint)}; the data go on "
            f"(rollback {self.rollbacks} of {self.settings.max_rollbacks}){slower}"
        )

    def stop(self) -> CollapseError:
        """Make `trainer.resume_mode=auto` go on from the last good checkpoint; the error to end the run with."""
        self.checkpoints.resume_from_last_good()
        reasons = "; ".join(f"{alarm.rule}: {alarm.sentence}" for alarm in self._alarms)
        good = self.checkpoints.last_good
        after = (
            "no checkpoint had been found good yet"
            if good is None
            else f"the last good checkpoint is that of step {step_of(good)}; go on from it with "
            f"trainer.resume_mode=resume_path trainer.resume_from_path={good}"
        )
        return CollapseError(f"the guard stopped the run after step {self._alarms[0].step}: {reasons}; {after}")
