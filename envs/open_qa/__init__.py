"""Open questions of the seven data sets that Search-R1 shares, with their accepted answers, without gold documents.

Reads ``train.parquet`` and ``test.parquet`` as Search-R1 and veRL's recipe for it write them, and the JSON lines that
they are made of. Rows of those parquet files can also be trained on as they are, whatever their ``data_source``
(``DATA_SOURCES``): ``wapo_verl.reward`` finds this environment by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from wapo_verl.environments.environment import Example
from wapo_verl.environments.from_files import FromFiles
from wapo_verl.environments.raw_rows import RawRow
from wapo_verl.environments.retrieval_qa import RetrievalQA

_NAMES = ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle")
DATA_SOURCES = (*(name for name in _NAMES if name != "hotpotqa"), *(f"searchR1_{name}" for name in _NAMES))
"""Search-R1's own names, then those of veRL's recipe; rows named ``hotpotqa`` are scored by that environment."""


class OpenQA(FromFiles, RetrievalQA):
    """Search-R1's questions, scored by exact match with any accepted answer, and F1 as SQuAD's script has it.

    Its rows name no gold documents, so ``retrieval_recall`` is always 1: give it no weight.
    """

    name = "open_qa"
    data_sources = DATA_SOURCES
    splits = ("train", "test")
    upstream = "the data set PeterJinGo/nq_hotpotqa_train on the Hugging Face hub"
    hub_repo = "PeterJinGo/nq_hotpotqa_train"
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {
        split: tuple(f"{split}{kind}" for kind in (".parquet", ".jsonl", ".json")) for split in ("train", "test")
    }

    def example(self, raw: RawRow) -> Example:
        """Read one question; ``extra`` has its ``id`` and, as ``kind``, the data set that it is of.

        The id begins with the data set: a merged file has a ``test_0`` of each.
        """
        extra_info, kind = raw.values.get("extra_info"), raw.values.get("data_source")
        index = extra_info.get("index", raw.index) if isinstance(extra_info, dict) else raw.index
        id_ = str(raw.values.get("id", index))
        return Example(
            question=_question(raw),
            answers=_answers(raw),
            extra={"id": f"{kind}/{id_}" if kind else id_, "kind": str(kind or "unknown")},
        )


def _question(raw: RawRow) -> str:
    """Return the row's question, which veRL's recipe keeps in ``extra_info``."""
    extra_info = raw.values.get("extra_info")
    if "question" not in raw.values and isinstance(extra_info, dict) and isinstance(extra_info.get("question"), str):
        return str(extra_info["question"])
    return raw.text("question")


def _answers(raw: RawRow) -> tuple[str, ...]:
    """Return the accepted answers: ``golden_answers``, else ``reward_model.ground_truth.target``."""
    answers: Any = raw.values.get("golden_answers")
    if answers is None:
        reward_model = raw.values.get("reward_model")
        truth = reward_model.get("ground_truth") if isinstance(reward_model, dict) else None
        answers = truth.get("target") if isinstance(truth, dict) else None
    answers = [answers] if isinstance(answers, str) else answers
    if not isinstance(answers, list) or not answers or not all(isinstance(one, str) and one.strip() for one in answers):
        raise raw.error("golden_answers", "must be a list of answers, here or as reward_model.ground_truth.target")
    return tuple(answers)


ENVIRONMENT = OpenQA()
