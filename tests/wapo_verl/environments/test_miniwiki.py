"""Miniwiki's promises: its own world for every seed, held-out entities apart, ranks that force reading. No model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wapo_verl.environments.installed.miniwiki import ENVIRONMENT
from wapo_verl.environments.installed.miniwiki.demonstrations import MISTAKES, demonstrations, imperfect, oracle
from wapo_verl.environments.installed.miniwiki.names import (
    HELD_OUT,
    KINDS,
    PARTS,
    TRAIN,
    draw_names,
    heads,
    part_names,
    tails,
)
from wapo_verl.environments.installed.miniwiki.world import Question, World, make_questions, make_world

from retrieval_index import Document, build_index, open_index
from wapo_verl.environments.environment import Example
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.protocol import Answer, Search, parse_turn

TOP_K = 3
SEEDS = st.integers(min_value=-(2**40), max_value=2**40)
ALL_NAMES = {part: {name for kind in KINDS for name in part_names(kind, part)} for part in PARTS}


def words(text: str) -> set[str]:
    return {word.strip(".?,") for word in text.split()}


def names_of(world: World) -> set[str]:
    names = [(book.name, book.printing_town) for book in world.books]
    names += [(person.name, person.birthplace, person.school) for person in world.persons.values()]
    return set(chain(*names))


class Finder:
    """Searches an index of these documents, as a demonstration asks for it."""

    def __init__(self, documents: Sequence[Document], folder: Path, backend: str = "tantivy") -> None:
        build_index(documents, folder, backend)
        self.index = open_index(folder)

    def __call__(self, query: str) -> list[Document]:
        return [hit.document for hit in self.index.search([query], TOP_K)[0]]


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Finder:
    """An index of seed 7's default documents, both parts."""
    return Finder(list(ENVIRONMENT.documents(seed=7)), tmp_path_factory.mktemp("miniwiki") / "index")


def questions_of(part: str, comparison_share: float = 0.25) -> list[Question]:
    world = make_world(7, part, 240 if part == TRAIN else 80)
    return make_questions(world, comparison_share, random.Random(0))


def test_names_are_distinct_words_of_two_pieces_and_each_piece_is_in_both_parts() -> None:
    assert len(ALL_NAMES[TRAIN]) == 4 * 896
    assert len(ALL_NAMES[HELD_OUT]) == 4 * 128
    assert len({name.lower() for names in ALL_NAMES.values() for name in names}) == 4096
    for kind in KINDS:
        for part in PARTS:
            names = part_names(kind, part)
            assert all(any(name.startswith(head) for name in names) for head in heads(kind))
            assert all(any(name.endswith(tail) for name in names) for tail in tails(kind))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, other=SEEDS, comparison_share=st.sampled_from([0.0, 0.5, 1.0]))
def test_no_held_out_name_occurs_in_any_training_world(seed: int, other: int, comparison_share: float) -> None:
    train, held_out = make_world(other, TRAIN, 60), make_world(seed, HELD_OUT, 40)
    assert not names_of(train) & names_of(held_out)
    texts = [document.text for document in train.documents()]
    texts += [question.text for question in make_questions(train, comparison_share, random.Random(seed))]
    seen = set().union(*map(words, texts))
    assert not seen & ALL_NAMES[HELD_OUT]
    assert names_of(held_out) <= ALL_NAMES[HELD_OUT]


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_splits_share_no_name_document_or_answer(seed: int) -> None:
    parts = {}
    for split in ENVIRONMENT.splits:
        examples = list(ENVIRONMENT.examples(split, seed=seed, books=40, held_out_books=20))
        ids = {document_id for example in examples for document_id in example.document_ids}
        answers = {answer for example in examples for answer in example.answers}
        queries = {str(example.extra[key]) for example in examples for key in ("first_query", "second_query")}
        parts[split] = (ids, answers, queries)
    for train, test in zip(parts["train"], parts["test"], strict=True):
        assert train
        assert test
        assert not train & test


def rows(seed: int) -> list[object]:
    examples: list[Example] = list(ENVIRONMENT.examples("train", seed=seed, books=30, comparison_share=0.3))
    return [examples, list(ENVIRONMENT.documents(seed=seed, books=30))]


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_a_seed_is_one_world_and_another_seed_another(seed: int) -> None:
    assert rows(seed) == rows(seed)
    assert rows(seed)[0] != rows(seed + 1)[0]


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, books=st.integers(min_value=4, max_value=100))
def test_documents_tell_each_fact_once_and_back_every_question(seed: int, books: int) -> None:
    world = make_world(seed, HELD_OUT, books)
    documents = {document.id: document.text for document in world.documents()}
    assert len(documents) == 5 * books == len(list(world.documents()))
    for question in make_questions(world, 0.3, random.Random(seed)):
        evidence = [documents[document_id] for document_id in question.document_ids]
        assert question.queries[0] in question.text
        assert all(query in words(text) for query, text in zip(question.queries, evidence, strict=True))
        if question.kind == "bridge":
            assert question.queries[1] in words(evidence[0])
            assert question.answer in words(evidence[1])
            assert question.answer not in words(evidence[0])
        else:
            years = {
                name: int(text.split()[-1].strip(".")) for name, text in zip(question.queries, evidence, strict=True)
            }
            assert question.answer == min(years, key=lambda name: years[name])
            assert len(set(years.values())) == 2


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_comparison_share_is_kept(share: float) -> None:
    kinds = [example.extra["kind"] for example in ENVIRONMENT.examples("test", comparison_share=share)]
    assert len(kinds) == 160
    assert kinds.count("comparison") == round(160 * share)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("comparison_share", [0.0, 1.0])
