"""One conformance test over every registered back end: whatever the engine, the interface keeps its promises.

No GPU, no veRL. Lucene is left out, saying so, where pyserini or Java 21 is not installed. OpenSearch is a server in
Python that implements its REST API, at two nodes (tests/support/opensearch_server.py).
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import engine_or_skip
from support.opensearch_server import Cluster

from retrieval_index import Document, Index, RetrievalError, build_index, open_index
from retrieval_index.backends import backend_names
from retrieval_index.backends.analysis import MAX_QUERY_CHARACTERS

DOCUMENTS = [
    Document("/wiki/Otter", "Otter", "The otter lives near rivers and eats fish ."),
    Document("/wiki/Heron", "Heron", "The heron stands in shallow water and eats fish and frogs ."),
    Document("/wiki/Köln", "Köln", "Köln liegt am Rhein ; 東京 is far away ."),
    Document("twin-1", "", "granite granite quarry"),
    Document("twin-2", "", "granite granite quarry"),
    Document("twin-3", "", "granite granite quarry"),
    Document("untitled", "", "A document without a title but with basalt ."),
    Document("/wiki/The_Who", "The Who", "An English rock band with a drummer ."),
    Document("/wiki/Band", "Rock band (music)", "A band who plays ; the drummer of a band who drums in the band ."),
    Document("/wiki/Them", "Them (band)", "A band from Belfast ."),
    Document("/wiki/Us", "This Is Us (TV series)", "A family drama ."),
    Document("/wiki/Drama", "Drama series (TV)", "What is a drama series ? This is one for us on TV ."),
    Document("/wiki/Beyoncé", "Beyoncé", "Beyoncé sings ."),
    Document("/wiki/Łódź", "Łódź", "Near Ærø Straße and the Ｆｕｌｌ width ."),
    Document("/wiki/Mountains", "", "中国五岳独尊的泰山"),
    Document("nul", "Nul", "before\x00after obsidian"),
]

HOSTILE = [
    "",
    " \t\n",
    "\x00",
    "the of and",
    "xyzzyx",
    '"',
    "title:otter^2 AND (",
    "+otter -otter",
    "id:twin-1",
    "/.*/",
    "[a TO z]",
    "otter~99 *:* \\",
    "\ud800 lone surrogate",
    "ПРИВЕТ 東京 🦦 ß ﬁ",
    "otter " * 200_000,
    " ".join(f"word{number}" for number in range(50_000)),
    "x" * 1_000_000,
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(nodes=2)
    yield cluster
    cluster.close()


def own_parameters(name: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """Where the engine is, for the one that is not in this process. Skips the test for one that is not installed."""
    engine_or_skip(name)
    return {"hosts": request.getfixturevalue("cluster").hosts} if name == "opensearch" else {}


@pytest.fixture(scope="module", params=backend_names())
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Index:
    path = tmp_path_factory.mktemp("conformance") / request.param
    build_index(iter(DOCUMENTS), path, request.param, **own_parameters(request.param, request))
    return open_index(path)


def ids(index: Index, query: str, top_k: int = 10) -> list[str]:
    return [hit.document.id for hit in index.search([query], top_k)[0]]


def test_documents_come_back_whole(index: Index) -> None:
    assert index.manifest.documents == len(DOCUMENTS)
    for document in DOCUMENTS:
        assert index.get(document.id) == document
    for unknown in ("Otter", "", "\x00", "\ud800", "x" * 100_000):
        assert index.get(unknown) is None
    assert index.search(["obsidian"], 1)[0][0].document == DOCUMENTS[-1]


def test_the_right_document_is_first_and_scores_fall(index: Index) -> None:
    assert ids(index, "which otter eats fish?") == ["/wiki/Otter", "/wiki/Heron"]
    for hits in index.search(["fish and frogs", "granite quarry basalt otter", "Rhein"], 10):
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert all(score > 0 for score in scores)


def test_a_title_is_found(index: Index) -> None:
    assert ids(index, "Nul") == ["nul"]


@pytest.mark.parametrize("top_k", [1, 2, 3, 100])
def test_ties_keep_the_order_of_insertion(index: Index, top_k: int) -> None:
    assert ids(index, "granite", top_k) == ["twin-1", "twin-2", "twin-3"][:top_k]


def test_a_batch_has_one_list_a_query_in_order(index: Index) -> None:
    found = index.search(["basalt", "", "otter", "basalt"], 5)
    assert [[hit.document.id for hit in hits] for hits in found] == [["untitled"], [], ["/wiki/Otter"], ["untitled"]]
    assert index.search([], 3) == []


def test_case_and_non_ascii_letters(index: Index) -> None:
    assert ids(index, "KÖLN") == ["/wiki/Köln"]
    assert ids(index, "東京") == ["/wiki/Köln"]


@pytest.mark.parametrize("query", ["", " ", "\x00", "xyzzyx", "under upon", "?!", "🦦"])
def test_a_query_without_a_usable_word_finds_nothing(index: Index, query: str) -> None:
    assert ids(index, query) == []


@pytest.mark.parametrize("query", HOSTILE, ids=lambda query: repr(query[:12]))
def test_hostile_queries_are_only_words(index: Index, query: str) -> None:
    assert len(ids(index, query)) <= len(DOCUMENTS)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("The Who", "/wiki/The_Who"),
        ("the who", "/wiki/The_Who"),
        ("The Who band", "/wiki/The_Who"),
        ("who was the drummer of The Who", "/wiki/The_Who"),
        ("Them", "/wiki/Them"),
        ("Them band", "/wiki/Them"),
        ("This Is Us", "/wiki/Us"),
        ("This Is Us TV series", "/wiki/Us"),
        ("when was This Is Us first aired on TV", "/wiki/Us"),
    ],
)
def test_a_title_made_of_stopwords_is_found(index: Index, query: str, wanted: str) -> None:
    assert ids(index, query, 1) == [wanted]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("Beyonce", "/wiki/Beyoncé"),
        ("BEYONCÉ", "/wiki/Beyoncé"),
        ("Beyonce\u0301", "/wiki/Beyoncé"),
        ("koln", "/wiki/Köln"),
        ("lodz", "/wiki/Łódź"),
        ("aero", "/wiki/Łódź"),
        ("strasse", "/wiki/Łódź"),
        ("full width", "/wiki/Łódź"),
    ],
)
def test_accents_and_other_spellings_of_a_letter_do_not_matter(index: Index, query: str, wanted: str) -> None:
    assert ids(index, query) == [wanted]


@pytest.mark.parametrize("query", ["五岳", "泰山", "五岳独尊", "山", "climb 泰山!"])
def test_chinese_inside_a_longer_run_is_found(index: Index, query: str) -> None:
    assert ids(index, query) == ["/wiki/Mountains"]


def test_stopwords_are_searched_for_everywhere_when_nothing_else_is_left(index: Index) -> None:
    assert ids(index, "from") == ["/wiki/Them"]
    assert "/wiki/Them" not in ids(index, "from Rhein")


def test_query_language_means_nothing(index: Index) -> None:
    assert ids(index, "-otter") == ids(index, "otter") == ids(index, 'title:"otter"^9 AND (')[:1]
    assert ids(index, "*:*") == []


def test_what_lies_beyond_the_length_limit_is_ignored(index: Index) -> None:
    assert ids(index, "x " * MAX_QUERY_CHARACTERS + "otter") == []


@settings(max_examples=50)
@given(query=st.text(max_size=60), top_k=st.integers(1, 20))
def test_any_text_is_a_query(index: Index, query: str, top_k: int) -> None:
    found = index.search([query], top_k)[0]
    assert len(found) <= min(top_k, len(DOCUMENTS))
    assert found == index.search([query], top_k)[0]


@pytest.mark.parametrize("top_k", [0, -1, 1.5, True, "3"])
def test_top_k_below_one_is_refused(index: Index, top_k: int) -> None:
    with pytest.raises(ValueError, match="top_k must be a whole number of at least 1"):
        index.search(["otter"], top_k)


def test_queries_must_be_a_list_of_strings(index: Index) -> None:
    with pytest.raises(ValueError, match="put the query into a list"):
        index.search("otter", 3)
    with pytest.raises(ValueError, match="query 1 is a NoneType"):
        index.search(["otter", None], 3)


def test_a_damaged_index_is_not_opened(index: Index, tmp_path: Path) -> None:
    build_index(DOCUMENTS, tmp_path / "index", index.manifest.engine, **index.manifest.parameters)
    largest = max((tmp_path / "index" / "engine").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-20])
    with pytest.raises(RetrievalError, match="copy it again, or build it again"):
        open_index(tmp_path / "index")


def test_a_batch_is_what_its_queries_find_alone(index: Index) -> None:
    queries = ["otter", "fish frogs", "", "granite", "nothing known", "KÖLN", "\x00", "basalt title"] * 30
    assert index.search(queries, 3) == [index.search([query], 3)[0] for query in queries]


def test_threads_do_not_disturb_each_other(index: Index) -> None:
    queries = ["otter", "fish frogs", "granite", "xyzzyx", "KÖLN", "obsidian before", "rivers", "basalt title"]
    alone = {query: index.search([query], 3) for query in queries}
    wrong: list[str] = []

    def ask(own: str) -> None:
        for query in [own, *queries] * 5:
            if index.search([query], 3) != alone[query] or index.get("twin-2") != DOCUMENTS[4]:
                wrong.append(query)

    threads = [threading.Thread(target=ask, args=(query,)) for query in queries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("name", "step"), [("tantivy", "COMMIT_EVERY"), ("lucene", "COMMIT_EVERY"), ("opensearch", "BULK_DOCUMENTS")]
)
def test_an_interrupted_build_goes_on(
    name: str, step: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_or_skip(name)
    parameters = engine.resolve(own_parameters(name, request))
    monkeypatch.setattr(importlib.import_module(f"retrieval_index.backends.{name}"), step, 2)

    def interrupted() -> Iterator[Document]:
        yield from DOCUMENTS[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.build(interrupted(), tmp_path, parameters)
    assert engine.indexed(tmp_path) == 4
    engine.build(iter(DOCUMENTS[4:]), tmp_path, parameters)
    searcher = engine.open(tmp_path, parameters)
    assert [searcher.get(document.id) for document in DOCUMENTS] == DOCUMENTS
    assert [hit.document.id for hit in searcher.search("granite", 10)] == ["twin-1", "twin-2", "twin-3"]
