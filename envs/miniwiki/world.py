"""Generate a world for multi-hop questions: books, persons, towns and schools, and a short document per fact.

A world has one part ("train" or "held_out"); the two parts of a seed share no name and therefore no fact. Every entity
has two or three documents, which a search for its name ranks equal. So the top passage is often about another fact, and
the policy has to read.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from retrieval_index import Document

from .names import draw_names

YEARS = tuple(range(1805, 1905, 5))
BOOK_RELATIONS = ("author", "printing_town", "publication_year")
PERSON_RELATIONS = ("birthplace", "school")
BRIDGE_QUESTIONS = {
    "birthplace": "Where was the author of {} born?",
    "school": "Which school did the author of {} attend?",
}
COMPARISON_QUESTION = "Which book was published earlier, {} or {}?"
# All of a book's sentences are equally long, and all of a person's, but those are shorter: BM25 ranks a person's own
# documents above those of the books that name the person, and the documents of one entity alike. There are no titles,
# whose weight in the score is each back end's own.
TEXTS = {
    "author": "The book {} was written by {}.",
    "printing_town": "The book {} was printed in {}.",
    "publication_year": "The book {} was published in {}.",
    "birthplace": "{} was born in {}.",
    "school": "{} was schooled at {}.",
}


@dataclass(frozen=True, slots=True)
class Book:
    """A book, its author, and where and when it was published."""

    name: str
    author: str
    printing_town: str
    publication_year: int


@dataclass(frozen=True, slots=True)
class Person:
    """A person, with birthplace and school."""

    name: str
    birthplace: str
    school: str


@dataclass(frozen=True, slots=True)
class Question:
    """A two-hop question and the way to its answer.

    Attributes:
        text: the question.
        answer: the one right answer.
        kind: "bridge" or "comparison".
        queries: the queries of the way, in order: the names of the entities whose documents have the evidence.
        document_ids: the documents with the evidence, one per query.
    """

    text: str
    answer: str
    kind: str
    queries: tuple[str, str]
    document_ids: tuple[str, str]


@dataclass(frozen=True)
class World:
    """Books and persons (by name) of one part of one seed."""

    books: tuple[Book, ...]
    persons: dict[str, Person]

    def documents(self) -> Iterator[Document]:
        """Yield one document per fact. Shuffle them before indexing: else ties in a search always have this order."""
        for book in self.books:
            for relation in BOOK_RELATIONS:
                yield _document(book.name, relation, getattr(book, relation))
        for person in self.persons.values():
            for relation in PERSON_RELATIONS:
                yield _document(person.name, relation, getattr(person, relation))

    def bridge_questions(self) -> Iterator[Question]:
        """Yield two questions about the author of each book: the birthplace and the school."""
        for book in self.books:
            person = self.persons[book.author]
            for relation, template in BRIDGE_QUESTIONS.items():
                yield Question(
                    text=template.format(book.name),
                    answer=getattr(person, relation),
                    kind="bridge",
                    queries=(book.name, person.name),
                    document_ids=(document_id(book.name, "author"), document_id(person.name, relation)),
                )

    def comparison_question(self, generator: random.Random) -> Question:
        """Make a question which of two random books is the older one; the world must have books of two years."""
        first, second = generator.sample(self.books, 2)
        while first.publication_year == second.publication_year:
            first, second = generator.sample(self.books, 2)
        return Question(
            text=COMPARISON_QUESTION.format(first.name, second.name),
            answer=min(first, second, key=lambda book: book.publication_year).name,
            kind="comparison",
            queries=(first.name, second.name),
            document_ids=(document_id(first.name, "publication_year"), document_id(second.name, "publication_year")),
        )


def document_id(name: str, relation: str) -> str:
    """Return the id of the document with this fact about this entity."""
    return f"{name}/{relation}"


def _document(name: str, relation: str, fact: str | int) -> Document:
    return Document(document_id(name, relation), "", TEXTS[relation].format(name, fact))


def make_world(seed: int, part: str, books: int) -> World:
    """Make the world of a seed and part, with as many persons as books and half as many towns and schools.

    Each person wrote one book, which was not printed in the person's birthplace, so that the wrong town is never the
    right answer. The same arguments give the same world on any machine.

    Raises:
        ValueError: for fewer than 4 books, or more than there are names for.
    """
    if books < 4:
        raise ValueError(f"a miniwiki world needs at least 4 books, not {books}")
    generator = random.Random(f"miniwiki {seed} {part}")
    titles = draw_names("book", part, books, generator)
    people = draw_names("person", part, books, generator)
    towns = draw_names("town", part, books // 2, generator)
    schools = draw_names("school", part, books // 2, generator)
    listed, persons = [], {}
    for title, name in zip(titles, people, strict=True):
        birthplace, printing_town = generator.sample(towns, 2)
        listed.append(Book(title, name, printing_town, generator.choice(YEARS)))
        persons[name] = Person(name, birthplace, generator.choice(schools))
    if len({book.publication_year for book in listed}) == 1:
        listed[0] = replace(
            listed[0], publication_year=next(year for year in YEARS if year != listed[0].publication_year)
        )
    return World(books=tuple(listed), persons=persons)


def make_questions(world: World, comparison_share: float, generator: random.Random) -> list[Question]:
    """Make the world's questions in random order: bridge questions, with this share of them replaced by comparisons.

    Raises:
        ValueError: for a share outside [0, 1].
    """
    if not 0.0 <= comparison_share <= 1.0:
        raise ValueError(f"comparison_share is a share between 0 and 1, not {comparison_share}")
    questions = list(world.bridge_questions())
    generator.shuffle(questions)
    count = round(len(questions) * comparison_share)
    questions[:count] = [world.comparison_question(generator) for _ in range(count)]
    generator.shuffle(questions)
    return questions
