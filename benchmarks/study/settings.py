"""What a study varies, and what all its runs share. The shared part is the quickstart's, so that veRL runs compare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from examples.quickstart.settings import QuickstartSettings


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of the grid.

    Attributes:
        algorithm: its name, as `algorithm.adv_estimator`.
        learning_rate: of AdamW, constant after the warm-up.
        off_policy_steps: optimizer mini-batches that a step's completions are split into; 1 is on-policy.
        seed: of the world, the warm start, the questions' order and the sampling.
        clip_ratio_high: in place of the algorithm's own upper clip; None keeps that.
        staleness: steps by which the weights that sample are behind those that are trained, as in asynchronous modes.
    """

    algorithm: str
    learning_rate: float
    off_policy_steps: int
    seed: int
    clip_ratio_high: float | None = None
    staleness: int = 0

    @property
    def name(self) -> str:
        """The run's name, which is its file's: wapo-lr0.002-k8-seed0."""
        clip = "" if self.clip_ratio_high is None else f"-clip{self.clip_ratio_high:g}"
        stale = f"-stale{self.staleness}" if self.staleness else ""
        return f"{self.algorithm}{clip}{stale}-lr{self.learning_rate:g}-k{self.off_policy_steps}-seed{self.seed}"

    @property
    def label(self) -> str:
        """The algorithm as tables name it, with the clip where that is not its own, and a staleness above 0."""
        clip = "" if self.clip_ratio_high is None else f", clip {self.clip_ratio_high:g}"
        return self.algorithm + clip + (f", staleness {self.staleness}" if self.staleness else "")


@dataclass(frozen=True, slots=True)
class StudySettings:
    """What all runs of a study share.

    Attributes:
        steps: training steps of a run.
        validate_every: steps between two validations; there is one before the first step too.
        validation_questions: held-out questions of a validation, one sampled completion each.
        pass_questions: held-out questions of which 64 completions are sampled before the first and after the last step,
            for pass@k; 0 leaves that out. It changes nothing of the training.
        mistake_share: of the warm start's demonstrations, as in `WarmStartSettings`.
        task: sizes of the world, the episodes and the batch.
    """

    steps: int = 40
    validate_every: int = 10
    validation_questions: int = 240
    pass_questions: int = 0
    mistake_share: float = 0.55
    task: QuickstartSettings = field(default_factory=QuickstartSettings)

    def to_record(self) -> dict[str, Any]:
        """The settings as plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ChainSettings(StudySettings):
    """What all runs on the task `chain` share (`benchmarks.study.chain`).

    Attributes:
        mistake_share: of the links of the warm start's demonstrations.
        task: sizes of the episodes and the batch; there is no world.
        links: of an answer.
        train_questions: as many as miniwiki has.
    """

    mistake_share: float = 0.05
    task: QuickstartSettings = field(
        default_factory=lambda: QuickstartSettings(
            max_turns=1, max_turn_tokens=80, max_prompt_tokens=72, max_response_tokens=80
        )
    )
    links: int = 64
    train_questions: int = 480


TASKS = {"miniwiki": StudySettings(), "sparse": StudySettings(mistake_share=0.93), "chain": ChainSettings()}
"""The tasks of the fair comparison; `sparse` starts from a warm start whose demonstrations are nearly all wrong."""


def task_folder(out: Path, task: str) -> Path:
    """Where a task's runs lie: `out` itself for miniwiki, which was there first, a folder in it for others."""
    return out if task == "miniwiki" else out / task


@dataclass(frozen=True, slots=True)
class Grid:
    """Every combination of these is a run.

    Attributes:
        algorithms: each "NAME", or "NAME:CLIP" with an upper clip of the ratio in place of the algorithm's own.
        learning_rates, off_policy_steps, seeds, staleness: as a `Cell` has one of each.

    Raises:
        ValueError: where a list is empty, a value stands in it twice, or a number is out of range.
    """

    algorithms: tuple[str, ...]
    learning_rates: tuple[float, ...]
    off_policy_steps: tuple[int, ...]
    seeds: tuple[int, ...]
    staleness: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name in ("algorithms", "learning_rates", "off_policy_steps", "seeds", "staleness"):
            values = getattr(self, name)
            if not values:
                raise ValueError(f"the grid has no {name.replace('_', ' ')}: name at least one")
            if len(set(values)) != len(values):
                raise ValueError(f"the grid's {name.replace('_', ' ')} hold one twice: {', '.join(map(str, values))}")
        if min(self.learning_rates) <= 0:
            raise ValueError(f"a learning rate must be above 0, not {min(self.learning_rates):g}")
        for text in self.algorithms:
            _name_and_clip(text)
        if min(self.off_policy_steps) < 1:
            raise ValueError(f"off-policy steps are 1 or more, not {min(self.off_policy_steps)}")
        if min(self.staleness) < 0:
            raise ValueError(f"a staleness is 0 or more, not {min(self.staleness)}")

    def cells(self) -> Iterator[Cell]:
        """The runs, seed by seed, so that an unfinished grid is balanced."""
        varied = (self.seeds, self.off_policy_steps, self.learning_rates, self.staleness, self.algorithms)
        for seed, steps, rate, stale, text in product(*varied):
            name, clip = _name_and_clip(text)
            yield Cell(name, rate, steps, seed, clip, stale)


def _name_and_clip(text: str) -> tuple[str, float | None]:
    """Read "NAME" or "NAME:CLIP"; raises ValueError for a clip that is no number above 0."""
    name, colon, clip = text.partition(":")
    if not colon:
        return name, None
    try:
        value = float(clip)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"the clip in {text!r} must be a number above 0, as in {name}:0.2")
    return name, value
