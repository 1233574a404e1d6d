"""What all question answering over a retriever shares: the protocol's prompt and the scoring of an episode.

An environment that takes this as its base says only where its examples come from. Reading files is in
``wapo_verl.environments.from_files``; the protocol's parsing is the agent loop's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from string import punctuation
from typing import Any, ClassVar

from wapo_verl.environments.environment import Environment, Example
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.episode_rules import DEFAULT_MAX_TURNS, DEFAULT_QUERIES_PER_CALL
from wapo_verl.environments.qa_metrics import Metric, best, exact_match, normalise_answer, ottqa_f1

INSTRUCTIONS = """\
Answer the question below. You may search a collection of documents first.

In every turn, reason inside <think> and </think>, then do exactly one of two things:
- search: write one query inside <search> and </search>. The best passages come back inside <information> and \
</information>, and the next turn is yours.
- finish: write the answer inside <answer> and </answer>, as a few words without explanation.

A question may need several searches, one building on another. You have at most {max_turns} turns.{budget}

Question: {question}"""

TOOL_INSTRUCTIONS = """\
Answer the question below. You may search a collection of documents first.

In every turn, reason inside <think> and </think>, then do exactly one of two things:
- search: call the tool "search" once, with a list of up to {queries_per_call} queries, as in \
<tool_call>{{"name": "search", "arguments": {{"query_list": ["a query"]}}}}</tool_call>. The best passages for each \
come back, and the next turn is yours.
- finish: write the answer inside <answer> and </answer>, as a few words without explanation.

A question may need several searches, one building on another. You have at most {max_turns} turns.{budget}

Question: {question}"""

BUDGET = " After each result you are told how many turns and tokens are left."


def published(f1: str) -> dict[str, float]:
    """Return the weights of WAPO's published runs, (0.3 turn_format + 1.0 F1) / 1.3, with that part for F1."""
    return {"turn_format": 0.3 / 1.3, f1: 1.0 / 1.3}


class RetrievalQA(Environment):
    """Base of the environments that answer a question by searching.

    Reward parts: ``exact_match`` (weight 1 by default), ``f1``, ``format`` (1 when the episode ended in a well-formed
    answer), ``turn_format`` (share of the turns that are exactly a thought and an action; 0 in an episode of one turn)
    and ``retrieval_recall`` (share of the gold documents among all that were retrieved).
    Only the answer that the agent loop recorded is scored: an answer that merely stands in a passage or in the
    policy's reasoning earns nothing. One that is blank, or nothing but punctuation and articles, scores 0 even where
    the gold answer normalises to nothing, unless it is that answer.

    Options, each a promise of the prompt, which training obeys (``wapo_verl.environments.episode_rules``):
        max_turns: turns that an episode may take.
        queries_per_call: queries that one turn of the tool protocol may have.
        announce_budget: whether each result tells how many turns and tokens are left.
    """

    ability: ClassVar[str] = "retrieval_qa"
    named_weights: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "exact_match": {"exact_match": 1.0},
        "published": published("f1"),
    }
    other_agents: ClassVar[tuple[str, ...]] = ("search_tool_agent",)
    options: ClassVar[Mapping[str, str | int | float | bool]] = {
        "max_turns": DEFAULT_MAX_TURNS,
        "queries_per_call": DEFAULT_QUERIES_PER_CALL,
        "announce_budget": False,
    }
    least: ClassVar[Mapping[str, int]] = {"max_turns": 1, "queries_per_call": 1}
    row_options: ClassVar[tuple[str, ...]] = ("max_turns", "queries_per_call", "announce_budget")

    def prompt(self, example: Example) -> list[dict[str, str]]:
        """Return one user message: the agent loop's protocol, then the question."""
        instructions = TOOL_INSTRUCTIONS if self.agent_name == "search_tool_agent" else INSTRUCTIONS
        promised = {name: example.extra.get(name, default) for name, default in RetrievalQA.options.items()}
        budget = BUDGET if promised["announce_budget"] else ""
        return [{"role": "user", "content": instructions.format(**promised, budget=budget, question=example.question)}]

    def f1(self, prediction: str, gold: str) -> float:
        """Return the benchmark's own F1 of an answer against one gold answer."""
        return ottqa_f1(prediction, gold)

    def same_answer(self, first: str, second: str, ground_truth: Any) -> bool:
        """Tell whether two answers normalise to the same text, as exact match has it."""
        return normalise_answer(first) == normalise_answer(second)

    def document_id(self, id_: str) -> str:
        """Return one spelling of a document's id, where indexes spell it in several."""
        return id_

    def score(
        self, episode: Episode, ground_truth: Any, weights: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Score as every environment does; a ground truth may also be Search-R1's, ``{"target": [str]}``."""
        return super().score(episode, _ours(ground_truth), weights)

    def best_of(self, metric: Metric, episode: Episode, golds: Iterable[str]) -> float:
        """Return what an episode's answer earns by a metric, at its best over the gold answers; 0 without one."""
        answer = self.given_answer(episode, None)
        return 0.0 if answer is None else best(_earned(metric), answer, golds)

    def parts(self, episode: Episode, ground_truth: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Return the five reward parts, each in [0, 1], for ``{"answers": [str], "document_ids": [str]}``."""
        golds = ground_truth["answers"]
        found = [[self.document_id(id_) for id_ in ids] for ids in episode.document_ids]
        return {
            "exact_match": self.best_of(exact_match, episode, golds),
            "f1": self.best_of(self.f1, episode, golds),
            "format": float(self.given_answer(episode, ground_truth) is not None),
            "turn_format": episode.well_formed_turns / episode.turns if episode.turns > 1 else 0.0,
            "retrieval_recall": retrieval_recall(found, map(self.document_id, ground_truth["document_ids"])),
        }


def _ours(ground_truth: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a ground truth with the keys ``answers`` and ``document_ids``.

    Raises:
        ValueError: for one that has no answers.
    """
    if "answers" in ground_truth:
        return {"document_ids": [], **ground_truth}
    if "target" not in ground_truth:
        raise ValueError(
            "reward_model.ground_truth must have the key answers (as `wapo-verl prepare` writes it) or target (as "
            f"Search-R1 does); it has {', '.join(ground_truth) or 'no key'}"
        )
    target = ground_truth["target"]
    return {"answers": [target] if isinstance(target, str) else list(target), "document_ids": []}


def _earned(metric: Metric) -> Metric:
    """Return the metric as a reward: what normalises to nothing earns where it has the gold answer's letters.

    The official metrics call any two of them equal, so that a full stop would be paid where the answer is "A".
    """

    def earned(prediction: str, gold: str) -> float:
        return metric(prediction, gold) if normalise_answer(prediction) or _bare(prediction) == _bare(gold) else 0.0

    return earned


def _bare(text: str) -> str:
    """Return a text in lower case without the punctuation around it, unless it is nothing but punctuation."""
    text = text.strip().lower()
    return text.strip(f"{punctuation} ") or text


def retrieval_recall(retrieved: Iterable[Iterable[str]], gold: Iterable[str]) -> float:
    """Return the share of the gold documents that any query retrieved; 1.0 where there is no gold document to miss."""
    wanted = set(gold)
    found = wanted & {document_id for ids in retrieved for document_id in ids}
    return len(found) / len(wanted) if wanted else 1.0
