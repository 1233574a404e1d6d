"""The check of a veRL row: each way of being wrong is named."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from wapo_verl.data.row_schema import check_alike, check_row
from wapo_verl.environments.environment import RowError

ROW: dict[str, Any] = {
    "data_source": "ottqa",
    "prompt": [{"role": "user", "content": "Where?"}],
    "ability": "retrieval_qa",
    "reward_model": {"style": "rule", "ground_truth": {"answers": ["Vesk"], "document_ids": []}},
    "extra_info": {"index": 0, "split": "dev", "level": 1.5},
    "agent_name": "search_agent",
}


def changed(path: str, value: Any) -> dict[str, Any]:
    row = copy.deepcopy(ROW)
    place = row
    *parents, last = path.split(".")
    for key in parents:
        place = place[key]
    place[last] = value
    return row


def test_a_sound_row_passes() -> None:
    check_row(ROW, "ottqa dev", 0)
    check_alike(ROW, changed("reward_model.ground_truth.document_ids", ["t"]), "ottqa dev", 1)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("reply", "x", "(whole row)"),
        ("data_source", "", "data_source"),
        ("agent_name", "my_agent", "agent_name"),
        ("prompt", [], "prompt"),
        ("prompt", "Where?", "prompt"),
        ("prompt", [{"role": "user"}], "prompt"),
        ("prompt", [{"role": "user", "content": ""}], "prompt"),
        ("reward_model", {"ground_truth": "x"}, "reward_model"),
        ("reward_model.style", "model", "reward_model.style"),
        ("extra_info", [], "extra_info"),
        ("extra_info.index", "0", "extra_info.index"),
        ("extra_info.index", 2**63, "extra_info.index"),
        ("extra_info.split", None, "extra_info.split"),
        ("extra_info.tools_kwargs", {}, "extra_info.tools_kwargs"),
        ("extra_info.level", None, "extra_info.level"),
        ("extra_info.level", "\ud800", "extra_info.level"),
        ("reward_model.ground_truth.answers", ["a", 1], "reward_model.ground_truth.answers"),
        ("reward_model.ground_truth.answers", ("a",), "reward_model.ground_truth.answers"),
    ],
)
def test_a_wrong_row_names_the_field(path: str, value: Any, field: str) -> None:
    with pytest.raises(RowError) as raised:
        check_row(changed(path, value), "ottqa dev", 7)
    assert (raised.value.file, raised.value.row, raised.value.field) == ("ottqa dev", 7, field)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("extra_info.kind", "x", "extra_info"),
        ("extra_info.level", 2, "extra_info.level"),
        ("reward_model.ground_truth", "Vesk", "reward_model.ground_truth"),
        ("reward_model.ground_truth.answers", [1], "reward_model.ground_truth.answers"),
    ],
)
def test_a_row_unlike_the_first_names_the_field(path: str, value: Any, field: str) -> None:
    with pytest.raises(RowError) as raised:
        check_alike(ROW, changed(path, value), "ottqa dev", 3)
    assert (raised.value.row, raised.value.field) == (3, field)
