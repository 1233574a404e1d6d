"""The shape of a veRL row, checked before it is written: a wrong row stops here, not hours later in a rollout worker.

The columns are those that ``verl.utils.dataset.rl_dataset`` and veRL's agent loops and reward managers read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wapo_verl.environments.environment import AGENT_NAMES, RowError
from wapo_verl.environments.raw_rows import WHOLE_ROW

COLUMNS = ("data_source", "prompt", "ability", "reward_model", "extra_info", "agent_name")


def check_row(row: Mapping[str, Any], where: str, index: int) -> None:
    """Check one row by itself.

    Args:
        row: the row.
        where: what stands for the file in the error, for example "ottqa dev".
        index: the row's place there, from 0.

    Raises:
        RowError: naming the first field that is not as veRL wants it.
    """

    def need(held: bool, field: str, problem: str) -> None:
        if not held:
            raise RowError(where, index, field, problem)

    need(set(row) == set(COLUMNS), WHOLE_ROW, f"must have the columns {', '.join(COLUMNS)}")
    for field in ("data_source", "ability", "agent_name"):
        need(isinstance(row[field], str) and bool(row[field]), field, "must be text that is not empty")
    need(row["agent_name"] in AGENT_NAMES, "agent_name", f"must be one of {', '.join(AGENT_NAMES)}")
    prompt, reward, extra = row["prompt"], row["reward_model"], row["extra_info"]
    need(isinstance(prompt, list) and bool(prompt), "prompt", "must be a list of chat messages that is not empty")
    for message in prompt:
        messages = isinstance(message, dict) and set(message) == {"role", "content"}
        need(messages and all(isinstance(text, str) and text for text in message.values()), "prompt", _MESSAGE)
    need(isinstance(reward, dict) and set(reward) == {"style", "ground_truth"}, "reward_model", _REWARD)
    need(reward["style"] == "rule", "reward_model.style", "must be 'rule'")
    need(isinstance(extra, dict), "extra_info", "must be a dict")
    need(type(extra.get("index")) is int, "extra_info.index", "must be a whole number")
    need(isinstance(extra.get("split"), str), "extra_info.split", "must be text")
    _check_values(row, where, index, "")


def check_alike(first: Mapping[str, Any], row: Mapping[str, Any], where: str, index: int) -> None:
    """Check that a row has the keys and types of the first one, since one parquet file has one schema.

    Raises:
        RowError: naming the first field that differs.
    """
    _check_alike(first, row, where, index, "")


_MESSAGE = "must hold messages of the keys role and content, both text that is not empty"
_REWARD = "must have the keys style and ground_truth"


def _check_values(value: Any, where: str, index: int, field: str) -> None:
    """Refuse an empty struct (parquet has none), a missing value, anything but str, int, float, bool, list and dict."""
    if isinstance(value, dict):
        if not value:
            raise RowError(where, index, field, "is an empty dict, which parquet cannot hold; leave the key out")
        for key, item in value.items():
            _check_values(item, where, index, f"{field}.{key}" if field else key)
    elif isinstance(value, list):
        for item in value:
            _check_values(item, where, index, field)
            _check_alike(value[0], item, where, index, field)
    elif isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise RowError(where, index, field, "holds half a surrogate pair, which is no text; fix it in the source")
    elif type(value) is int and not -(2**63) <= value < 2**63:
        raise RowError(where, index, field, "is a whole number of more than 64 bits; write it as text")
    elif type(value) not in (int, float, bool):
        raise RowError(where, index, field, f"holds a {type(value).__name__}; use text, numbers, truth values or lists")


def _check_alike(first: Any, value: Any, where: str, index: int, field: str) -> None:
    if type(first) is not type(value):
        raise RowError(where, index, field, f"is {type(value).__name__} here, {type(first).__name__} in the first row")
    if isinstance(first, dict):
        if set(first) != set(value):
            keys = ", ".join(sorted(set(first) ^ set(value)))
            raise RowError(where, index, field or WHOLE_ROW, f"has not the same keys as in the first row: {keys}")
        for key in first:
            _check_alike(first[key], value[key], where, index, f"{field}.{key}" if field else key)
    elif isinstance(first, list) and first and value:
        _check_alike(first[0], value[0], where, index, field)
