"""Exact match and F1 of short answers, as the official scripts of HotpotQA and OTT-QA compute them.

Sources: ``hotpot_evaluate_v1.py`` of hotpotqa/hotpot; ``evaluate_script.py`` of wenhuchen/OTT-QA (SQuAD's). One answer
against one gold answer; scoring whole files, supporting facts included, is in each environment's ``official``.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

Metric = Callable[[str, str], float]

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLOSED_ANSWERS = frozenset({"yes", "no", "noanswer"})


def normalise_answer(text: str) -> str:
    """Return an answer in lower case with single spaces, without ASCII punctuation and the articles a/an/the."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_match(prediction: str, gold: str) -> float:
    """Return 1.0 when both normalise to the same text, else 0.0."""
    return float(normalise_answer(prediction) == normalise_answer(gold))


class Overlap(NamedTuple):
    """What a prediction and a gold answer share; all three in [0, 1].

    Attributes:
        f1: 2PR / (P + R), 0 where P + R is.
        precision: shared / predicted.
        recall: shared / gold.
    """

    f1: float
    precision: float
    recall: float


NOTHING_SHARED = Overlap(0.0, 0.0, 0.0)


def hotpotqa_overlap(prediction: str, gold: str) -> Overlap:
    """Count shared tokens by HotpotQA's rule: none when one side is yes, no or noanswer and the other is not the same.

    Two answers that both normalise to nothing share no token, so their F1 is 0 although they match exactly.
    """
    prediction, gold = normalise_answer(prediction), normalise_answer(gold)
    if prediction != gold and not _CLOSED_ANSWERS.isdisjoint((prediction, gold)):
        return NOTHING_SHARED
    return _token_overlap(prediction.split(), gold.split())


def hotpotqa_f1(prediction: str, gold: str) -> float:
    """Return the F1 of ``hotpotqa_overlap``."""
    return hotpotqa_overlap(prediction, gold).f1


def ottqa_f1(prediction: str, gold: str) -> float:
    """Return token F1 with OTT-QA's rule: when either side normalises to nothing it is 1 if both do, else 0."""
    predicted_tokens, gold_tokens = normalise_answer(prediction).split(), normalise_answer(gold).split()
    if not predicted_tokens or not gold_tokens:
        return float(predicted_tokens == gold_tokens)
    return _token_overlap(predicted_tokens, gold_tokens).f1


def best(metric: Metric, prediction: str, golds: Iterable[str]) -> float:
    """Return the metric's highest value over the accepted gold answers; 0.0 when there are none."""
    return max((metric(prediction, gold) for gold in golds), default=0.0)


def _token_overlap(prediction: list[str], gold: list[str]) -> Overlap:
    """Return the overlap of two multisets of tokens."""
    shared = sum((Counter(prediction) & Counter(gold)).values())
    if shared == 0:
        return NOTHING_SHARED
    precision, recall = shared / len(prediction), shared / len(gold)
    return Overlap(2 * precision * recall / (precision + recall), precision, recall)
