"""The analyser that all back ends share: golden terms, stopwords in queries, limits. No index."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.paths import DATA

from retrieval_index import Document, build_index, open_index
from retrieval_index.backends import analysis
from retrieval_index.backends.analysis import (
    ANALYSER,
    LONGEST_WORD,
    MAX_QUERY_CHARACTERS,
    MAX_QUERY_TERMS,
    STOPWORDS,
    document_terms,
    query_terms,
)

GOLDEN = {
    "The otters' rivers, running quickly: 3.5%": "the otter river run quick 3 5",
    "Beyoncé Zürich Łódź Straße Ærø naïve": "beyonc zurich lodz strass aero naiv",
    "Beyonce\u0301 ﬁ Ｆｕｌｌ m²": "beyonc fi full m2",
    "Αθήνα ёлка Київ": "αθηνα елка киів",
    "五岳独尊": "五 岳 独 尊 五岳 岳独 独尊",
    "東京 tower": "東 京 東京 tower",
    "がく 서울": "が く がく 서 울 서울",
    "co\u00adoperate don't U.S. snake_case": "cooper don t u s snake case",
    "x" * 39 + " " + "y" * 40: "x" * 39,
}


@pytest.mark.parametrize("text", GOLDEN)
def test_golden_terms(text: str) -> None:
    """If this fails, texts get other terms than before: raise the version in ANALYSER, so that older indexes are
    refused, and write the new terms here."""
    assert document_terms("", text) == GOLDEN[text].split()
    assert ANALYSER == "english-cjk 2"


def test_a_title_made_of_stopwords_has_a_term_of_its_own() -> None:
    assert document_terms("The Who", "") == ["the", "who", "theːwhoː", "ːthe", "ːwho"]
    assert "themː" in document_terms("Them (band)", "")
    assert not [term for term in document_terms("The Guess Who", "") if term.endswith("ː")]
    assert document_terms("...", "") == []


@pytest.mark.parametrize(
    ("query", "anywhere", "in_titles", "whole_titles"),
    [
        ("The Who", "the who", "the who", "theːwhoː"),
        ("Them", "them", "them", "themː"),
        ("The Who drummer", "drummer", "the who", "theːwhoː"),
        ("Them band", "band", "them", "themː"),
        ("the drummer of The Who, Leeds", "drummer leed", "", "ofːtheː theːwhoː ofːtheːwhoː"),
        ("capital of France", "capit franc", "", ""),
        ("", "", "", ""),
        ("?!", "", "", ""),
    ],
)
def test_stopwords_count_when_little_else_is_left(query: str, anywhere: str, in_titles: str, whole_titles: str) -> None:
    terms = query_terms(query)
    assert terms.anywhere == anywhere.split()
    assert terms.in_titles == in_titles.split()
    assert sorted(terms.whole_titles) == sorted(whole_titles.split())


def test_queries_of_stopwords_alone_are_told_from_others() -> None:
    assert [query_terms(query).only_stopwords for query in ("T", "The Who", "the otter", "otter", "", "?")] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_a_huge_query_costs_no_more_than_a_long_one() -> None:
    for query in ("otter " * 200_000, "the " * 200_000, "五" * 200_000, " ".join(f"w{n}" for n in range(50_000))):
        terms = query_terms(query)
        assert max(len(terms.anywhere), len(terms.in_titles), len(terms.whole_titles)) <= MAX_QUERY_TERMS
    assert query_terms("x " * MAX_QUERY_CHARACTERS + "otter").anywhere == ["x"]


@given(st.text(max_size=80))
def test_a_document_is_found_by_each_of_its_words(text: str) -> None:
    """What a text is made of is among the terms of the text: a query for the whole text finds it."""
    clean = text.encode("utf-8", "ignore").decode()
    terms = document_terms("", clean)
    assert set(query_terms(clean).anywhere) <= set(terms)
    assert bool(query_terms(clean).anywhere) == bool(terms)
    assert not any(re.search(r"\s", term) for term in terms)


@given(st.lists(st.sampled_from(sorted(STOPWORDS)), min_size=1, max_size=6), st.sampled_from(["", " (band)", "!"]))
def test_a_title_of_stopwords_is_found_by_its_own_name(words: list[str], after: str) -> None:
    title = " ".join(words).title() + after
    assume(len("ː".join(words).encode()) < LONGEST_WORD - 2)
    whole = {term for term in document_terms(title, "") if term.endswith("ː")}
    assert len(whole) == 1
    assert whole <= set(query_terms(" ".join(words)).whole_titles)
    if len(words) > 1:
        assert whole <= set(query_terms("granite quarry " + " ".join(words)).whole_titles)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")
@pytest.mark.slow
def test_the_real_pages_whose_titles_are_stopwords(tmp_path: Path) -> None:
    """Every title of stopwords in OTT-QA's passages finds its page (but three: Herself, US, US$ have namesakes)."""
    from retrieval_index.corpora import read_ottqa

    documents = list(read_ottqa(DATA / "ottqa"))
    build_index(documents, tmp_path / "index")
    index = open_index(tmp_path / "index")

    def rank(query: str, document: Document) -> int:
        hits = [hit.document.id for hit in index.search([query], 10)[0]]
        return hits.index(document.id) if document.id in hits else 10

    pages = [page for page in documents if page.id.startswith("/wiki/")]
    titled = [page for page in pages if query_terms(page.title).only_stopwords]
    assert len(titled) == 42
    assert sum(rank(page.title, page) < 3 for page in titled) >= 37
    for query, title in {
        "The Who": "The Who",
        "The Who band": "The Who",
        "who was the drummer of The Who": "The Who",
        "This Is Us": "This Is Us",
        "This Is Us TV series": "This Is Us",
        "Being There": "Being There",
        "who directed Being There": "Being There",
        "Beyonce": "Beyoncé",
    }.items():
        assert index.search([query], 1)[0][0].document.title == title, query
    assert {hit.document.title for hit in index.search(["zurich"], 2)[0]} == {"Zurich", "Zürich"}
    assert any("五岳" in hit.document.text for hit in index.search(["五岳"], 1)[0])

    questions = json.loads((DATA / "ottqa" / "dev.traced.json").read_text(encoding="utf-8"))
    hits = index.search([question["question"] for question in questions], 10)
    tables = sum(
        question["table_id"] in {hit.document.id for hit in found}
        for question, found in zip(questions, hits, strict=True)
    )
    assert tables / len(questions) >= 0.811


def test_the_cache_of_normal_forms_holds_short_runs_alone() -> None:
    before = analysis._normalised_short.cache_info().currsize
    document_terms("", "五岳" * 5000)
    assert analysis._normalised_short.cache_info().currsize == before


def test_a_title_of_white_space_takes_linear_time() -> None:
    started = time.perf_counter()
    document_terms("The Who" + " " * 20_000 + "(band", "")
    assert time.perf_counter() - started < 1.0  # half a minute, when each space began a search for the bracket
    assert "theːwhoː" in document_terms("The Who" + " " * 20_000 + "(band) ", "")
