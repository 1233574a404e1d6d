"""A step on winners alone, from the sampled batch to its metrics. TransferQueue, rollout and workers are replaced.

No Ray, no GPU, no model: what veRL's trainer and this project's do with a batch is their own code.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.bare_trainer import bare_trainer, replaced_queue, sampled_row
from support.stored_rows import Queue
from transfer_queue import KVBatchMeta
from verl.utils.metric import AggregationType, Metric

from wapo_verl.data.json_lines import read_json_lines
from wapo_verl.engine.step_plan import PLAN_KEY, StepPlan
from wapo_verl.engine.token_records import ROW_KEY, TOKEN_NUMBERS
from wapo_verl.training.record import RecordKeys
from wapo_verl.training.recorder import Recorder
from wapo_verl.training.trainer import WapoTrainerSync

LENGTHS = (3, 1, 2, 4, 2, 3, 1, 2)  # response tokens of the rows of groups a, a, b, b, c, c, d, d
KEYS = tuple(f"{group}_{number}_0" for group in "abcd" for number in (0, 1))
PROMPT = 2
SPREAD = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)  # winners: rows 0 and 3 of one mini-batch, 7 of the other


class Workers:
    """Stand in for the actor's worker group: note each call, and answer the update as veRL's worker does."""

    def __init__(self, queue: Queue, ranks: int) -> None:
        self.queue, self.calls = queue, []
        self._dispatch_info = {"actor": list(range(ranks))}

    def update_actor(self, batch: KVBatchMeta) -> dict[str, Any]:
        self.calls.append(("update", batch))
        if batch.extra_info[PLAN_KEY]["record"]:  # as the engine does
            for key in batch.keys:
                row = self.queue.rows[key]
                self.queue.rows[row[ROW_KEY]][TOKEN_NUMBERS] = torch.full((len(row["responses"]), 3), 1.0)
        number = float(len(self.calls))
        metrics = {
            "actor/loss_parts": [number, number + 1],  # a value a micro-batch
            "actor/ratio_max": Metric(AggregationType.MAX, number),
            "actor/update_entropy/weighted_parts": Metric(AggregationType.SUM, number),
            "actor/update_entropy/weight_parts": Metric(AggregationType.SUM, 2.0),
            "actor/tokens/count_parts": Metric(AggregationType.SUM, 10.0 * number),
        }
        # As train_mini_batch makes them: lists are joined, and a Metric of one mini-batch is in a list of its own.
        reduced = {name: value.aggregate() if isinstance(value, Metric) else value for name, value in metrics.items()}
        scalars = {"grad_norm": number, "lr": 1.0 / number, "mfu": 0.5}
        return {
            "metrics": {
                name: value if isinstance(value, list) else [value] for name, value in {**reduced, **scalars}.items()
            }
        }

    def compute_log_prob(self, batch: KVBatchMeta) -> KVBatchMeta:
        self.calls.append(("log_prob", batch))
        for key in batch.keys:
            row = self.queue.rows[key]
            total = PROMPT + len(row["response_mask"])
            row["log_probs"], row["entropy"] = torch.full((total,), -0.5), torch.full((total,), 0.7)
        return batch

    @property
    def updates(self) -> list[KVBatchMeta]:
        return [batch for name, batch in self.calls if name == "update"]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    return replaced_queue(monkeypatch)


def make_trainer(queue: Queue, ranks: int = 1, winners_only: bool = True, **actor: Any) -> WapoTrainerSync:
    rollout = {
        "response_length": 9,
        "temperature": 0.9,
        "log_prob_use_dynamic_bsz": False,
        "log_prob_micro_batch_size_per_gpu": 2,
    }
    actor = {"strategy": "fsdp2", "clip_ratio_high": 9.0, "ppo_micro_batch_size_per_gpu": 2, **actor}
    return bare_trainer(WapoTrainerSync, Workers(queue, ranks), winners_only, 1, rollout, actor)


def step(made: WapoTrainerSync, queue: Queue, rewards: tuple[float, ...] = SPREAD) -> tuple[KVBatchMeta, dict]:
    """Take one step on a batch with these rewards; return the batch that the step hands back, and its metrics."""
    for key, length, reward in zip(KEYS, LENGTHS, rewards, strict=True):
        log_probs = torch.full((length,), -float(length))
        queue.rows[key] = sampled_row(length, reward, log_probs, seq_len=PROMPT + length, response_len=length)
    batch = KVBatchMeta(partition_id="train", keys=list(KEYS), tags=[queue.rows[key]["tag"] for key in KEYS])
    made.replay_buffer = SimpleNamespace(sample=lambda **_: (batch, {}))
    metrics: dict[str, Any] = {}
    return made._step_once(metrics, {}, sample_batch_size=4), metrics


def keys(*rows: int) -> list[str]:
    return [KEYS[row] for row in rows]


def test_the_update_is_one_call_for_each_mini_batch(queue: Queue) -> None:
    made = make_trainer(queue)
    batch, metrics = step(made, queue)
    first, second = made.actor_rollout_wg.updates
    assert (first.keys, second.keys) == (keys(0, 3), keys(7))
    plan = StepPlan().to_dict()
    beside = {
        "global_batch_size": 4,  # the configured mini-batch, over which veRL takes the mean
        "epochs": 1,
        "dataloader_kwargs": {"shuffle": False},
        "calculate_entropy": True,
        "distillation_use_topk": False,
        "distillation_only": False,
        "temperature": 0.9,
        "seed": 42,
    }
    held = {PLAN_KEY: {**plan, "hold_schedule": True}, "mini_batch_size": 2, "micro_batch_size_per_gpu": 2}
    last = {PLAN_KEY: {**plan, "hold_schedule": False}, "mini_batch_size": 1, "micro_batch_size_per_gpu": 1}
    assert first.extra_info == {**beside, **held}
    assert second.extra_info == {**beside, **last}
    assert batch.keys == list(KEYS), "what is logged and cleared away is the whole batch"
    assert (metrics["actor/trained_rows/count"], metrics["actor/trained_rows/fraction"]) == (3.0, 0.375)
    assert metrics["actor/skipped_steps"] == 0.0


def test_every_row_gets_its_advantage_and_only_chosen_rows_an_old_log_prob(queue: Queue) -> None:
    step(make_trainer(queue), queue)
    carrying = [number for number, key in enumerate(KEYS) if bool(queue.rows[key]["advantages"].any())]
    assert carrying == [0, 3, 7]
    assert [number for number, key in enumerate(KEYS) if "old_log_probs" in queue.rows[key]] == [0, 3, 7]


def test_mini_batches_have_the_names_and_the_order_of_epochs(queue: Queue) -> None:
    made = make_trainer(queue, ppo_epochs=2)
    _, metrics = step(made, queue)
    calls = made.actor_rollout_wg.updates
    assert [call.keys for call in calls] == [keys(0, 3), keys(7)] * 2
    assert [call.extra_info[PLAN_KEY]["hold_schedule"] for call in calls] == [True, True, True, False]
    assert metrics["actor/tokens"] == 100.0, "counts are summed over all four updates: 10 + 20 + 30 + 40"


def test_the_dump_has_the_numbers_of_the_rows_that_were_trained_on(queue: Queue, tmp_path: Path) -> None:
    made = make_trainer(queue)
    made._obey(made.decisions.model_copy(update={"record": RecordKeys(tokens=True)}))
    made.config.trainer.rollout_data_dir = str(tmp_path)
    made.tokenizer = SimpleNamespace(eos_token_id=0, decode=lambda ids, **_: str(list(map(int, ids))))
    made._recorder = Recorder(made.config, made.decisions, made.tokenizer)
    batch, _ = step(made, queue)
    for row in queue.rows.values():
        row |= {"prompts": torch.tensor([1]), "reward_model": {"ground_truth": "x"}, "data_source": "unknown"}
    made._init_dump_executor()
    made._log_rollout_data(batch, {}, str(tmp_path))
    made._shutdown_dump_executor()
    lines = read_json_lines(tmp_path / "1.jsonl")
    assert [line["uid"] for line in lines if "bin" in line["tokens"]] == keys(0, 3, 7)
    assert lines[3]["tokens"]["bin"] == ["pos_valley"] * LENGTHS[3]
    made.config.trainer.rollout_data_dir = None
    step(made, queue)
    assert not made.actor_rollout_wg.updates[-1].extra_info[PLAN_KEY]["record"], "nobody asks for records"


def test_packed_micro_batches_are_left_to_verl(queue: Queue) -> None:
    made = make_trainer(queue, use_dynamic_bsz=True)
    step(made, queue)
    assert all("micro_batch_size_per_gpu" not in call.extra_info for call in made.actor_rollout_wg.updates)


def test_ranks_get_as_many_rows_each(queue: Queue) -> None:
    """Two ranks hold four rows each, and a mini-batch takes two from each; a lone winner gets the shortest loser."""
    made = make_trainer(queue, ranks=2)
    step(made, queue, (0.0, 1.0, *[0.0] * 6))
    (call,) = made.actor_rollout_wg.updates
    assert len(call.keys) == 2
    assert KEYS[1] in call.keys
    assert call.extra_info["mini_batch_size"] == 2
    (filler,) = set(call.keys) - {KEYS[1]}
    assert not bool(queue.rows[filler]["advantages"].any())


@pytest.mark.parametrize("bypass", [True, False])
def test_a_batch_without_a_winner_computes_nothing(queue: Queue, bypass: bool) -> None:
    made = make_trainer(queue)
    made.config.algorithm.rollout_correction.bypass_mode = bypass
    made.use_reference_policy = made.ref_in_actor = True
    batch, metrics = step(made, queue, (0.5,) * 8)
    assert made.actor_rollout_wg.calls == []
    assert batch.keys == list(KEYS)
    assert metrics["actor/skipped_steps"] == 1.0
    assert "actor/trained_rows/count" not in metrics


def test_a_mini_batch_without_a_winner_is_skipped(queue: Queue) -> None:
    made = make_trainer(queue)
    _, metrics = step(made, queue, (1.0, *[0.0] * 7))
    (call,) = made.actor_rollout_wg.updates
    assert (call.keys, call.extra_info[PLAN_KEY]["hold_schedule"]) == (keys(0), False)
    assert metrics["actor/tokens"] == 10.0
    assert metrics["actor/skipped_mini_batches"] == 1.0


def test_without_bypass_only_chosen_rows_get_log_probs(queue: Queue) -> None:
    made = make_trainer(queue)
    made.config.algorithm.rollout_correction.bypass_mode = False
    batch, _ = step(made, queue)
    name, asked = made.actor_rollout_wg.calls[0]
    assert name == "log_prob"
    assert asked.keys == keys(0, 1, 3, 7), "three rows do not come out even in twos: the shortest other one fills up"
    assert asked.extra_info["micro_batch_size_per_gpu"] == 2
    assert [call.keys for call in made.actor_rollout_wg.updates] == [keys(0, 3), keys(7)]
    assert queue.rows[KEYS[0]]["old_log_probs"].tolist() == [-0.5] * LENGTHS[0]
    assert batch.keys == list(KEYS)


@pytest.mark.parametrize("bypass", [True, False])
def test_only_chosen_rows_get_reference_log_probs(queue: Queue, bypass: bool) -> None:
    """Where a KL loss acts on winners alone; the reference's own micro-batches of three are met too."""
    made = make_trainer(queue)
    made.config.algorithm.rollout_correction.bypass_mode = bypass
    made.config.actor_rollout_ref.ref = {"log_prob_use_dynamic_bsz": False, "log_prob_micro_batch_size_per_gpu": 3}
    reference = Workers(queue, ranks=1)
    made.use_reference_policy = True
    made.ref_policy_wg = SimpleNamespace(compute_ref_log_prob=reference.compute_log_prob)
    step(made, queue)
    ((_, asked),) = reference.calls
    assert asked.keys == keys(0, 1, 3, 7)
    assert asked.extra_info["micro_batch_size_per_gpu"] == 2
    assert {KEYS.index(key) for key, row in queue.rows.items() if "ref_log_prob" in row} == {0, 1, 3, 7}


