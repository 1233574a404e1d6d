"""HotpotQA: bridge and comparison questions over Wikipedia abstracts, in the official and in the Hugging Face schema.

The official JSON has ``_id`` and pairs ``[title, sentence]``, the Hugging Face files have ``id`` and parallel lists.
The gold documents are the titles of the supporting facts. Only the official scores (`official`) use sentence numbers,
since retrieval is by page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from wapo_verl.environments.environment import Example
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.from_files import FromFiles
from wapo_verl.environments.official import FileScores
from wapo_verl.environments.qa_metrics import hotpotqa_f1, ottqa_f1
from wapo_verl.environments.raw_rows import RawRow
from wapo_verl.environments.retrieval_qa import RetrievalQA, published

from .rows import supporting_facts

if TYPE_CHECKING:
    from retrieval_index import Document


@dataclass(frozen=True, slots=True)
class HotpotExample(Example):
    """A question with the page of each of its supporting facts.

    Attributes:
        fact_titles: the title of each fact's page; a page with two facts is there twice.
    """

    fact_titles: tuple[str, ...] = ()


class HotpotQA(FromFiles, RetrievalQA):
    """HotpotQA with its own F1 (`wapo_verl.environments.qa_metrics.hotpotqa_f1`).

    The gold documents are the pages of the supporting facts, so `retrieval_recall` is the share of gold titles that
    were shown. Two more reward parts are `supporting_fact_recall`, the share of supporting facts whose page was shown,
    and `squad_f1`, the F1 without HotpotQA's rule for yes and no, which WAPO's published runs were paid by.
    """

    name = "hotpotqa"
    named_weights: ClassVar[Mapping[str, Mapping[str, float]]] = {
        **RetrievalQA.named_weights,
        "published": published("squad_f1"),
    }
    official_metrics = ("em", "f1", "prec", "recall")
    splits = ("train", "dev")
    unanswered_splits = ("test",)
    upstream = "https://hotpotqa.github.io or the data set hotpotqa/hotpot_qa on the Hugging Face hub"
    hub_repo = "hotpotqa/hotpot_qa"
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
        """Make the example of a row, with its `id` and `kind` (bridge or comparison) in `extra`."""
        answer = raw.text("answer")
        titles = tuple(title for title, _ in dict.fromkeys(supporting_facts(raw)))
        if not titles:
            raise raw.error("supporting_facts", "must hold at least one supporting fact")
        return HotpotExample(
            question=raw.text("question"),
            answers=(answer,),
            document_ids=tuple(dict.fromkeys(titles)),
            extra={"id": raw.text("_id", "id"), "kind": raw.text("type")},
            fact_titles=titles,
        )

    def ground_truth(self, example: Example) -> dict[str, Any]:
        """Return answers, gold documents, and as `fact_titles` the page of each supporting fact."""
        titles = example.fact_titles if isinstance(example, HotpotExample) else example.document_ids
        return {**super().ground_truth(example), "fact_titles": list(titles)}

    def parts(self, episode: Episode, ground_truth: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Return the parts of every search environment, `squad_f1`, and `supporting_fact_recall` (1 without facts).

        Rows that were written without `fact_titles` have one fact per gold document.
        """
        titles = ground_truth.get("fact_titles", ground_truth["document_ids"])
        found = {title for titles_ in episode.document_ids for title in titles_}
        recall = sum(title in found for title in titles) / len(titles) if len(titles) else 1.0
        return {
            **super().parts(episode, ground_truth),
            "squad_f1": self.best_of(ottqa_f1, episode, ground_truth["answers"]),
            "supporting_fact_recall": recall,
        }

    def score_files(self, predictions: Path, reference: Path) -> FileScores:
        """Compute HotpotQA's official numbers (`wapo_verl.environments.installed.hotpotqa.official`)."""
        from .official import score_files

        return score_files(predictions, reference)

    def official_files(self, answers: Mapping[str, str], golds: Mapping[str, str]) -> tuple[Any, Any]:
        """Return the two files without supporting facts, which episodes do not name."""
        reference = [{"_id": id_, "answer": gold, "supporting_facts": []} for id_, gold in golds.items()]
        return {"answer": dict(answers), "sp": {}}, reference

    def f1(self, prediction: str, gold: str) -> float:
        """Return HotpotQA's F1."""
        return hotpotqa_f1(prediction, gold)

    def documents(self, source: Path | None, **options: Any) -> Iterator[Document]:
        """Read the pages of a file of distractor rows, or of the folder or archive of abstracts."""
        from retrieval_index.corpora import read_hotpotqa_abstracts, read_hotpotqa_distractor

        self.resolve_options(options)
        if source is None:
            raise ValueError(
                f"hotpotqa's documents are read from files: give the abstracts or a file of {self.upstream}"
            )
        distractor = source.is_file() and {".json", ".jsonl", ".parquet"}.intersection(source.suffixes)
        return read_hotpotqa_distractor(source) if distractor else read_hotpotqa_abstracts(source)


ENVIRONMENT = HotpotQA()
