"""What a run records of each completion. No veRL."""

import pytest
import torch
from pydantic import ValidationError

from wapo_verl.training.record import RecordKeys, RecordWriter


class Letters:
    """A tokenizer whose tokens are letters, and which counts what it decodes."""

    def __init__(self) -> None:
        self.decoded = 0

    def decode(self, ids: list[int]) -> str:
        self.decoded += len(ids) == 1
        return "".join(chr(97 + each) for each in ids)


def nested(*rows: list[float], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.nested.as_nested_tensor([torch.tensor(row, dtype=dtype) for row in rows], layout=torch.jagged)


def fields() -> dict[str, torch.Tensor]:
    return {
        "responses": nested([0, 1, 2, 0], [3, 3], dtype=torch.int64),
        "response_mask": nested([1, 0, 0, 1], [1, 1], dtype=torch.int64),
        "rollout_log_probs": nested([-0.1234567, 0, 0, -1], [-2, -3]),
        "advantages": nested([0.5, 0, 0, 0.5], [-0.5, -0.5]),
    }


def test_turns_and_advantages() -> None:
    found = RecordWriter(Letters(), RecordKeys()).columns(fields())
    assert [turn["text"] for turn in found["turns"][0]] == ["a", "bc", "a"]
    assert [turn["role"] for turn in found["turns"][0]] == ["assistant", "environment", "assistant"]
    assert found["advantage"] == [0.5, -0.5]
    assert "tokens" not in found


def test_turns_have_their_seconds_where_the_agent_loop_knows_them() -> None:
    given = [{"turn_seconds": [0.5, 0.01234, 0.25, 9.0]}, {}]  # results of the last search did not fit
    found = RecordWriter(Letters(), RecordKeys()).columns(fields(), given)
    assert [turn["seconds"] for turn in found["turns"][0]] == [0.5, 0.012, 0.25]
    assert "seconds" not in found["turns"][1][0]


def test_tokens_where_they_are_asked_for() -> None:
    letters = Letters()
    writer = RecordWriter(letters, RecordKeys(tokens=True))
    tokens = writer.columns(fields())["tokens"]
    assert tokens[0]["text"] == ["a", "b", "c", "a"]
    assert tokens[0]["mask"] == [1, 0, 0, 1]
    assert tokens[0]["rollout_log_prob"] == [-0.12346, 0.0, 0.0, -1.0]
    assert "actor_log_prob" not in tokens[0]


def test_what_the_update_measured_of_a_trained_row_is_recorded() -> None:
    nan = float("nan")
    numbers = torch.tensor([[-0.25, 0.5, 0.0], [nan, nan, nan], [nan, nan, nan], [-1.5, 0.25, 3.0]])
    writer = RecordWriter(Letters(), RecordKeys(tokens=True))
    trained, left_out = writer.columns(fields(), measured=[numbers, None])["tokens"]
    assert trained["actor_log_prob"] == [-0.25, None, None, -1.5]
    assert trained["entropy"] == [0.5, None, None, 0.25]
    assert trained["bin"] == ["pos_peak", None, None, "neg_valley"]
    assert not {"actor_log_prob", "entropy", "bin"} & left_out.keys()
    numbers[:, 2] = nan  # no taxonomy
    assert "bin" not in writer.columns(fields(), measured=[numbers, None])["tokens"][0]


def test_verls_entropy_of_all_rows_is_recorded_for_own_tokens() -> None:
    given = {**fields(), "entropy": nested([0.5, 0.6, 0.7, 0.8], [1, 2]), "old_log_probs": nested([-1] * 4, [-2, -3])}
    measured = [torch.zeros(4, 3), torch.zeros(2, 3)]
    tokens = RecordWriter(Letters(), RecordKeys(tokens=True)).columns(given, measured=measured)["tokens"]
    assert tokens[0]["entropy"] == [0.5, None, None, 0.8]
    assert tokens[1]["actor_log_prob"] == [-2.0, -3.0], "as it was before the step's first update"
    assert tokens[1]["bin"] == ["pos_peak"] * 2


def test_a_token_is_decoded_once_in_a_run() -> None:
    letters = Letters()
    writer = RecordWriter(letters, RecordKeys(tokens=True))
    for _ in range(2):
        tokens = writer.columns(fields())["tokens"]
        assert [row["text"] for row in tokens] == [["a", "b", "c", "a"], ["d", "d"]]
    assert letters.decoded == 4 + 2 * 2  # and both times the two turns of one token


def test_every_column_has_a_row_a_completion() -> None:
    found = RecordWriter(Letters(), RecordKeys(tokens=True)).columns(fields())
    assert {len(column) for column in found.values()} == {2}


@pytest.mark.parametrize("wrong", [{"every": 0}, {"every": "2"}, {"tokens": 1}, {"token": True}])
def test_wrong_keys_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RecordKeys.model_validate(wrong)
