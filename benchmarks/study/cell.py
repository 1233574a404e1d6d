"""One run of the grid, from the warm-started weights to the last step's record."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from transformers import Qwen3ForCausalLM

from benchmarks.study.episodes import Played, Player
from benchmarks.study.metrics import (
    PASS_SAMPLES,
    held_out_metrics,
    pass_metrics,
    rollout_metrics,
    taxonomy_metrics,
    winner_metrics,
)
from benchmarks.study.policy import Policy
from benchmarks.study.settings import Cell, StudySettings
from benchmarks.study.task import Task, load_model, open_task
from benchmarks.study.update import Loss, Trainer, actor_config, ask_advantages, make_rows, own_log_probs
from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.algorithms.groups import group_advantages

Step = dict[str, float]

PASS_BATCH = 256
"""Episodes that are played at once for pass@k."""


@dataclass
class Seed:
    """What a worker keeps of a seed over its runs: the task, and the weights that every run starts from."""

    out: Path
    seed: int
    settings: StudySettings

    @cached_property
    def _loaded(self) -> tuple[Qwen3ForCausalLM, Task]:
        model, tokenizer = load_model(self.out, self.seed)
        return model, open_task(self.out, self.seed, self.settings, tokenizer)

    @property
    def task(self) -> Task:
        """Questions and searches."""
        return self._loaded[1]

    @cached_property
    def before(self) -> Step:
        """Step 0 of every run: the first validation, which they share."""
        player = Player(self.task, self.settings.task)
        policy = Policy(self.model(), player.places)
        return validate(player, policy, self, 0) | many_samples(player, policy, self, 0)

    def model(self) -> Qwen3ForCausalLM:
        """A copy of the warm-started model."""
        return deepcopy(self._loaded[0])


class Clock:
    """Seconds of a step, by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of what runs inside to `timing_s/NAME`."""
        started = time.perf_counter()
        yield
        key = f"timing_s/{name}"
        self.seconds[key] = round(self.seconds.get(key, 0.0) + time.perf_counter() - started, 4)


def validate(player: Player, policy: Policy, seed: Seed, step: int) -> Step:
    """Play the held-out questions once; the sampling is the step's own, the same for every run of the seed."""
    questions = seed.task.questions["test"][: seed.settings.validation_questions]
    generator = torch.Generator().manual_seed(1_000_003 * seed.seed + step)
    return held_out_metrics(player.play(policy, questions, "test", generator))


def many_samples(player: Player, policy: Policy, seed: Seed, step: int) -> Step:
    """pass@k on the first held-out questions, as many as the settings ask for; played in batches, which are faster."""
    generator = torch.Generator().manual_seed(2_000_003 * seed.seed + step)
    questions = seed.task.questions["test"][: seed.settings.pass_questions]
    asked = [question for question in questions for _ in range(PASS_SAMPLES)]
    starts = range(0, len(asked), PASS_BATCH)
    played = [player.play(policy, asked[start : start + PASS_BATCH], "test", generator) for start in starts]
    return pass_metrics([one for part in played for one in part]) if asked else {}


class Sampler:
    """Gives the policy that samples a step: the one that is trained, or as it was some steps ago.

    Args:
        trained: the policy that is trained.
        places: as `Policy` takes it.
        staleness: how many steps ago; the first steps sample with the first weights.
    """

    def __init__(self, trained: Policy, places: int, staleness: int) -> None:
        self._trained = trained
        self._behind = Policy(deepcopy(trained.model), places) if staleness else trained
        self._weights: deque[dict[str, torch.Tensor]] = deque(maxlen=staleness + 1)

    def policy(self) -> Policy:
        """Return it for the next step; to be called once a step, before the update."""
        if self._behind is not self._trained:
            self._weights.append(deepcopy(self._trained.model.state_dict()))
            self._behind.model.load_state_dict(self._weights[0])
        return self._behind


class Watch(Protocol):
    """What a run may be watched by, at the places at which a trainer asks its guard."""

    def ends(self, trainer: Trainer) -> bool:
        """Act before a step on what the last one showed; whether the run ends here."""

    def observe(self, step: int, metrics: Step, trainer: Trainer) -> Step:
        """See a finished step; returns what is logged beside its metrics."""


def run_cell(cell: Cell, seed: Seed, watch: Watch | None = None) -> Iterator[Step]:
    """Train for the settings' steps and give the record's lines as they come, step 0 first.

    The same arguments on the same machine give the same numbers, times apart.

    Args:
        cell: which run it is.
        seed: its task and weights.
        watch: sees every step and may end the run or change its trainer; None lets it run.

    Raises:
        ValueError: for an unknown algorithm, or a batch that does not divide into the cell's mini-batches.
    """
    found = ALGORITHMS.get(cell.algorithm)
    if found is None:
        raise ValueError(f"there is no algorithm {cell.algorithm!r} here; `wapo-verl doctor` lists them")
    settings, sizes = seed.settings, seed.settings.task
    config = actor_config(found, cell.off_policy_steps, sizes, cell.clip_ratio_high)
    player = Player(seed.task, sizes)
    policy = Policy(seed.model(), player.places)
    sampler = Sampler(policy, player.places, cell.staleness)
    trainer = Trainer(policy, Loss(config), cell.learning_rate, sizes.warm_up_steps)
    generator = torch.Generator().manual_seed(cell.seed)
    batches = seed.task.batches(sizes.prompts_per_step, cell.seed)
    yield {"step": 0, **seed.before}
    for step in range(1, settings.steps + 1):
        if watch is not None and watch.ends(trainer):
            return
        clock = Clock()
        with clock.phase("gen"):
            asked = [question for question in next(batches) for _ in range(sizes.group_size)]
            episodes = player.play(sampler.policy(), asked, "train", generator)
        line: Step = {"step": step, **rollout_metrics(episodes)}
        with clock.phase("update_actor"):
            advantages = ask_advantages(found, found.default_options(), episodes, sizes.group_size)
            trains = bool((advantages.rows != 0).any())
            if trains:
                line |= trainer.step(make_rows(episodes, advantages.rows), cell.off_policy_steps)
            line |= winners_of(policy, episodes, sizes.group_size)
        line |= taxonomy_metrics(episodes, advantages.rows)
        line |= advantages.metrics | {"actor/skipped_steps": float(not trains)}
        if step % settings.validate_every == 0 or step == settings.steps:
            with clock.phase("testing"):
                line |= validate(player, policy, seed, step)
        if step == settings.steps:
            with clock.phase("pass_at_k"):
                line |= many_samples(player, policy, seed, step)
        if watch is not None:
            line |= watch.observe(step, line, trainer)
        yield line | clock.seconds


@torch.no_grad()
def winners_of(policy: Policy, episodes: Sequence[Played], group_size: int) -> Step:
    """The winners' likelihood before and after the step; one forward pass on their rows."""
    rewards = torch.tensor([played.reward for played in episodes])
    won = group_advantages(rewards, torch.arange(len(episodes)) // group_size) > 0
    if not bool(won.any()):
        return {}
    rows = make_rows(episodes, torch.zeros(len(episodes))).part(won)
    return winner_metrics(episodes, won, own_log_probs(policy, rows)[rows.mask])
