"""The bodies of POST /retrieve: what is read, what is refused, what is written. No server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_index import Document, Hit
from retrieval_index.client.answers import read_answer, write_question
from retrieval_index.corpora.ottqa import TABLE_MARK
from retrieval_index.service import ServiceSettings
from retrieval_index.service.contracts import RefusedRequest, Request, read_request, wapo_passage, write_answer

SETTINGS = ServiceSettings(Path("index"), default_top_k=5, max_top_k=50, max_queries=3, max_documents=100)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
HITS = st.lists(
    st.builds(Hit, st.builds(Document, WORDS.filter(str.strip), WORDS, WORDS), st.floats(0.0, 100.0)),
    max_size=3,
)


def read(record: Any) -> Request:
    return read_request(json.dumps(record).encode(), SETTINGS)


def test_top_k_means_the_wapo_reference_environment_and_anything_else_search_r1() -> None:
    assert read({"queries": ["a"], "top_k": 2}) == Request("wapo", ["a"], 2)
    assert read({"queries": ["a"], "topk": 2, "return_scores": True}) == Request("search_r1", ["a"], 2, True)
    assert read({"queries": ["a"], "topk": None, "return_scores": False}) == Request("search_r1", ["a"], 5)
    assert read({"queries": ["a"]}) == Request("search_r1", ["a"], 5)
    assert read({"queries": ["a"], "top_k": 2, "topk": 7}) == Request("wapo", ["a"], 2)
    assert read({"queries": []}) == Request("search_r1", [], 5)


def test_a_lone_surrogate_is_read() -> None:
    assert read({"queries": ["\ud800"]}).queries == ["\ud800"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"[]", 422, '"queries"'),
        (b"{}", 422, '"queries" must be a list'),
        (b'{"queries": "a"}', 422, '"queries" must be a list'),
        (b'{"queries": [1]}', 422, '"queries" must be a list of strings'),
        (b'{"queries": ["a", "b", "c", "d"]}', 422, "4 queries in one request, 3 are allowed"),
        (b'{"queries": ["a", "b", "c"], "top_k": 34}', 422, "3 queries of 34 documents are 102 in one answer, 100 are"),
        (b'{"queries": ["a", "b", "c"], "topk": 34}', 422, "3 queries of 34 documents are 102 in one answer, 100 are"),
        (b'{"queries": ["a"], "top_k": null}', 422, '"top_k" must be a whole number from 1 to 50'),
        (b'{"queries": ["a"], "top_k": 51}', 422, "from 1 to 50, not 51"),
        (b'{"queries": ["a"], "topk": 0}', 422, '"topk"'),
        (b'{"queries": ["a"], "topk": true}', 422, '"topk"'),
        (b'{"queries": ["a"], "topk": "3"}', 422, '"topk"'),
        (b'{"queries": ["a"], "return_scores": "yes"}', 422, '"return_scores"'),
    ],
)
def test_each_mistake_has_its_sentence(body: bytes, status: int, said: str) -> None:
    with pytest.raises(RefusedRequest) as raised:
        read_request(body, SETTINGS)
    assert raised.value.status == status
    assert said in raised.value.sentence


@given(st.binary(max_size=60) | st.recursive(st.none() | WORDS, st.lists, max_leaves=5).map(orjson.dumps))
def test_no_body_does_more_than_be_refused(body: bytes) -> None:
    with pytest.raises(RefusedRequest):
        read_request(body, SETTINGS)


@given(st.lists(HITS, max_size=3))
def test_our_client_reads_back_what_is_written(found: list[list[Hit]]) -> None:
    queries = [str(number) for number in range(len(found))]
    request = read_request(write_question(queries, 3), SETTINGS)
    assert read_answer(write_answer(request, found), len(found), 3) == found


@given(st.lists(HITS, max_size=3))
def test_a_wapo_strings_first_token_is_one_word(found: list[list[Hit]]) -> None:
    written = json.loads(write_answer(Request("wapo", [], 3), found))
    assert [len(strings) for strings in written] == [len(hits) for hits in found]
    for hits, strings in zip(found, written, strict=True):
        for hit, string in zip(hits, strings, strict=True):
            assert string.endswith(hit.document.text)
            assert string.split(" ")[0] == "_".join(hit.document.id.removeprefix("/wiki/").split())


def test_the_reference_environment_finds_its_gold_ids() -> None:
    passage = wapo_passage(Document("/wiki/Prime_Suspect", "Prime Suspect", "A British drama."))
    table = wapo_passage(Document("Some_Table_0", "Some Table", f"Cast\n{TABLE_MARK}\n| a |"))
    assert "wiki/" + passage.split(" ")[0] == "wiki/Prime_Suspect"
    assert TABLE_MARK not in passage
    assert table.split(" ")[0] == "Some_Table_0"
    assert TABLE_MARK in table


def test_search_r1s_documents_have_all_four_fields_with_scores_and_without() -> None:
    hits = [[Hit(Document("i", "T", "x\ny"), 2.5)]]
    document = {"id": "i", "title": "T", "text": "x\ny", "contents": '"T"\nx\ny'}
    with_scores = json.loads(write_answer(Request("search_r1", ["q"], 1, True), hits))
    without = json.loads(write_answer(Request("search_r1", ["q"], 1, False), hits))
    assert with_scores == {"result": [[{"document": document, "score": 2.5}]]}
    assert without == {"result": [[document]]}
