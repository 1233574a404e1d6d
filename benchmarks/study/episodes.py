"""Play many search episodes at once: each turn is sampled for all of them together, with a cache of keys and values.

Token for token what the agent loop `search_agent` plays with vLLM: the same turn ends, the same results between turns,
the same limits and outcomes. Sampling is at temperature 1 from the whole vocabulary; log-probs and entropies are noted
as the tokens are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.study.policy import Cache, Policy
from benchmarks.study.task import Question, Task
from examples.quickstart.settings import QuickstartSettings
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.episode_rules import EpisodeLimits, EpisodeRules
from wapo_verl.environments.protocol import STOP_STRINGS, Search
from wapo_verl.environments.registry import environment
from wapo_verl.rollout.trajectory import Trajectory


class Measure(NamedTuple):
    """What is noted of a token and the distribution p that it was drawn from.

    Attributes:
        log_prob: of the token.
        entropy: -sum p ln p, in nats.
        collision: sum p^2.
        square_log_prob: sum p^2 ln p.
    """

    log_prob: float
    entropy: float
    collision: float
    square_log_prob: float


@dataclass(slots=True)
class Played:
    """One episode while it runs and after it.

    Attributes:
        trajectory: ids, mask and log-probs.
        measures: one for each of the policy's own tokens, in order, of the distribution it was drawn from.
        rules: of the episode, with what the verifier will read while it grows.
        episode: the finished record, once it is over.
        reward: its score, once it is over.
    """

    question: Question
    trajectory: Trajectory
    rules: EpisodeRules
    measures: list[Measure] = field(default_factory=list)
    episode: Episode | None = None
    reward: float = 0.0


class Player:
    """Plays questions of a task under the limits of its settings."""

    def __init__(self, task: Task, settings: QuickstartSettings) -> None:
        self.task, self.settings = task, settings
        self._environment = environment("miniwiki")
        vocabulary = task.tokenizer.convert_ids_to_tokens(range(len(task.tokenizer)))
        self._ends_text = torch.tensor([token.endswith(">") for token in vocabulary])
        self._end = task.tokenizer.eos_token_id

    @property
    def places(self) -> int:
        """The most tokens an episode can take, and room behind them for what padding feeds."""
        return 2 * (self.settings.max_prompt_tokens + self.settings.max_response_tokens)

    @torch.no_grad()
    def play(
        self, policy: Policy, questions: Sequence[Question], split: str, generator: torch.Generator
    ) -> list[Played]:
        """Play each question once; the same generator state and weights give the same episodes.

        Args:
            policy: the model that samples.
            questions: of the split, one episode each.
            split: whose documents are searched.
            generator: of the sampling.
        """
        limits = EpisodeLimits(
            max_turns=self.settings.max_turns, max_turn_tokens=self.settings.max_turn_tokens, announce_budget=False
        )
        episodes = [
            Played(
                question,
                Trajectory(list(question.prompt), self.settings.max_response_tokens),
                EpisodeRules.of("search_agent", limits),
            )
            for question in questions
        ]
        running, cache = episodes, policy.new_cache(len(episodes))
        fed = torch.zeros(len(episodes), dtype=torch.int64)
        while running:
            fed = self._turn(policy, running, cache, fed, generator)
            for played in running:
                self._conclude(played, split)
            going = [row for row, played in enumerate(running) if played.episode is None]
            if len(going) < len(running):
                rows = torch.tensor(going, dtype=torch.int64)
                cache.keep(rows)
                fed, running = fed[rows], [running[row] for row in going]
        for played in episodes:
            assert played.episode is not None
            played.reward = self._environment.score(played.episode, played.question.ground_truth)["score"]
        return episodes

    def _turn(
        self, policy: Policy, running: Sequence[Played], cache: Cache, fed: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Sample one turn of each episode; returns how many tokens of each the cache holds now."""
        unfed = [
            (played.trajectory.prompt + played.trajectory.ids)[int(count) :]
            for played, count in zip(running, fed, strict=True)
        ]
        ids, lengths = padded(unfed)
        hidden = policy.feed(ids, fed, cache)
        hidden, fed = hidden[torch.arange(len(ids)), lengths - 1], fed + lengths
        limits = torch.tensor([played.rules.turn_budget(played.trajectory.room) for played in running])
        active = torch.ones(len(running), dtype=torch.bool)
        written: list[Tensor] = []
        noted: list[Tensor] = []
        counts = torch.zeros_like(limits)
        while True:
            log_probs = policy.log_probs(hidden)
            probabilities = log_probs.exp()
            tokens = torch.multinomial(probabilities, 1, generator=generator)
            written.append(tokens[:, 0])
            noted.append(_measured(log_probs, probabilities, tokens))
            counts += active
            active = active & (counts < limits) & ~self._stopped(written, active)
            if not bool(active.any()):
                break
            hidden = policy.feed(tokens, fed, cache)[:, 0]
            fed = fed + active
        self._note(running, torch.stack(written, 1).tolist(), torch.stack(noted, 1).tolist(), counts.tolist())
        return fed

    def _stopped(self, written: Sequence[Tensor], active: Tensor) -> Tensor:
        """Tell which rows' engine stops here: at the end-of-turn token, or where their text holds a stop string.

        A stop string ends with ">", so only rows whose last token does are decoded.
        """
        stopped = written[-1] == self._end
        for row in (active & ~stopped & self._ends_text[written[-1]]).nonzero().flatten().tolist():
            text = self._decode([int(column[row]) for column in written])
            stopped[row] = any(stop in text for stop in STOP_STRINGS)
        return stopped

    def _note(
        self,
        running: Sequence[Played],
        tokens: list[list[int]],
        noted: list[list[list[float]]],
        counts: list[int],
    ) -> None:
        for played, row, measures, count in zip(running, tokens, noted, counts, strict=True):
            kept = [Measure(*numbers) for numbers in measures[:count]]
            played.trajectory.add_turn(row[:count], [measure.log_prob for measure in kept])
            played.measures += kept

    def _conclude(self, played: Played, split: str) -> None:
        """Do what follows from an episode's newest turn, as the agent loop does."""
        trajectory, rules = played.trajectory, played.rules
        count = _last_turn_length(trajectory)
        ended = trajectory.ids[-1] in self.task.boundary.ends
        text = self._decode(trajectory.ids[-count:])
        step = rules.turn(text, tokens=count, room=trajectory.room + count, ended=ended)
        if not isinstance(step, Search):
            assert isinstance(step, Episode), "the text protocol has no call that could be malformed"
            played.episode = step
            return
        document_ids, shown = self.task.libraries[split].search(step.queries[0])
        information = self.task.boundary.ids(shown, last=trajectory.ids[-1])
        found = [(step.queries[0], document_ids)]
        played.episode = rules.show(found, tokens=len(information), room=trajectory.room)
        if played.episode is None:
            trajectory.add_environment(information)

    def _decode(self, ids: list[int]) -> str:
        text: str = self.task.tokenizer.decode(ids, skip_special_tokens=False)
        return text


def _measured(log_probs: Tensor, probabilities: Tensor, tokens: Tensor) -> Tensor:
    """(B, 4): the numbers of a `Measure` for each row."""
    weighted = probabilities * log_probs
    return torch.stack(
        [
            log_probs.gather(1, tokens)[:, 0],
            -weighted.sum(dim=-1),
            probabilities.square().sum(dim=-1),
            (probabilities * weighted).sum(dim=-1),
        ],
        dim=-1,
    )


def _last_turn_length(trajectory: Trajectory) -> int:
    own = 0
    while own < len(trajectory.mask) and trajectory.mask[-1 - own] == 1:
        own += 1
    return own


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Right-padded (B, longest) ids, zeros behind each row's end, and the (B,) lengths."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    longest = int(lengths.max())
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], dtype=torch.int64), lengths
