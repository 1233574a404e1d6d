"""What an environment is: where its rows come from, what the policy is asked, and how an episode is scored.

An environment is one folder, under ``envs/`` or elsewhere, whose package exposes ``ENVIRONMENT``, an instance of a
subclass of ``Environment``; ``wapo_verl.environments.registry`` finds it. No data reading, no metric and no agent loop
in this file.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from wapo_verl.environments.episode import Episode
from wapo_verl.environments.official import FileScores

if TYPE_CHECKING:
    from retrieval_index import Document

AGENT_NAMES = ("search_agent", "search_tool_agent", "single_turn_agent")
RESERVED_PARTS: Mapping[str, str] = {
    "score": "the weighted sum of all parts",
    "reward": "veRL's list of validation scores, which it would make longer",
    "pred": "what veRL's majority vote counts",
    **dict.fromkeys(("failure", "failure_message"), "why an episode failed"),
    **dict.fromkeys(("input", "output", "gts", "step", "uid"), "a column of veRL's dumps"),
}
"""Names that no reward part may have -> what the name stands for, in veRL 0.9.1 or here."""


class RowError(ValueError):
    """A malformed row: one sentence naming file, row (counted from 0), field and the fix."""

    def __init__(self, file: Path | str, row: int, field: str, problem: str) -> None:
        super().__init__(f"{file}, row {row}, field {field!r}: {problem}")
        self.file, self.row, self.field, self.problem = str(file), row, field, problem


@dataclass(frozen=True, slots=True)
class Example:
    """One question as read from its source.

    Attributes:
        question: the question in plain words.
        answers: accepted gold answers, at least one; the first is the one a gold episode gives.
        document_ids: ids of the documents that hold the evidence (empty where nothing is retrieved).
        extra: flat, parquet-friendly values that go into the row's ``extra_info``; the same keys for every example.
    """

    question: str
    answers: tuple[str, ...]
    document_ids: tuple[str, ...] = ()
    extra: Mapping[str, str | int | float | bool] = field(default_factory=dict)


class Environment(ABC):
    """Base of all environments; a subclass sets the class attributes and writes ``examples``, ``prompt``, ``parts``.

    Class attributes:
        name: the folder's name, also the rows' ``data_source``.
        data_sources: further ``data_source`` values of rows that this environment scores, as other projects name them.
        ability: veRL's ``ability`` column.
        splits: the splits that have answers.
        agent_name: the agent loop that plays it, one of ``AGENT_NAMES``.
        other_agents: further agent loops that can play it; ``played_by`` takes one of them.
        reward_weights: weight of each reward part in the score; a part not named weighs 0 and is only logged. The first
            one is the outcome: above 0 where the answer is right.
        named_weights: name -> weights that a run may ask for by that name, in place of `reward_weights`.
        options: name -> default of what ``examples`` and ``documents`` take beyond split and source
            (``wapo-verl prepare --set name=value``); values are converted to the default's type.
        least: the least value that an option may have, for those that have one.
        row_options: which ``options`` go into each row's ``extra_info``, since its prompt or its score hangs on them.
        generates_documents: True when rows and documents are made here, not read: ``prepare`` then writes
            ``documents.jsonl`` too and passes ``--seed`` on as the option ``seed``.
        undecided: reward parts that, where they are 1, say that the verifier came to no verdict. Such a sample says
            nothing about the policy: training and evaluation count it by that name, and no group or mean has it.
        official_metrics: the numbers of upstream's script that answers alone have, by upstream's names.
        hub_repo: "owner/name" of its data set on the Hugging Face hub, if it has one in a layout that it reads.
    """

    name: ClassVar[str]
    data_sources: ClassVar[tuple[str, ...]] = ()
    ability: ClassVar[str]
    splits: ClassVar[tuple[str, ...]]
    agent_name: str = "search_agent"
    other_agents: ClassVar[tuple[str, ...]] = ()
    reward_weights: ClassVar[Mapping[str, float]] = {"exact_match": 1.0}
    named_weights: ClassVar[Mapping[str, Mapping[str, float]]] = {}
    options: ClassVar[Mapping[str, str | int | float | bool]] = {}
    least: ClassVar[Mapping[str, int]] = {}
    row_options: ClassVar[tuple[str, ...]] = ()
    generates_documents: ClassVar[bool] = False
    undecided: ClassVar[tuple[str, ...]] = ()
    official_metrics: ClassVar[tuple[str, ...]] = ()
    hub_repo: ClassVar[str | None] = None

    @property
    def outcome(self) -> str:
        """The reward part that says whether the answer is right: the first of `reward_weights`."""
        return next(iter(self.reward_weights))

    @abstractmethod
    def examples(self, split: str, source: Path | None, **options: Any) -> Iterator[Example]:
        """Read the split's examples one at a time, in a fixed order.

        Raises:
            RowError: for a malformed row.
            ValueError: for an unknown split or option, or a source that is missing.
        """

    @abstractmethod
    def prompt(self, example: Example) -> list[dict[str, str]]:
        """Return the chat messages the policy starts from, each with ``role`` and ``content``."""

    @abstractmethod
    def parts(self, episode: Episode, ground_truth: Any) -> dict[str, float]:
        """Return the named reward parts of an episode: the same keys, all finite, for every episode."""

    def ground_truth(self, example: Example) -> dict[str, Any]:
        """Return what the verifier gets to know of an example; goes into ``reward_model.ground_truth``."""
        return {"answers": list(example.answers), "document_ids": list(example.document_ids)}

    def row(self, example: Example, split: str, index: int) -> dict[str, Any]:
        """Return one veRL row (the columns that ``verl.utils.dataset.rl_dataset`` and the agent loop read)."""
        return {
            "data_source": self.name,
            "prompt": self.prompt(example),
            "ability": self.ability,
            "reward_model": {"style": "rule", "ground_truth": self.ground_truth(example)},
            "extra_info": {"index": index, "split": split, "question": example.question, **example.extra},
            "agent_name": self.agent_name,
        }

    def played_by(self, agent_name: str) -> Self:
        """Return the same environment with rows for another of its agent loops: its prompts, and its name in each.

        Raises:
            ValueError: for an agent loop that cannot play it; the message names those that can.
        """
        known = (type(self).agent_name, *self.other_agents)
        if agent_name not in known:
            raise ValueError(f"environment {self.name!r} is not played by {agent_name!r}; choose {', '.join(known)}")
        other = copy(self)
        other.agent_name = agent_name
        return other

    def documents(self, source: Path | None, **options: Any) -> Iterator[Document]:
        """Read the documents that the environment's searches run over.

        Raises:
            ValueError: when the environment has none.
        """
        raise ValueError(f"environment {self.name!r} has no documents to search; it needs no index")

    def score(
        self, episode: Episode, ground_truth: Any, weights: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Return the scalar reward and its parts: ``{"score": sum of weight x part, **parts}``.

        Args:
            episode: the finished episode.
            ground_truth: of its row.
            weights: part name -> weight, in place of ``reward_weights``; a part not named weighs 0.

        Raises:
            ValueError: for a weight that names no part, or a part with a name of ``RESERVED_PARTS``.
        """
        parts = self.parts(episode, ground_truth)
        for name in sorted(RESERVED_PARTS.keys() & parts):
            raise ValueError(
                f"{self.name!r} has a reward part {name!r}, a name that stands for {RESERVED_PARTS[name]}: rename it"
            )
        weights = self.reward_weights if weights is None else weights
        unknown = sorted(set(weights) - set(parts))
        if unknown:
            raise ValueError(
                f"reward weight {unknown[0]!r} names no reward part of {self.name!r}; its parts are {', '.join(parts)}"
            )
        return {"score": float(sum(weight * parts[name] for name, weight in weights.items())), **parts}

    def given_answer(self, episode: Episode, ground_truth: Any) -> str | None:
        """Return an episode's answer as it is counted in a vote among samples; None for no answer."""
        return episode.answer if episode.answered and episode.answer and episode.answer.strip() else None

    def same_answer(self, first: str, second: str, ground_truth: Any) -> bool:
        """Tell whether two given answers to one question are the same, as a vote among samples counts them."""
        return first.strip() == second.strip()

    def score_files(self, predictions: Path, reference: Path) -> FileScores:
        """Score a file of predictions as the benchmark's own script does, both files in upstream's formats.

        Raises:
            ValueError: where the benchmark has no script of its own.
        """
        raise ValueError(f"{self.name} has no official script for files of predictions; score its episodes instead")

    def official_files(self, answers: Mapping[str, str], golds: Mapping[str, str]) -> tuple[Any, Any] | None:
        """Return predictions and a reference in upstream's formats, for ``score_files``; None without a script.

        Args:
            answers: question's id -> the answer given; a question without an answer is not there.
            golds: question's id -> the gold answer.
        """
        return None

    def gold_episode(self, row: Mapping[str, Any]) -> Episode:
        """Return an episode that found all evidence and gave the first gold answer; it must score 1."""
        truth = row["reward_model"]["ground_truth"]
        question = row["extra_info"]["question"]
        return Episode(
            answer=truth["answers"][0], queries=(question,), document_ids=(tuple(truth["document_ids"]),), turns=2
        )

    def sample_source(self) -> Path | None:
        """Return the folder's own ``sample/``, a few rows in the upstream layout; None where rows are made."""
        sample = Path(inspect.getfile(type(self))).parent / "sample"
        return sample if sample.is_dir() else None

    def source_files(self, split: str, source: Path | None) -> tuple[Path, ...]:
        """Return the files that ``examples`` reads for the split; empty where rows are made, not read."""
        return ()

    def file_patterns(self, splits: Sequence[str] = ()) -> tuple[str, ...]:
        """Return glob patterns of what `source_files` may find, of these or all splits; none where rows are made."""
        return ()

    def selection(self, split: str, source: Path | None, **options: Any) -> dict[str, str | int]:
        """Tell which of the files' rows are kept and how many are not, for the manifest; {} where all are.

        Raises:
            RowError, ValueError: as ``examples``.
        """
        return {}

    def available_splits(self, source: Path | None) -> tuple[str, ...]:
        """Return the splits that ``source`` has; all of them unless a subclass can tell."""
        return self.splits

    def resolve_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``options`` with what was given put in, each value converted to its default's type.

        Raises:
            ValueError: for an unknown name, naming the known ones, or a value that does not convert.
        """
        resolved: dict[str, Any] = dict(self.options)
        for name, value in given.items():
            if name not in resolved:
                known = ", ".join(sorted(resolved)) or "none"
                raise ValueError(f"environment {self.name!r} has no option {name!r}; its options: {known}")
            resolved[name] = _convert(name, value, type(resolved[name]))
        for name, least in self.least.items():
            if name in resolved and resolved[name] < least:
                raise ValueError(f"option {name!r} must be at least {least}, not {resolved[name]}")
        return resolved

    def with_row_options(self, example: Example, resolved: Mapping[str, Any]) -> Example:
        """Return the example with those of the resolved options in its ``extra`` that ``row_options`` names."""
        own = {name: resolved[name] for name in self.row_options if name in resolved}
        return replace(example, extra={**example.extra, **own})


def _convert(name: str, value: Any, kind: type) -> Any:
    """Return ``value`` as ``kind``; text is read as a user would type it (true/false, 12, 0.5)."""
    if isinstance(value, kind) and not (kind is not bool and isinstance(value, bool)):
        return value
    text = str(value).strip()
    if kind is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
    else:
        try:
            return kind(text)
        except ValueError:
            pass
    raise ValueError(f"option {name!r} takes a value of type {kind.__name__}, not {value!r}")
