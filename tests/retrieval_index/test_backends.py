"""What single back ends promise beyond the conformance test. No GPU, no veRL."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from retrieval_index import Document, Index, build_index, open_index
from retrieval_index.backends import backend
from retrieval_index.backends.engine import TextParameter
from retrieval_index.backends.rank_bm25 import MAX_DOCUMENTS


def ids(index: Index, query: str, top_k: int = 10) -> list[str]:
    return [hit.document.id for hit in index.search([query], top_k)[0]]


def test_stemming_is_the_default(tmp_path: Path) -> None:
    build_index([Document("1", "", "two rivers")], tmp_path / "index")
    assert ids(open_index(tmp_path / "index"), "river") == ["1"]


def test_ties_keep_the_order_of_insertion_across_segments(tmp_path: Path) -> None:
    """More documents than one buffer of 16 MB takes, so that the engine writes and merges several segments."""
    documents = (Document(f"{number:06}", "", f"granite {'slate quarry ' * 40} w{number}") for number in range(30_000))
    build_index(documents, tmp_path / "index", memory_mb=16)
    index = open_index(tmp_path / "index")
    assert index._searcher._searcher.num_segments > 1
    assert ids(index, "granite quarry", 7) == [f"{number:06}" for number in range(7)]
    assert ids(index, "w29999") == ["029999"]


def test_rank_bm25_refuses_a_large_corpus_and_names_the_others(tmp_path: Path) -> None:
    documents = (Document(str(number), "", "x") for number in range(MAX_DOCUMENTS + 1))
    with pytest.raises(
        ValueError, match=r"at most 20000 documents.*use another back end \(bm25s, lucene, opensearch, tantivy\)"
    ):
        build_index(documents, tmp_path / "index", "rank_bm25")
    assert not list(tmp_path.iterdir())


def test_unknown_back_ends_and_parameters_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no retrieval back end 'faiss': choose one of .*tantivy"):
        build_index([Document("1", "", "x")], tmp_path / "index", "faiss")
    with pytest.raises(ValueError, match="'tantivy' has no parameter 'k1': it has memory_mb, title_weight"):
        build_index([Document("1", "", "x")], tmp_path / "index", k1=0.9)
    with pytest.raises(ValueError, match="'b' of the back end 'rank_bm25' must be a number from 0 to 1, not 2"):
        build_index([Document("1", "", "x")], tmp_path / "index", "rank_bm25", b=2)
    with pytest.raises(ValueError, match="'b' of the back end 'bm25s' must be a number from 0 to 1, not 'high'"):
        build_index([Document("1", "", "x")], tmp_path / "index", "bm25s", b="high")
    with pytest.raises(ValueError, match="'index' of the back end 'opensearch' must be a lower-case name such as"):
        build_index([Document("1", "", "x")], tmp_path / "index", "opensearch", index="My Index")


def test_a_text_parameter_takes_what_its_pattern_matches_as_a_whole() -> None:
    parameter = TextParameter("a", "[a-z]+", "letters")
    assert parameter.checked("abc") == "abc"
    for wrong in ("abc1", "", "a\n", 1.0, None):
        with pytest.raises(ValueError, match="letters"):
            parameter.checked(wrong)


@pytest.mark.parametrize(("name", "package"), [("bm25s", "numba"), ("opensearch", "opensearchpy"), ("lucene", "jpype")])
def test_a_missing_package_is_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for loaded in (
        f"retrieval_index.backends.{name}",
        "retrieval_index.backends.opensearch_requests",
        "retrieval_index.backends.java",
    ):
        monkeypatch.delitem(sys.modules, loaded, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ValueError, match=f"the back end '{name}' needs the package '{package}', which is not installed"
    ):
        backend(name)
