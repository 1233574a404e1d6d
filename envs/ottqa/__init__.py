"""OTT-QA: open questions over Wikipedia tables and the passages that their cells link to.

It reads `train.json`, `dev.json` and the `*.traced.json` files, which add `answer-node`: where the answer stands. The
gold documents are the question's table and the passages named there (the table alone where a file has no trace).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from wapo_verl.environments.environment import Example
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.from_files import FromFiles
from wapo_verl.environments.official import FileScores
from wapo_verl.environments.raw_rows import RawRow
from wapo_verl.environments.retrieval_qa import RetrievalQA, retrieval_recall

if TYPE_CHECKING:
    from retrieval_index import Document

PASSAGE = "wiki/"
"""The beginning of a passage's id, but not of a table's."""

_NODE = "must be a list of [text, [row, column], '/wiki/..' or null, 'passage' or 'table']"


class OttQA(FromFiles, RetrievalQA):
    """OTT-QA with its own F1 (`wapo_verl.environments.qa_metrics.ottqa_f1`).

    Two more reward parts are `table_recall`, whether the question's table was shown, and `passage_recall`, the share of
    gold passages that were shown; each is 1 where the question has no such gold document.
    """

    name = "ottqa"
    official_metrics = ("total exact", "total f1")
    splits = ("train", "dev")
    unanswered_splits = ("test",)
    upstream = "https://github.com/wenhuchen/OTT-QA (released_data)"
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {
        split: tuple(
            f"{folder}{split}{kind}" for kind in (".traced.json", ".json") for folder in ("", "released_data/")
        )
        for split in ("train", "dev")
    }

    def example(self, raw: RawRow) -> Example:
        """Make the example of a row; `extra` has `id`, and as `kind` where the answer stands.

        A `kind` is passage, table, both, or untraced where the file does not say.
        """
        nodes = _answer_nodes(raw)
        links = [link for link, place in nodes if place == "passage"]
        places = {place for _, place in nodes}
        return Example(
            question=raw.text("question"),
            answers=(raw.text("answer-text"),),
            document_ids=tuple(dict.fromkeys([raw.text("table_id"), *links])),
            extra={
                "id": raw.text("question_id"),
                "kind": "both" if len(places) == 2 else next(iter(places), "untraced"),
            },
        )

    def document_id(self, id_: str) -> str:
        """Return a passage's id without the slash before "wiki/", which upstream's files have and some servers lack."""
        return id_.removeprefix("/")

    def parts(self, episode: Episode, ground_truth: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Return the parts of every search environment, and `table_recall` and `passage_recall`."""
        gold = {self.document_id(id_) for id_ in ground_truth["document_ids"]}
        passages = {id_ for id_ in gold if id_.startswith(PASSAGE)}
        found = [[self.document_id(id_) for id_ in ids] for ids in episode.document_ids]
        return {
            **super().parts(episode, ground_truth),
            "table_recall": retrieval_recall(found, gold - passages),
            "passage_recall": retrieval_recall(found, passages),
        }

    def score_files(self, predictions: Path, reference: Path) -> FileScores:
        """Compute OTT-QA's official numbers (`wapo_verl.environments.installed.ottqa.official`)."""
        from .official import score_files

        return score_files(predictions, reference)

    def official_files(self, answers: Mapping[str, str], golds: Mapping[str, str]) -> tuple[Any, Any]:
        """Return the two files; rows do not say whether an answer stands in a table or in a passage."""
        predictions = [{"question_id": id_, "pred": answer} for id_, answer in answers.items()]
        return predictions, {"reference": dict(golds)}

    def documents(self, source: Path | None, **options: Any) -> Iterator[Document]:
        """Read the tables and passages of the folder `source`."""
        from retrieval_index.corpora import read_ottqa

        self.resolve_options(options)
        if source is None:
            raise ValueError(f"ottqa's documents are read from a folder: give one with the files of {self.upstream}")
        return read_ottqa(source)


def _answer_nodes(raw: RawRow) -> list[tuple[str, str]]:
    """Return (link, "passage" or "table") of each answer node; the link of a table node is ""."""
    nodes = raw.values.get("answer-node")
    if nodes is None:
        return []
    if not isinstance(nodes, list):
        raise raw.error("answer-node", _NODE)
    found = []
    for node in nodes:
        if not isinstance(node, list) or len(node) != 4 or node[3] not in ("passage", "table"):
            raise raw.error("answer-node", _NODE)
        link = node[2] if node[3] == "passage" else ""
        if not isinstance(link, str) or (node[3] == "passage" and not link.startswith("/wiki/")):
            raise raw.error("answer-node", _NODE)
        found.append((link, node[3]))
    return found


ENVIRONMENT = OttQA()