def test_metrics_of_the_calls_are_reduced_as_those_of_mini_batches(queue: Queue) -> None:
    _, metrics = step(make_trainer(queue), queue)
    assert metrics["actor/loss_parts"] == pytest.approx(2.0), "the mean over every micro-batch: 1, 2, 2, 3"
    assert metrics["actor/ratio_max"] == 2.0
    assert metrics["actor/grad_norm"] == pytest.approx(1.5)
    assert metrics["actor/tokens"] == pytest.approx(30.0)
    assert metrics["perf/mfu/actor"] == 0.5
    assert metrics["actor/trained_rows/entropy"] == pytest.approx(3.0 / 4.0)


def test_the_learning_rate_is_the_batchs_last(queue: Queue) -> None:
    """veRL logs one a batch, after its schedule went on; each call here answers with one."""
    _, metrics = step(make_trainer(queue), queue)
    assert metrics["actor/lr"] == 0.5


def test_the_entropy_is_over_every_row(queue: Queue) -> None:
    """Each token of a row with n tokens was drawn at ln p = -n."""
    _, metrics = step(make_trainer(queue), queue)
    assert metrics["actor/entropy"] == pytest.approx(sum(n * n for n in LENGTHS) / sum(LENGTHS))


def test_the_entropy_stays_over_every_row_without_bypass(queue: Queue) -> None:
    """veRL measures the chosen rows' there, with the forward pass that gives their old log-probs."""
    made = make_trainer(queue)
    made.config.algorithm.rollout_correction.bypass_mode = False
    _, metrics = step(made, queue)
    assert metrics["actor/entropy"] == pytest.approx(sum(n * n for n in LENGTHS) / sum(LENGTHS))


