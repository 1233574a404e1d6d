"""Play miniwiki's questions by a script: without a mistake, or with one, for a warm start to imitate.

The searches go to a real index, with real ranks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from retrieval_index import Document
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.protocol import render_answer, render_information, render_passage, render_search

from .world import Question, World

Search = Callable[[str], Sequence[Document]]
"""A function from a query to its documents, best first."""

MISTAKES = ("early_answer", "wrong_fact", "wrong_query")


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A played question.

    Attributes:
        messages: the conversation, user and assistant in turn, ending with the assistant's answer.
        episode: the same, as the verifier reads it.
    """

    messages: tuple[dict[str, str], ...]
    episode: Episode


def play(question: Question, queries: Sequence[str], answer: str, search: Search) -> Demonstration:
    """Make the conversation of a searcher that sends these queries, reads the results and gives this answer."""
    messages = [{"role": "user", "content": question.text}]
    found: list[tuple[str, ...]] = []
    for query in queries:
        documents = search(query)
        found.append(tuple(document.id for document in documents))
        passages = (render_passage(document.title, document.text) for document in documents)
        messages.append({"role": "assistant", "content": render_search(query)})
        messages.append({"role": "user", "content": render_information(passages)})
    messages.append({"role": "assistant", "content": render_answer(answer)})
    episode = Episode(answer=answer, queries=tuple(queries), document_ids=tuple(found), turns=len(found) + 1)
    return Demonstration(tuple(messages), episode)


def oracle(question: Question, search: Search) -> Demonstration:
    """Play the question without a mistake: the answer scores 1, and every gold document is shown."""
    return play(question, question.queries, question.answer, search)


def imperfect(question: Question, world: World, search: Search, mistake: str) -> Demonstration:
    """Play the question with one wrong decision, so that the answer scores 0.

    Args:
        question: the question.
        world: its world.
        search: finds documents.
        mistake: "early_answer" answers with the name that the first search shows, "wrong_fact" with the author's other
            fact; "wrong_query" searches for the town of printing in place of the author and answers with that town. A
            comparison always ends with the newer book.

    Raises:
        ValueError: for an unknown mistake.
    """
    if mistake not in MISTAKES:
        raise ValueError(f"mistake {mistake!r} is unknown; use one of {', '.join(MISTAKES)}")
    first, second = question.queries
    if question.kind == "comparison":
        return play(question, question.queries, second if question.answer == first else first, search)
    if mistake == "early_answer":
        return play(question, (first,), second, search)
    if mistake == "wrong_fact":
        person = world.persons[second]
        other = person.school if question.answer == person.birthplace else person.birthplace
        return play(question, question.queries, other, search)
    town = next(book for book in world.books if book.name == first).printing_town
    return play(question, (first, town), town, search)


def demonstrations(
    world: World, questions: Sequence[Question], search: Search, mistake_share: float, generator: random.Random
) -> Iterator[Demonstration]:
    """Play every question once; each has this chance of one wrong decision of a random kind."""
    for question in questions:
        if generator.random() < mistake_share:
            yield imperfect(question, world, search, generator.choice(MISTAKES))
        else:
            yield oracle(question, search)
