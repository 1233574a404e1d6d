"""A validation's records, taken in veRL's own `_validate`, with stand-ins for TransferQueue and the rollout. No Ray."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import open_dict
from support.bare_trainer import bare_trainer, replaced_queue
from support.stored_rows import Queue
from transfer_queue import KVBatchMeta

from wapo_verl.data.json_lines import read_json_lines
from wapo_verl.data.question_index import read_entries
from wapo_verl.training.record import RecordKeys
from wapo_verl.training.recorder import Recorder
from wapo_verl.training.trainer import WapoTrainerSync

QUESTIONS = 3


class Letters:
    """A tokenizer whose tokens are letters; the first is special."""

    pad_token_id = 0

    def decode(self, ids: Any, skip_special_tokens: bool = False) -> str:
        return "".join(chr(97 + int(each)) for each in ids if each or not skip_special_tokens)


class Rollout:
    """Plays a validation's batch at once: two samples a question, the second of which is wrong."""

    def __init__(self, queue: Queue) -> None:
        self.queue, self.played, self.sampled = queue, 0, 0

    def generate_sequences(self, batch: Any) -> None:
        self.keys = []
        for uid in batch["uid"]:
            for session in range(2):
                key = f"{uid}_{session}_0"
                self.keys.append(key)
                self.queue.rows[key] = self.row(str(uid), self.played, 1.0 - session)
            self.played += 1

    def row(self, uid: str, question: int, score: float) -> dict[str, Any]:
        episode = {"outcome": "answered", "turns": 1, "queries": ["q"], "document_ids": [["d"]], "answer": "x"}
        return {
            "uid": uid,
            "prompts": torch.tensor([0, question + 1]),
            "responses": torch.tensor([0, 5, 6]),
            "response_mask": torch.tensor([1, 0, 1]),
            "rollout_log_probs": torch.tensor([-0.5, 0.0, -1.0]),
            "rm_scores": torch.tensor([0.0, 0.0, score]),
            "num_turns": 2,
            "reward_model": {"ground_truth": {"answers": ["x"], "document_ids": ["d"]}},
            "data_source": "unknown",
            "extra_fields": {
                "episode": episode,
                "turn_seconds": [0.5, 0.1, 0.2],
                "reward_extra_info": {"score": score, "f1": score / 2},
            },
            "tag": {},
        }

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[KVBatchMeta, dict]:
        self.sampled += 1
        return KVBatchMeta(partition_id=partition_id, keys=self.keys, tags=[{} for _ in self.keys]), {}


def validated(monkeypatch: pytest.MonkeyPatch, folder: Path | None, keys: RecordKeys) -> tuple[Any, Rollout]:
    """Validate three questions in batches of two and one, as veRL's trainer does."""
    queue = replaced_queue(monkeypatch)
    made, rollout = bare_trainer(WapoTrainerSync, None, True, 7, {"val_kwargs": {"n": 2}}, {}), Rollout(queue)
    with open_dict(made.config):
        made.config.trainer.update(validation_data_dir=folder and str(folder), log_val_generations=0)
        made.config.actor_rollout_ref.rollout.calculate_log_probs = True
    made.tokenizer = Letters()
    made._recorder = Recorder(made.config, made.decisions.model_copy(update={"record": keys}), made.tokenizer)
    made.replay_buffer, made.agent_loop_manager = rollout, rollout
    made.val_dataloader = [
        {"raw_prompt": np.array([None] * size), "data_source": np.array(["unknown"] * size)} for size in (2, 1)
    ]
    made._init_dump_executor()
    made._validate()
    made._shutdown_dump_executor()
    assert queue.rows == {}, "veRL clears a validation's rows"
    return made, rollout


def test_a_validation_is_recorded_as_training_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made, rollout = validated(monkeypatch, tmp_path, RecordKeys(tokens=True, every=5))
    lines = read_json_lines(tmp_path / "7.jsonl")
    assert len(lines) == 2 * QUESTIONS
    for line in lines:
        wins = line["uid"].split("_")[1] == "0"
        assert (line["score"], line["f1"], line["schema"], line["environment"]) == (wins, wins / 2, 1, "unknown")
        assert [(turn["role"], turn["text"], turn["seconds"]) for turn in line["turns"]] == [
            ("assistant", "a", 0.5),
            ("environment", "f", 0.1),
            ("assistant", "g", 0.2),
        ]
        assert line["episode"]["outcome"] == "answered"
        assert line["tokens"]["rollout_log_prob"] == [-0.5, 0.0, -1.0]
        assert (line["tokens"]["ids"], line["tokens"]["mask"]) == ([0, 5, 6], [1, 0, 1])
        assert line["output"] == "fg", "veRL's own text, by which its dumps are paired"
    assert sorted(line["input"] for line in lines) == ["b", "b", "c", "c", "d", "d"]
    ((entry,), _) = read_entries(tmp_path, 0)
    assert [(len(group.scores), group.gold) for group in entry.groups] == [(2, {"d": (2, 0)})] * QUESTIONS
    assert "sample" not in vars(rollout)
    assert made._recorder.beside({}) == {}


def test_a_validation_that_is_not_dumped_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "_columns", None)  # a call would fail
    made, rollout = validated(monkeypatch, None, RecordKeys(tokens=True))
    assert rollout.sampled == 2
    assert made._dump_futures == []


def test_a_validation_that_fails_leaves_the_replay_buffer_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(self: Any, *_: Any, **__: Any) -> None:
        raise RuntimeError("no answer")

    seen = []
    monkeypatch.setattr(Rollout, "generate_sequences", lambda self, batch: seen.append(self))
    monkeypatch.setattr(Rollout, "sample", fail)
    with pytest.raises(RuntimeError, match="no answer"):
        validated(monkeypatch, tmp_path, RecordKeys())
    assert "sample" not in vars(seen[0])