def test_an_oracle_scores_one_and_finds_all_evidence(finder: Finder, part: str, comparison_share: float) -> None:
    for question in questions_of(part, comparison_share):
        truth = {"answers": [question.answer], "document_ids": list(question.document_ids)}
        parts = ENVIRONMENT.score(oracle(question, finder).episode, truth)
        assert parts["score"] == parts["format"] == parts["retrieval_recall"] == 1.0


def test_an_oracle_finds_all_evidence_with_rank_bm25_too(tmp_path: Path) -> None:
    world = make_world(3, HELD_OUT, 40)
    finder = Finder(list(world.documents()), tmp_path / "index", "rank_bm25")
    for question in make_questions(world, 0.3, random.Random(0)):
        found = oracle(question, finder).episode.document_ids
        assert all(document_id in ids for document_id, ids in zip(question.document_ids, found, strict=True))


@pytest.mark.parametrize("part", PARTS)
def test_the_right_passage_is_often_not_the_first(finder: Finder, part: str) -> None:
    ranks = [
        ids.index(document_id)
        for question in questions_of(part)
        for ids, document_id in zip(oracle(question, finder).episode.document_ids, question.document_ids, strict=True)
    ]
    assert 0.25 <= ranks.count(0) / len(ranks) <= 0.6
    assert max(ranks) == TOP_K - 1


def test_each_part_can_have_documents_of_its_own() -> None:
    both, *parts = (list(ENVIRONMENT.documents(seed=1, part=part)) for part in ("both", *PARTS))
    assert sorted(both, key=lambda document: document.id) == sorted(chain(*parts), key=lambda document: document.id)
    for part, documents in zip(PARTS, parts, strict=True):
        split = "train" if part == TRAIN else "test"
        ids = {document.id for document in documents}
        examples = list(ENVIRONMENT.examples(split, seed=1))
        assert all(example.extra["part"] == part and ids >= set(example.document_ids) for example in examples)
    with pytest.raises(ValueError, match="no part 'dev'"):
        list(ENVIRONMENT.documents(part="dev"))


def test_searching_training_names_never_shows_a_held_out_document(finder: Finder) -> None:
    for question in questions_of(TRAIN):
        for ids in oracle(question, finder).episode.document_ids:
            assert all(document_id.split("/")[0] in ALL_NAMES[TRAIN] for document_id in ids)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_decision_scores_zero_and_stays_within_the_protocol(finder: Finder, mistake: str) -> None:
    world = make_world(7, TRAIN, 240)
    for question in questions_of(TRAIN)[:100]:
        played = imperfect(question, world, finder, mistake)
        truth = {"answers": [question.answer], "document_ids": list(question.document_ids)}
        assert ENVIRONMENT.score(played.episode, truth)["score"] == 0.0
        turns = [parse_turn(message["content"]) for message in played.messages if message["role"] == "assistant"]
        assert turns == [*(Search((query,)) for query in played.episode.queries), Answer(str(played.episode.answer))]


def test_the_share_of_mistakes_is_about_what_was_asked_for(finder: Finder) -> None:
    world, questions = make_world(7, TRAIN, 240), questions_of(TRAIN)
    played = demonstrations(world, questions, finder, 0.5, random.Random(1))
    right = [demo.episode.answer == question.answer for demo, question in zip(played, questions, strict=True)]
    assert 0.4 < sum(right) / len(right) < 0.6


def test_the_prompt_is_the_bare_question_and_gold_scores_one() -> None:
    example = next(ENVIRONMENT.examples("test"))
    row = ENVIRONMENT.row(example, "test", 0)
    assert row["prompt"] == [{"role": "user", "content": example.question}]
    truth = row["reward_model"]["ground_truth"]
    assert ENVIRONMENT.score(ENVIRONMENT.gold_episode(row), truth)["score"] == 1.0
    assert ENVIRONMENT.score(Episode(answer=None, outcome="no_tag"), truth)["score"] == 0.0


@pytest.mark.parametrize(
    ("options", "words_of_error"),
    [
        ({"held_out_books": 3}, "at least 4 books"),
        ({"held_out_books": 129}, "128 held_out names"),
        ({"comparison_share": 1.5}, "between 0 and 1"),
        ({"sed": 1}, "no option 'sed'"),
    ],
)
def test_an_option_out_of_range_is_one_clear_sentence(options: dict[str, Any], words_of_error: str) -> None:
    with pytest.raises(ValueError, match=words_of_error):
        list(ENVIRONMENT.examples("test", **options))


def test_an_unknown_split_or_mistake_is_refused(finder: Finder) -> None:
    with pytest.raises(ValueError, match="no split 'dev'"):
        list(ENVIRONMENT.examples("dev"))
    with pytest.raises(ValueError, match="mistake 'typo' is unknown"):
        imperfect(questions_of(TRAIN)[0], make_world(7, TRAIN, 240), finder, "typo")
    with pytest.raises(ValueError, match="ask for fewer"):
        draw_names("book", TRAIN, 1000, random.Random(0))
