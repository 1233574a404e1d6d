"""A run's index is looked at before anything starts, in a folder and behind a service. No GPU, no Ray."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.service import answer, scripted, served

from retrieval_index import Document, Manifest, build_index
from wapo_verl.rollout.index_check import check_index
from wapo_verl.rollout.settings import SearchAgentConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index_check")
    for name in ("index", "other"):
        build_index([Document("a", "", name)], path / name)
    return path


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[str]:
    with served(folder / "index", "--max-top-k", "5") as address:
        yield address


def check(index: Any, nodes: int = 1, **options: Any) -> None:
    check_index(SearchAgentConfig(index=index, **options), nodes)


def test_a_right_index_passes_here_and_behind_a_service(folder: Path, service: str) -> None:
    corpus_hash = Manifest.read(folder / "index").corpus_hash
    for address in (str(folder / "index"), service):
        check(address)
        check(address, corpus_hash=corpus_hash[:12])
        check({"train": address}, corpus_hash={"train": corpus_hash})


def test_a_wrong_corpus_is_refused(folder: Path, service: str) -> None:
    wrong = Manifest.read(folder / "other").corpus_hash[:12]
    for address in (str(folder / "index"), service):
        with pytest.raises(ValueError, match=rf"corpus_hash is {wrong}, and {address} has the corpus hash"):
            check(address, corpus_hash=wrong)


def test_servers_of_different_indexes_are_refused(folder: Path, service: str) -> None:
    with served(folder / "other") as other, pytest.raises(ValueError, match="serve different indexes"):
        check(f"{service},{other}")


def test_a_server_that_does_not_say_is_taken_unless_a_corpus_is_asked_for() -> None:
    with scripted(answer) as (address, _):
        check(address)
        with pytest.raises(ValueError, match="does not tell its corpus"):
            check(address, corpus_hash="ab")


def test_what_is_not_there_is_named_with_its_mend(folder: Path, service: str) -> None:
    with pytest.raises(ValueError, match=r"index: no answer from http://127\.0\.0\.1:1 .*retrieval_index serve"):
        check("http://127.0.0.1:1")
    with pytest.raises(ValueError, match="index: there is no index at"):
        check(str(folder / "nowhere"))
    with pytest.raises(ValueError, match=r"top_k is 6, and http.* gives at most 5 documents"):
        check(service, top_k=6)


def test_what_another_node_sees_is_left_to_it(folder: Path) -> None:
    check(str(folder / "nowhere"), nodes=2)
    check("http://localhost:1", nodes=2)
    with pytest.raises(ValueError, match="no answer from"):
        check("http://0.0.0.0:1", nodes=2)
