"""The example with SmolLM2 without its model: questions, command, verdict, and what is said where it is missing."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from typer.testing import CliRunner

from examples.quickstart.command import Folders, command_of, run_values
from examples.smollm2 import model
from examples.smollm2.__main__ import app
from examples.smollm2.rows import SHOWN, write_rows
from examples.smollm2.run import micro_batches, rose_clearly
from examples.smollm2.settings import SmolLM2Settings
from wapo_verl.reward import compute_score


def numbers(row: dict) -> tuple[int, ...]:
    return tuple(map(int, row["extra_info"]["id"].split("-")))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder, {"test": 40, "train": 200}, seed=3)
    return {split: pq.read_table(folder / f"{split}.parquet").to_pylist() for split in ("train", "test")}


def test_no_numbers_are_asked_for_twice(rows: dict[str, list[dict]]) -> None:
    asked = [frozenset(numbers(row)) for split in rows.values() for row in split]
    assert len(set(asked)) == len(asked) == 240
    assert all(len(each) == 3 for each in asked)
    assert frozenset(SHOWN) not in asked


def test_the_prompt_is_a_finished_turn_and_the_question(rows: dict[str, list[dict]]) -> None:
    for row in rows["test"]:
        _, shown, answer, asked = row["prompt"]
        assert [message["role"] for message in row["prompt"]] == ["system", "user", "assistant", "user"]
        assert answer["content"] == r"\boxed{46}"
        assert shown["content"] == "Largest of 21, 46, 37?"
        assert asked["content"] == f"Largest of {', '.join(map(str, numbers(row)))}?"


def test_the_largest_number_in_a_box_is_right_and_nothing_else(rows: dict[str, list[dict]]) -> None:
    row = rows["train"][0]
    right, *others = sorted(numbers(row), reverse=True)

    def score(text: str) -> dict[str, float]:
        return compute_score(row["data_source"], text, row["reward_model"]["ground_truth"], row["extra_info"])

    assert score(rf"\boxed{{{right}}}")["score"] == score(rf"\boxed{{{right}}}")["exact_match"] == 1.0
    for text in (str(right), rf"\boxed{{{right}", *(rf"\boxed{{{other}}}" for other in others)):
        assert score(text)["score"] == score(text)["exact_match"] == 0.0


def test_the_command_trains_with_wapo_on_these_rows() -> None:
    settings, folders = SmolLM2Settings(), Folders(Path("/somewhere"))
    values = {**run_values("smollm2", folders, settings, 7), **micro_batches(settings)}
    command = command_of(values, ["trainer.total_training_steps=2"])
    parsed = {item.key_or_group: item.value() for item in OverridesParser.create().parse_overrides(command[3:])}
    assert parsed["algorithm.adv_estimator"] == "wapo"
    assert parsed["actor_rollout_ref.model.path"] == "/somewhere/model"
    assert parsed["actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu"] == settings.micro_batch_rows
    assert parsed["trainer.total_training_steps"] == 2
    assert not [key for key in parsed if "search_agent" in key]


@pytest.mark.parametrize(
    ("first", "last", "rose"), [(0.25, 0.40, True), (0.25, 0.36, False), (0.4, 0.25, False), (0.25, 0.25, False)]
)
def test_a_rise_is_clear_where_the_intervals_do_not_touch(first: float, last: float, rose: bool) -> None:
    assert rose_clearly(first, last, 240) is rose


def test_a_model_whose_package_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match="make smollm2"):
        model.weights_file()


def test_another_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "other_model"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / model.FILE).write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(model, "PACKAGE", "other_model")
    monkeypatch.setattr(model, "READER", "other_model")
    with pytest.raises(ValueError, match=r"has the SHA-256 .* install it again"):
        model.weights_file()


def test_a_wrong_override_is_one_sentence(tmp_path: Path) -> None:
    done = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, ["--out", str(tmp_path / "x"), "fast"])
    assert done.exit_code == 1
    assert "error: 'fast' is no override for veRL" in done.output
