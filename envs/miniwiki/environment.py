"""The miniwiki environment: rows and documents of a generated world, scored like every search environment.

It reads no files. The prompt is the bare question: the tiny model that it is made for has learned the protocol in its
warm start.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from retrieval_index import Document
from wapo_verl.environments.environment import Example
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.retrieval_qa import RetrievalQA

from .names import HELD_OUT, PARTS, TRAIN
from .world import World, make_questions, make_world

PART_OF_SPLIT = {"train": TRAIN, "test": HELD_OUT}


class Miniwiki(RetrievalQA):
    """Two-hop questions over invented books, persons, towns and schools; "test" and "train" share none of them.

    Options:
        seed: the world; every seed has its own.
        books: size of the training part, at most 896. Each part has as many persons as books, half as many towns and
            schools, and two bridge questions per book.
        held_out_books: size of the held-out part, at most 128.
        part: which documents `documents` gives: "both", or those of "train" or "held_out" alone, so that each part can
            have an index of its own; a row's `extra_info` names the part of its question.
        max_turns: turns that an episode may take, in training too; the prompt does not name it.
        comparison_share: share of the questions that compare the years of two books; the others are bridge questions.
    """

    name: ClassVar[str] = "miniwiki"
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    options: ClassVar[Mapping[str, str | int | float | bool]] = {
        "seed": 0,
        "books": 240,
        "held_out_books": 80,
        "part": "both",
        "comparison_share": 0.0,
        "max_turns": 3,
    }
    row_options: ClassVar[tuple[str, ...]] = ("max_turns",)
    generates_documents: ClassVar[bool] = True

    def examples(self, split: str, source: Path | None = None, **options: Any) -> Iterator[Example]:
        """Make the questions of a split, in a random order that the seed fixes.

        Raises:
            ValueError: for an unknown split or option, or an option out of its range.
        """
        if split not in self.splits:
            raise ValueError(f"miniwiki has no split {split!r}; its splits are {', '.join(self.splits)}")
        resolved = self.resolve_options(options)
        part = PART_OF_SPLIT[split]
        generator = random.Random(f"miniwiki questions {resolved['seed']} {part}")
        for question in make_questions(_world(part, resolved), resolved["comparison_share"], generator):
            example = Example(
                question=question.text,
                answers=(question.answer,),
                document_ids=question.document_ids,
                extra={
                    "kind": question.kind,
                    "part": part,
                    "first_query": question.queries[0],
                    "second_query": question.queries[1],
                },
            )
            yield self.with_row_options(example, resolved)

    def documents(self, source: Path | None = None, **options: Any) -> Iterator[Document]:
        """Make the documents of the world, or of one part, one per fact, in a random order that the seed fixes.

        Raises:
            ValueError: for an unknown option or part, or an option out of its range.
        """
        resolved = self.resolve_options(options)
        if resolved["part"] not in ("both", *PARTS):
            raise ValueError(f"miniwiki has no part {resolved['part']!r}; use both, {' or '.join(PARTS)}")
        parts = PARTS if resolved["part"] == "both" else (resolved["part"],)
        generator = random.Random(f"miniwiki documents {resolved['seed']}")
        found = [document for part in parts for document in _world(part, resolved).documents()]
        generator.shuffle(found)
        yield from found

    def prompt(self, example: Example) -> list[dict[str, str]]:
        """Make one user message that is the question and nothing else."""
        return [{"role": "user", "content": example.question}]

    def gold_episode(self, row: Mapping[str, Any]) -> Episode:
        """Make an episode of two searches for the right names, each with its document, and the answer."""
        truth, extra = row["reward_model"]["ground_truth"], row["extra_info"]
        return Episode(
            answer=truth["answers"][0],
            queries=(extra["first_query"], extra["second_query"]),
            document_ids=tuple((document_id,) for document_id in truth["document_ids"]),
            turns=3,
        )


def _world(part: str, options: Mapping[str, Any]) -> World:
    return make_world(options["seed"], part, options["books" if part == TRAIN else "held_out_books"])
