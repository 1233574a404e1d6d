"""Make what the runs of one seed share: questions, an index for each split, the tokenizer and the warm-started model.

All of it is made by the quickstart's own code, in the quickstart's sizes, but for the task `chain`, which has no index.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM
from wapo_verl.environments.installed.miniwiki.environment import PART_OF_SPLIT

from benchmarks.study import chain
from benchmarks.study.settings import ChainSettings, StudySettings
from examples.quickstart.command import SPLITS
from examples.quickstart.settings import QuickstartSettings, WarmStartSettings
from examples.quickstart.warm_start import warm_start
from retrieval_index import Index, build_index, open_index
from retrieval_index.build.build import is_current
from wapo_verl.environments.protocol import neutralise, render_information, render_passage
from wapo_verl.environments.registry import environment
from wapo_verl.rollout.chat import TurnBoundary

BACKEND = "tantivy"


@dataclass(frozen=True, slots=True)
class Question:
    """One question: the token ids of its prompt, and what the verifier knows of it."""

    prompt: tuple[int, ...]
    ground_truth: Mapping[str, Any]


class Library:
    """The search of one split: a query's documents, and the text that the policy is shown of them."""

    def __init__(self, index: Index, top_k: int, boundary: TurnBoundary) -> None:
        self._index, self._top_k, self._markers = index, top_k, boundary.markers()
        self.search = cache(self._search)
        self._shown = cache(self._render)

    def _search(self, query: str) -> tuple[tuple[str, ...], str]:
        """Ids of the documents found, best first, and the result's text.

        The text is the agent loop's for passages within its budget of 512 tokens, as all of this world are.
        """
        hits = self._index.search([query], self._top_k)[0]
        shown = render_information(self._shown(hit.document.title, hit.document.text) for hit in hits)
        return tuple(hit.document.id for hit in hits), shown

    def _render(self, title: str, text: str) -> str:
        return render_passage(neutralise(title, self._markers), neutralise(text, self._markers))


@dataclass(frozen=True, slots=True)
class Task:
    """Everything of one seed."""

    tokenizer: PreTrainedTokenizerFast
    boundary: TurnBoundary
    questions: Mapping[str, tuple[Question, ...]]
    libraries: Mapping[str, Library]

    def batches(self, size: int, seed: int) -> Iterator[list[Question]]:
        """Endless batches of training questions in an order of the seed; each once before any comes again."""
        generator = random.Random(f"study order {seed}")
        waiting: list[Question] = []
        while True:
            while len(waiting) < size:
                again = list(self.questions["train"])
                generator.shuffle(again)
                waiting = again + waiting
            yield [waiting.pop() for _ in range(size)]


def prepare_files(out: Path, seed: int, settings: StudySettings, console: Console) -> None:
    """Make the seed's indexes and its warm-started model under `out`; what is there already is kept.

    Raises:
        ValueError: where a folder holds something else.
    """
    if isinstance(settings, ChainSettings):
        chain.warm_start(model_folder(out, seed), seed, settings, console)
        return
    make_indexes(out, seed, settings.task)
    lesson = WarmStartSettings(mistake_share=settings.mistake_share)
    warm_start(model_folder(out, seed), seed, lesson, settings.task.top_k, console)


def make_indexes(out: Path, seed: int, settings: QuickstartSettings) -> None:
    """Make an index of each split's documents, where it is not there already."""
    for split in SPLITS:
        options = _world(seed, settings) | {"part": PART_OF_SPLIT[split]}
        source = {"corpus": "miniwiki", **{name: str(value) for name, value in options.items()}}
        folder = index_folder(out, seed, split)
        if not is_current(folder, BACKEND, source):
            documents = environment("miniwiki").documents(None, **options)
            build_index(documents, folder, BACKEND, overwrite=True, source=source)


def open_task(out: Path, seed: int, settings: StudySettings, tokenizer: PreTrainedTokenizerFast) -> Task:
    """Open what `prepare_files` made, the model apart."""
    boundary = TurnBoundary(tokenizer)
    if isinstance(settings, ChainSettings):
        return Task(tokenizer, boundary, {split: _chains(split, seed, settings, boundary) for split in SPLITS}, {})
    return _open_miniwiki(out, seed, settings.task, tokenizer, boundary)


def _chains(split: str, seed: int, settings: ChainSettings, boundary: TurnBoundary) -> tuple[Question, ...]:
    return tuple(
        Question(tuple(boundary.prompt([{"role": "user", "content": text}])), {"answers": [answer], "document_ids": []})
        for text, answer in chain.questions(split, seed, settings)
    )


def _open_miniwiki(
    out: Path, seed: int, settings: QuickstartSettings, tokenizer: PreTrainedTokenizerFast, boundary: TurnBoundary
) -> Task:
    miniwiki = environment("miniwiki")
    questions = {
        split: tuple(
            Question(tuple(boundary.prompt(miniwiki.prompt(example))), miniwiki.ground_truth(example))
            for example in miniwiki.examples(split, None, **_world(seed, settings))
        )
        for split in SPLITS
    }
    libraries = {
        split: Library(open_index(index_folder(out, seed, split)), settings.top_k, boundary) for split in SPLITS
    }
    return Task(tokenizer, boundary, questions, libraries)


def load_model(out: Path, seed: int) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """The warm-started model in float32, and its tokenizer."""
    folder = model_folder(out, seed)
    model = Qwen3ForCausalLM.from_pretrained(folder, dtype="float32")
    return model, PreTrainedTokenizerFast.from_pretrained(folder)


def model_folder(out: Path, seed: int) -> Path:
    """Where the seed's warm-started model lies."""
    return out / "models" / f"seed-{seed}"


def index_folder(out: Path, seed: int, split: str) -> Path:
    """Where the index of the seed's documents of a split lies."""
    return out / "index" / f"seed-{seed}" / split


def _world(seed: int, settings: QuickstartSettings) -> dict[str, Any]:
    return {"seed": seed, "books": settings.books, "held_out_books": settings.held_out_books}