def test_one_token_cannot_make_the_entropy_infinite(queue: Queue) -> None:
    """As in `group/winner_log_prob/mean`: a token that the engine gave a probability of 0 counts as one of e^-20."""
    made = make_trainer(queue)
    step(made, queue)
    sample = made.replay_buffer.sample

    def with_an_impossible_token(**given: Any) -> Any:
        queue.rows[KEYS[0]]["rollout_log_probs"][0] = -torch.inf
        return sample(**given)

    made.replay_buffer = SimpleNamespace(sample=with_an_impossible_token)
    metrics: dict[str, Any] = {}
    made._step_once(metrics, {}, sample_batch_size=4)
    assert metrics["actor/entropy"] == pytest.approx((sum(n * n for n in LENGTHS) - 3 + 20) / sum(LENGTHS))


@pytest.mark.parametrize("mode", ["token-mean", "seq-mean-token-sum-norm", "seq-mean-token-mean"])
def test_the_entropy_is_a_tokens_mean_whatever_the_losss_average(queue: Queue, mode: str) -> None:
    """Every token's entropy is 0.7; veRL averages it as the loss, which for a sum over tokens is no entropy."""
    made = make_trainer(queue, winners_only=False, loss_agg_mode=mode)
    made.config.algorithm.rollout_correction.bypass_mode = False
    _, metrics = step(made, queue)
    assert metrics["actor/entropy"] == pytest.approx(0.7)


