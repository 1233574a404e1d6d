"""OpenSearch's back end when things go wrong: busy, slow, missing and foreign servers. No GPU, no veRL.

The servers are in Python and implement the part of OpenSearch's REST API that is used, over HTTP, with two nodes; see
tests/support/opensearch_server.py. No OpenSearch can be installed from the package registries.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.opensearch_server import Cluster

from retrieval_index import Document, IndexStateError, RetrievalError, build_index, open_index
from retrieval_index.backends import opensearch, opensearch_requests

DOCUMENTS = [Document(f"d{number}", f"Title {number}", f"granite w{number}") for number in range(10)]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(opensearch_requests, "BUILD_WAITS_S", (0.01, 0.02, 0.03))
    monkeypatch.setattr(opensearch_requests, "SEARCH_WAITS_S", (0.01, 0.02))
    cluster = Cluster(nodes=2)
    yield cluster
    cluster.close()


def build(cluster: Cluster, path: Path, **parameters: object) -> Path:
    build_index(DOCUMENTS, path, "opensearch", hosts=cluster.hosts, **parameters)
    return path


def ids(path: Path, query: str, top_k: int = 3) -> list[str]:
    return [hit.document.id for hit in open_index(path).search([query], top_k)[0]]


def test_the_folder_names_the_servers_and_their_index(cluster: Cluster, tmp_path: Path) -> None:
    path = build(cluster, tmp_path / "index", index="rocks", k1=1.4, b=0.3, replicas=2)
    (name,) = cluster.indexes
    assert name.startswith("rocks-")
    place = json.loads((path / "engine" / "opensearch.json").read_text())
    assert place == {"hosts": cluster.hosts, "index": name, "documents": 10}
    settings = cluster.indexes[name].settings["index"]
    assert settings["similarity"] == {"bm25": {"type": "BM25", "k1": 1.4, "b": 0.3}}
    assert (settings["number_of_replicas"], settings["refresh_interval"]) == (2, None)
    build(cluster, path, index="rocks", overwrite=True)
    assert len(cluster.indexes) == 2  # the replaced one goes on answering those who have it open


def test_a_batch_is_one_request_and_nodes_take_turns(cluster: Cluster, tmp_path: Path) -> None:
    index = open_index(build(cluster, tmp_path / "index"))
    cluster.requests.clear()
    queries = [f"w{number % 10}" for number in range(250)]
    found = index.search(queries, 1)
    assert [hits[0].document.id for hits in found] == [f"d{number % 10}" for number in range(250)]
    assert [path for _, _, path in cluster.requests] == ["_msearch"] * 3
    assert {node for node, _, _ in cluster.requests} == {0, 1}


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(cluster: Cluster, tmp_path: Path, status: int, part: bool) -> None:
    cluster.fail("_bulk", status, times=2, part=part)
    cluster.fail("_refresh", status)
    path = build(cluster, tmp_path / "index")
    assert open_index(path).get("d7") == DOCUMENTS[7]
    cluster.fail("_msearch", status, times=2, part=part)
    assert ids(path, "w3") == ["d3"]


def test_an_answer_without_one_of_its_shards_is_no_answer(cluster: Cluster, tmp_path: Path) -> None:
    path = build(cluster, tmp_path / "index")
    cluster.fail("_msearch", 0, times=1, part=True)
    assert ids(path, "w3") == ["d3"]
    cluster.fail("_msearch", 0, times=99, part=True)
    with pytest.raises(RetrievalError, match="could not search: a part of the index did not answer"):
        ids(path, "w3")


def test_a_server_that_stays_busy_is_an_error_never_an_empty_result(cluster: Cluster, tmp_path: Path) -> None:
    path = build(cluster, tmp_path / "index")
    cluster.fail("_msearch", 429, times=99)
    with pytest.raises(RetrievalError, match="could not search: 429 asked to fail"):
        ids(path, "w3")


def test_one_node_may_go_down(cluster: Cluster, tmp_path: Path) -> None:
    path = build(cluster, tmp_path / "index")
    index = open_index(path)
    cluster.stop_node(0)
    for number in range(5):
        assert index.search([f"w{number}"], 1)[0][0].document.id == f"d{number}"
    assert ids(path, "w5") == ["d5"]
    cluster.stop_node(1)
    with pytest.raises(
        RetrievalError, match=r"no OpenSearch node answers at http://.*start one, or set OPENSEARCH_HOSTS"
    ):
        index.search(["w1"], 1)
    with pytest.raises(RetrievalError, match="no OpenSearch node answers"):
        open_index(path)


def test_a_build_goes_on_after_the_server_was_away(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opensearch, "BULK_DOCUMENTS", 2)

    def until_busy() -> Iterator[Document]:
        for number, document in enumerate(DOCUMENTS):
            if number == 5:
                cluster.fail("_bulk", 503, times=8)  # four attempts at two nodes
            yield document

    source = {"corpus": "test"}
    with pytest.raises(RetrievalError, match="could not take documents: 503"):
        build_index(until_busy(), tmp_path / "index", "opensearch", hosts=cluster.hosts, source=source)
    assert not (tmp_path / "index").exists()
    cluster.requests.clear()
    build_index(iter(DOCUMENTS), tmp_path / "index", "opensearch", hosts=cluster.hosts, source=source)
    assert len([path for _, _, path in cluster.requests if path.endswith("_bulk")]) == 3
    assert len(cluster.indexes) == 1
    assert ids(tmp_path / "index", "granite", 99) == [document.id for document in DOCUMENTS]


def test_an_interrupted_build_whose_index_is_gone_says_so(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opensearch, "BULK_DOCUMENTS", 2)
    engine = opensearch.BACKEND
    parameters = engine.resolve({"hosts": cluster.hosts})
    cluster.fail("/_count", 400)
    with pytest.raises(RetrievalError, match="could not count documents: 400 asked to fail"):
        engine.build(iter(DOCUMENTS[:4]), tmp_path, parameters)
    assert engine.indexed(tmp_path) == 4
    cluster.indexes.clear()
    with pytest.raises(IndexStateError, match="there is no index 'retrieval-"):
        engine.build(iter(DOCUMENTS[4:]), tmp_path, parameters)


def test_a_missing_index_and_another_count_are_named(cluster: Cluster, tmp_path: Path) -> None:
    path = build(cluster, tmp_path / "index")
    (name, stored), *_ = cluster.indexes.items()
    index = open_index(path)
    stored.documents.popitem()
    stored.refresh()
    with pytest.raises(IndexStateError, match=r"holds 9 documents, and 10 were built: somebody has changed it"):
        open_index(path)
    del cluster.indexes[name]
    with pytest.raises(IndexStateError, match=f"there is no index '{name}' at .*set OPENSEARCH_HOSTS"):
        open_index(path)
    with pytest.raises(IndexStateError, match="there is no index"):
        index.search(["w1"], 1)


def test_a_document_that_the_server_refuses_is_named(cluster: Cluster, tmp_path: Path) -> None:
    cluster.fail("_bulk", 400, part=True)
    with pytest.raises(RetrievalError, match="OpenSearch refuses the document 'd1': asked to fail"):
        build(cluster, tmp_path / "index")


def test_user_and_password_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = base64.b64encode(b"reader:secret-word").decode()
    cluster = Cluster(nodes=1, credentials=f"Basic {token}")
    try:
        with pytest.raises(RetrievalError, match=r"refuses to create the index \(401\): set OPENSEARCH_USER"):
            build(cluster, tmp_path / "index")
        monkeypatch.setenv("OPENSEARCH_USER", "reader")
        monkeypatch.setenv("OPENSEARCH_PASSWORD", "secret-word")
        path = build(cluster, tmp_path / "index")
        assert ids(path, "w3") == ["d3"]
    finally:
        cluster.close()
    written = b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())
    assert b"secret-word" not in written
    with pytest.raises(ValueError, match="'hosts' of the back end 'opensearch' must be addresses such as"):
        build_index(DOCUMENTS, tmp_path / "other", "opensearch", hosts="http://reader:secret-word@localhost:9200")


def test_the_servers_may_move(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build(cluster, tmp_path / "index")
    monkeypatch.setenv("OPENSEARCH_HOSTS", "http://127.0.0.1:9")
    with pytest.raises(RetrievalError, match=r"no OpenSearch node answers at http://127.0.0.1:9 "):
        open_index(path)
    monkeypatch.setenv("OPENSEARCH_HOSTS", cluster.hosts.split(",")[1])
    assert ids(path, "w3") == ["d3"]


def test_several_shards_count_their_words_together(cluster: Cluster, tmp_path: Path) -> None:
    index = open_index(build(cluster, tmp_path / "index", shards=3))
    assert index.search(["w3"], 1)[0][0].document == DOCUMENTS[3]
    assert index._searcher._search_type == "dfs_query_then_fetch"
