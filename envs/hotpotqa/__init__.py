"""HotpotQA: bridge and comparison questions over Wikipedia abstracts, in the official and in the Hugging Face schema.

The official JSON has ``_id`` and pairs ``[title, sentence]``, the Hugging Face files have ``id`` and parallel lists.
The gold documents are the titles of the supporting facts. Sentence numbers are left out: retrieval is by page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from envs.environment import Example
from envs.from_files import FromFiles
from envs.qa_metrics import hotpotqa_f1
from envs.raw_rows import RawRow
from envs.retrieval_qa import RetrievalQA

if TYPE_CHECKING:
    from retrieval_index import Document

_FACTS = "must be pairs [title, sentence number], or {'title': [..], 'sent_id': [..]} of one length, and not empty"


class HotpotQA(FromFiles, RetrievalQA):
    """HotpotQA with its own F1 (``envs.qa_metrics.hotpotqa_f1``)."""

    name = "hotpotqa"
    splits = ("train", "dev")
    unanswered_splits = ("test",)
    upstream = "https://hotpotqa.github.io or the data set hotpotqa/hotpot_qa on the Hugging Face hub"
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "train": (
            "hotpot_train_v*.json",
            *(f"{folder}train-*.parquet" for folder in ("distractor/", "fullwiki/", "")),
            *(f"train{kind}" for kind in (".json", ".jsonl", ".parquet")),
        ),
        "dev": (
            "hotpot_dev_distractor_v*.json",
            "hotpot_dev_fullwiki_v*.json",
            *(f"{folder}validation-*.parquet" for folder in ("distractor/", "fullwiki/", "")),
            *(f"{name}{kind}" for name in ("dev", "validation") for kind in (".json", ".jsonl", ".parquet")),
            "distractor_sample.json",
        ),
    }

    def example(self, raw: RawRow) -> Example:
        """One question; ``extra``: its ``id`` and ``kind`` (bridge or comparison)."""
        return Example(
            question=raw.text("question"),
            answers=(raw.text("answer"),),
            document_ids=tuple(dict.fromkeys(_supporting_titles(raw))),
            extra={"id": raw.text("_id", "id"), "kind": raw.text("type")},
        )

    def f1(self, prediction: str, gold: str) -> float:
        """HotpotQA's F1."""
        return hotpotqa_f1(prediction, gold)

    def documents(self, source: Path | None, **options: Any) -> Iterator[Document]:
        """The pages of a file of distractor rows, or of the folder or archive of abstracts."""
        from retrieval_index.corpora import read_hotpotqa_abstracts, read_hotpotqa_distractor

        self.resolve_options(options)
        if source is None:
            raise ValueError(
                f"hotpotqa's documents are read from files: give the abstracts or a file of {self.upstream}"
            )
        distractor = source.is_file() and {".json", ".jsonl", ".parquet"}.intersection(source.suffixes)
        return read_hotpotqa_distractor(source) if distractor else read_hotpotqa_abstracts(source)


def _supporting_titles(raw: RawRow) -> list[str]:
    facts = raw.values.get("supporting_facts")
    if isinstance(facts, dict):
        titles, sentences = facts.get("title"), facts.get("sent_id")
        if not isinstance(titles, list) or not isinstance(sentences, list) or len(titles) != len(sentences):
            raise raw.error("supporting_facts", _FACTS)
    elif isinstance(facts, list) and all(isinstance(fact, list) and len(fact) == 2 for fact in facts):
        titles = [title for title, _ in facts]
    else:
        raise raw.error("supporting_facts", _FACTS)
    if not titles or not all(isinstance(title, str) and title for title in titles):
        raise raw.error("supporting_facts", _FACTS)
    return titles


ENVIRONMENT = HotpotQA()