def test_an_engine_that_holds_no_schedule_is_noticed(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its learning rate would go on with every mini-batch."""
    made = make_trainer(queue)
    foreign = {"metrics": {"lr": [0.1], "mfu": [0.5], "grad_norm": [1.0]}}
    monkeypatch.setattr(made.actor_rollout_wg, "update_actor", lambda batch: foreign)
    with pytest.raises(RuntimeError, match="answered no step plan"):
        step(made, queue)


def test_switched_off_the_step_is_verls(queue: Queue) -> None:
    made = make_trainer(queue, winners_only=False)
    batch, metrics = step(made, queue)
    (call,) = made.actor_rollout_wg.updates
    assert call.keys == list(KEYS)
    assert call.extra_info["mini_batch_size"] == call.extra_info["global_batch_size"] == 4
    assert "micro_batch_size_per_gpu" not in call.extra_info
    assert not call.extra_info[PLAN_KEY]["hold_schedule"]
    assert batch.keys == list(KEYS)
    assert not [name for name in metrics if "trained_rows" in name]


def test_in_a_critics_warm_up_the_step_is_verls(queue: Queue) -> None:
    """veRL updates no actor then, and fills the batch up to no mini-batch."""
    made = make_trainer(queue)
    made.config.trainer.critic_warmup = 2
    batch, metrics = step(made, queue)
    assert not made.actor_rollout_wg.updates
    assert batch.keys == list(KEYS)
    assert not [name for name in metrics if "trained_rows" in name]


def test_a_step_forgets_the_one_before(queue: Queue) -> None:
    made = make_trainer(queue)
    step(made, queue, (0.5,) * 8)
    _, metrics = step(made, queue)
    assert metrics["actor/skipped_steps"] == 0.0
    assert len(made.actor_rollout_wg.updates) == 2
