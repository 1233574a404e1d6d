"""What the trainers change in veRL's step. TransferQueue and the worker group are replaced, no Ray, no GPU."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tensordict import NonTensorStack, TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import get_trainer_cls
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.data.json_lines import read_json_lines
from wapo_verl.engine.step_plan import PLAN_KEY, ClipSchedule, StepPlan, StepPlans
from wapo_verl.rollout.failures import FAILURE, FailureBudget
from wapo_verl.training import stored
from wapo_verl.training.advantages import Rows, truncated_rows, truncation_metrics, winner_metrics
from wapo_verl.training.decisions import MODES, PREFIX, RESOLVED, Decisions
from wapo_verl.training.failures import LEDGER
from wapo_verl.training.recorder import Recorder
from wapo_verl.training.trainer import WapoTrainer, WapoTrainerSync
from wapo_verl.training.update import name_entropy

NO_PLANS = StepPlans()


def nested(rows: list[list[float]], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.nested.as_nested_tensor([torch.tensor(row, dtype=dtype) for row in rows], layout=torch.jagged)


def record(outcome: str = "answered") -> dict[str, Any]:
    return {"outcome": outcome, "turns": 1, "queries": [], "document_ids": [], "answer": None, "completion": ""}


class Store:
    """Stands in for TransferQueue: hands out the fields of a batch and keeps what is written back."""

    def __init__(self, keys: list[str], **fields: Any) -> None:
        self.keys, self.fields, self.written = keys, fields, TensorDict({}, batch_size=len(keys))

    def kv_batch_get(self, keys: list[str], partition_id: str, select_fields: list[str]) -> TensorDict:
        rows = [self.keys.index(key) for key in keys]
        picked = TensorDict({}, batch_size=len(rows))
        for name in select_fields:
            field = self.fields[name]
            if isinstance(field, torch.Tensor):
                parts = field.unbind()
                picked[name] = torch.nested.as_nested_tensor([parts[row] for row in rows], layout=torch.jagged)
            else:
                picked[name] = NonTensorStack(*[field[row] for row in rows])
        return picked

    def kv_batch_put(self, keys: list[str], partition_id: str, fields: TensorDict) -> KVBatchMeta:
        self.written = fields
        return KVBatchMeta(partition_id=partition_id, keys=keys, tags=[{} for _ in keys])


def make_trainer(plans: StepPlans = NO_PLANS, estimator: str | None = "wapo", **config: Any) -> WapoTrainerSync:
    made = object.__new__(WapoTrainerSync)
    made.config = OmegaConf.create(
        {
            "algorithm": {"adv_estimator": "wapo", "rollout_correction": {"bypass_mode": True}},
            "actor_rollout_ref": {
                "rollout": {"response_length": 4, "n": 2},
                "actor": {
                    "loss_agg_mode": "seq-mean-token-sum-norm",
                    "loss_scale_factor": 8,
                    "strategy": "fsdp2",
                    "policy_loss": {"loss_mode": "wapo"},
                    "clip_ratio_high": 9.0,
                    "ppo_mini_batch_size": 1,
                    "ppo_epochs": 1,
                },
            },
            **config,
        }
    )
    options = {} if estimator is None else ALGORITHMS[estimator].default_options()
    made._obey(Decisions(algorithm=estimator, options=options, plans=plans))
    made.global_steps, made.total_training_steps = 1, 11
    made._recorder = Recorder(made.config, made.decisions, None)
    return made


def make_batch(keys: list[str], tags: list[dict] | None = None) -> KVBatchMeta:
    return KVBatchMeta(partition_id="train", keys=keys, tags=tags or [{} for _ in keys])


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_is_registered(mode: str) -> None:
    found = get_trainer_cls(PREFIX + mode)
    assert issubclass(found, WapoTrainer)
    assert issubclass(found, get_trainer_cls(mode))


def test_verl_sees_its_own_name_of_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PPOTrainer, "__init__", lambda self, config: setattr(self, "config", config))
    config = OmegaConf.create(
        {
            "trainer": {"v1": {"trainer_mode": f"{PREFIX}sync"}},
            "algorithm": {"adv_estimator": "wapo"},
        }
    )
    OmegaConf.update(config, RESOLVED, Decisions().model_dump(), force_add=True)
    OmegaConf.set_struct(config, True)
    WapoTrainerSync(config)
    assert config.trainer.v1.trainer_mode == "sync"


def test_the_trainer_obeys_what_was_written_and_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PPOTrainer, "__init__", lambda self, config: setattr(self, "config", config))
    config = OmegaConf.create({"trainer": {"v1": {"trainer_mode": f"{PREFIX}sync"}, "default_local_dir": "x"}})
    with pytest.raises(ValueError, match=r"wapo\.resolved\.training is missing"):
        WapoTrainerSync(config)
    written = Decisions(algorithm="cpgd", options={"group_weight": "equal"}, winners_only=True, filter_batches=3)
    OmegaConf.update(config, RESOLVED, written.model_dump(), force_add=True)
    OmegaConf.update(config, f"{RESOLVED}.guard", {"action": "warn"}, force_add=True)
    config.trainer.v1.trainer_mode = f"{PREFIX}sync"
    made = WapoTrainerSync(config)
    assert (made.algorithm, made.decisions.options) == (ALGORITHMS["cpgd"], {"group_weight": "equal"})
    assert (made.decisions.winners_only, made.decisions.filter_batches) == (True, 3)
    assert made.guard is not None


def test_advantages_know_sessions_and_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two outputs of one session count once, a padding row not at all; the loser's row is zero."""
    keys = ["a_0_0", "a_0_1", "a_1_0", "pad_0_0"]
    store = Store(
        keys,
        response_mask=nested([[1, 1], [1, 0, 1], [1], [0, 0]], torch.int64),
        rm_scores=nested([[0, 1], [0, 0, 1], [0], [0, 0]]),
        extra_fields=[{"episode": record()}, {"episode": record()}, {"episode": record()}, {}],
    )
    monkeypatch.setattr(stored, "tq", store)
    made, metrics = make_trainer(), {}
    made._compute_advantage(make_batch(keys, [{}, {}, {}, {"is_padding": True}]), metrics)
    folded = 0.5 * 4 / 2  # (r - mean) * rows / (G * groups with a winner)
    rows = [row.tolist() for row in store.written["advantages"].unbind()]
    assert rows == [[folded, folded], [folded, 0.0, folded], [0.0], [0.0, 0.0]]
    assert metrics["group/winner_fraction"] == 0.5
    assert made._step is not None
    assert made._step.trains
    assert made._step.own_tokens == 5


@pytest.mark.parametrize("gated", [False, True])
def test_an_outcome_gates_who_wins_and_phantoms_are_counted(gated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Group a has no right answer, b one; a failed episode and padding have none to look at."""
    keys = ["a_0_0", "a_1_0", "b_0_0", "b_1_0", "b_2_0", "pad_0_0"]
    parts = [{"exact_match": value} for value in (0.0, 0.0, 1.0, 0.0)]
    store = Store(
        keys,
        response_mask=nested([[1]] * 6, torch.int64),
        rm_scores=nested([[0.5], [0.1], [0.9], [0.3], [9.0], [0]]),
        extra_fields=[*({"episode": record(), "reward_extra_info": each} for each in parts), {}, {}],
    )
    monkeypatch.setattr(stored, "tq", store)
    options = ALGORITHMS["wapo"].default_options()
    made, metrics = make_trainer(), {}
    made._obey(Decisions(algorithm="wapo", options=options, outcome_parts=["exact_match"], outcome_gate=gated))
    tags: list[dict] = [{}, {}, {}, {}, {FAILURE: "retriever"}, {"is_padding": True}]
    made._compute_advantage(make_batch(keys, tags), metrics)
    rows = torch.cat(list(store.written["advantages"].unbind()))
    groups = 1 if gated else 2
    winners = [0.0 if gated else 0.2, 0.0, 0.3, 0.0, 0.0, 0.0]
    torch.testing.assert_close(rows, torch.tensor(winners) / 2 / groups * 6)
    assert metrics["group/phantom_winner_groups"] == 1.0
    assert metrics["group/with_winner"] == groups
    del store.fields["extra_fields"][0]["reward_extra_info"]["exact_match"]
    with pytest.raises(ValueError, match=r"has no part exact_match, which wapo.outcome_gate asks for; it has none"):
        made._write_advantages(make_batch(keys, tags), {})


def test_groups_are_counted_where_verl_makes_the_advantages(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["a_0_0", "a_1_0", "b_0_0", "b_1_0", "pad_0_0"]
    store = Store(keys, rm_scores=nested([[0, 1], [0, 0], [1], [1], [0]]))
    monkeypatch.setattr(stored, "tq", store)
    monkeypatch.setattr(PPOTrainer, "_compute_advantage", lambda self, batch, metrics: batch)
    made, metrics = make_trainer(estimator=None), {}
    made._compute_advantage(make_batch(keys, [{}, {}, {}, {}, {"is_padding": True}]), metrics)
    assert metrics == {
        "group/winner_fraction": 0.25,
        "group/count": 2.0,
        "group/with_winner": 1.0,
        "group/all_equal": 1.0,
        "group/with_reward": 2.0,
        "group/advantage_size/mean": 0.25,
        "group/winner_advantage/mean": 0.5,
    }


@pytest.mark.parametrize(("option", "wins"), [("keep", True), ("zero", False), ("drop", False)])
def test_truncated_completions_follow_the_option(option: str, wins: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["a_0_0", "a_1_0"]
    store = Store(
        keys,
        response_mask=nested([[1], [1]], torch.int64),
        rm_scores=nested([[1], [0]]),
        extra_fields=[{"episode": record("turn_truncated")}, {"episode": record()}],
    )
    monkeypatch.setattr(stored, "tq", store)
    made = make_trainer()
    made._obey(Decisions(algorithm="wapo", options={**ALGORITHMS["wapo"].default_options(), "truncated": option}))
    made._compute_advantage(make_batch(keys), {})
    assert made._step is not None
    assert made._step.trains is wins


def test_without_an_episode_the_length_tells_truncation() -> None:
    assert truncated_rows([{}, {}], [{"response_len": 4}, {"response_len": 3}], limit=4) == [True, False]


def test_the_winners_likelihood_is_over_their_own_tokens() -> None:
    """Two outputs of a winner count both, a loser and a tool's tokens do not, and no token can make it infinite."""
    keys = ["a_0_0", "a_0_1", "a_1_0", "b_0_0", "b_1_0"]
    rewards = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0])
    winners = Rows(keys, [{} for _ in keys], rewards).winners()
    assert winners.tolist() == [True, True, False, False, False]
    log_probs = torch.tensor([[-1.0, -9.0], [-3.0, -torch.inf], [-7.0, -7.0], [-7.0, -7.0], [-7.0, -7.0]])
    mask = torch.tensor([[1, 0], [1, 1], [1, 1], [1, 1], [1, 1]])
    found = winner_metrics(winners, log_probs, mask)
    assert found == {"group/winner_log_prob/mean": pytest.approx((-1 - 3 - 20) / 3)}
    assert winner_metrics(torch.zeros(5, dtype=torch.bool), log_probs, mask) == {}


@pytest.mark.parametrize(
    ("gated", "truncated", "mean"),
    [(False, "keep", -2.0), (True, "keep", -3.0), (False, "drop", -3.0), (False, "zero", -6.0)],
)
def test_the_winners_likelihood_is_of_those_whom_the_algorithm_lets_win(
    gated: bool, truncated: str, mean: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first winner has no right answer and was cut by a length limit; with a reward of 0 its neighbour wins."""
    keys = ["a_0_0", "a_1_0", "b_0_0", "b_1_0"]
    store = Store(
        keys,
        responses=nested([[7]] * 4, torch.int64),
        response_mask=nested([[1]] * 4, torch.int64),
        rm_scores=nested([[0.5], [0.1], [0.9], [0.3]]),
        rollout_log_probs=nested([[-1], [-9], [-3], [-9]]),
        extra_fields=[
            {"episode": record(outcome), "reward_extra_info": {"exact_match": right}}
            for outcome, right in (("turn_truncated", 0.0), ("answered", 0.0), ("answered", 1.0), ("answered", 0.0))
        ],
    )
    monkeypatch.setattr(stored, "tq", store)
    monkeypatch.setattr(PPOTrainer, "_compute_metrics", lambda *_, **__: None)
    made, metrics = make_trainer(), {}
    made.config.actor_rollout_ref.rollout.calculate_log_probs = True
    options = {**ALGORITHMS["wapo"].default_options(), "truncated": truncated}
    made._obey(Decisions(algorithm="wapo", options=options, outcome_parts=["exact_match"], outcome_gate=gated))
    made._compute_metrics(make_batch(keys), metrics)
    assert metrics["group/winner_log_prob/mean"] == mean


def test_truncated_rows_have_a_share() -> None:
    assert truncation_metrics([True, False, False, False]) == {"episode/truncated": 0.25}
    assert truncation_metrics([]) == {}


def test_a_batch_without_a_winner_takes_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker group is not called at all: weights, moments and step count stay as they are."""
    keys = ["a_0_0", "a_1_0"]
    store = Store(
        keys,
        response_mask=nested([[1], [1]], torch.int64),
        rm_scores=nested([[0.1], [0.1]]),
        extra_fields=[{}, {}],
    )
    monkeypatch.setattr(stored, "tq", store)
    made, metrics = make_trainer(), {}
    made.actor_rollout_wg = None  # calling it would raise
    batch = made._compute_advantage(make_batch(keys), metrics)
    assert made._update_actor(batch, metrics) is batch
    assert metrics["actor/skipped_steps"] == 1.0
    assert metrics["group/with_winner"] == 0


ANSWER = {
    "actor/ratio_max": 1.5,
    "actor/update_entropy/weighted_parts": 3.0,
    "actor/update_entropy/weight_parts": 6.0,
    "actor/behaviour_probs_diff_mean/weighted_parts": 3.0,
    "actor/behaviour_probs_diff_mean/weight_parts": 4.0,
    "actor/behaviour_probs_diff_max": 0.9,
}


def answered(monkeypatch: pytest.MonkeyPatch, *answers: dict[str, float]) -> list[dict[str, Any]]:
    """Let the workers answer one step after the other, and return the plans that reach them."""
    sent: list[dict[str, Any]] = []

    def update(self: PPOTrainer, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        metrics.update(answers[len(sent)])
        sent.append(batch.extra_info[PLAN_KEY])
        return batch

    monkeypatch.setattr(PPOTrainer, "_update_actor", update)
    return sent


def test_a_batch_with_a_winner_is_handed_to_verl(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = answered(monkeypatch, ANSWER)
    made, metrics = make_trainer(), {}
    made._update_actor(make_batch(["a_0_0", "a_1_0"]), metrics)
    assert sent == [StepPlan().to_dict()]
    assert metrics == {
        "actor/skipped_steps": 0.0,
        "actor/ratio_max": 1.5,
        "actor/entropy": pytest.approx(0.5),
        "training/rollout_probs_diff_mean": pytest.approx(0.75),
        "training/rollout_probs_diff_max": 0.9,
    }


def test_what_verl_measures_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside bypass mode veRL logs the entropy and the gap with forward passes of its own, before the update."""
    answered(monkeypatch, ANSWER)
    made, metrics = make_trainer(algorithm={"adv_estimator": "wapo"}), {"actor/entropy": 0.7}
    made._update_actor(make_batch(["a_0_0", "a_1_0"]), metrics)
    assert metrics["actor/entropy"] == 0.7
    assert "training/rollout_probs_diff_mean" not in metrics


def test_each_step_has_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = answered(monkeypatch, ANSWER, ANSWER)
    made = make_trainer(StepPlans(clip=ClipSchedule(kind="linear", start=9.0, final=4.0)))
    for made.global_steps, clip in ((1, 9.0), (11, 4.0)):
        metrics: dict[str, Any] = {}
        made._update_actor(make_batch(["a_0_0", "a_1_0"]), metrics)
        assert sent[-1]["clip_ratio_high"] == clip
        assert metrics["actor/clip_ratio_high"] == clip


def test_the_guards_factor_goes_with_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = answered(monkeypatch, ANSWER, {})
    made = make_trainer()
    made.guard = SimpleNamespace(lr_factor=0.5)
    made._update_actor(make_batch(["a_0_0", "a_1_0"]), {})
    assert sent == [{**StepPlan().to_dict(), "lr_factor": 0.5}]
    with pytest.raises(RuntimeError, match=r"answered no step plan, so .*on_rollback cannot be obeyed"):
        made._update_actor(make_batch(["a_0_0", "a_1_0"]), {})


def test_counts_are_summed_over_mini_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """veRL takes their mean over the two mini-batches of these four rows; names lose what veRL puts before them."""
    answered(monkeypatch, {**ANSWER, "actor/taxonomy/tokens/pos_peak/count_parts": 5.0})
    metrics: dict[str, Any] = {}
    made = make_trainer(StepPlans(taxonomy=True))
    made._update_actor(make_batch(["a_0_0", "a_1_0", "b_0_0", "b_1_0"]), metrics)
    assert metrics["taxonomy/tokens/pos_peak"] == 10.0
    assert not [name for name in metrics if "actor/taxonomy" in name]


def test_predicted_and_measured_entropy_changes_are_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(entropy: float, predicted: float) -> dict[str, float]:
        parts = {"weighted_parts": predicted * 2, "weight_parts": 2.0}
        change = {f"actor/taxonomy/entropy_change/{part}": value for part, value in parts.items()}
        return {**ANSWER, **change, "actor/update_entropy/weighted_parts": entropy * 6}

    answered(monkeypatch, answer(0.5, -0.1), answer(0.375, 0.2))
    made = make_trainer(StepPlans(taxonomy=True))
    found: list[dict[str, float]] = []
    for _ in range(2):
        metrics: dict[str, Any] = {}
        made._update_actor(make_batch(["a_0_0", "a_1_0"]), metrics)
        found.append({name: value for name, value in metrics.items() if "entropy_change" in name})
    name = "taxonomy/entropy_change"
    assert found[0] == {f"{name}/predicted": -0.1}
    assert found[1] == {f"{name}/predicted": 0.2, f"{name}/predicted_previous": -0.1, f"{name}/measured": -0.125}


def test_an_engine_that_answers_no_plan_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, {}, {})
    with pytest.raises(RuntimeError, match="answered no step plan"):
        make_trainer(StepPlans(taxonomy=True))._update_actor(make_batch(["a_0_0"]), {})
    make_trainer()._update_actor(make_batch(["a_0_0"]), {})


@pytest.mark.parametrize(
    ("mode", "tokens", "entropy"), [("token-mean", None, 0.5), ("sum", 10, 0.8), ("sum", None, None)]
)
def test_an_engine_without_plans_leaves_the_entropy_to_the_loss(
    mode: str, tokens: int | None, entropy: float | None
) -> None:
    """Summed entropies need the number of tokens, which nobody counts under veRL's own algorithms."""
    actor, metrics = make_trainer().config.actor_rollout_ref.actor, {"actor/entropy_loss": 0.5}
    if mode == "token-mean":
        actor.loss_agg_mode = mode
    name_entropy(metrics, actor, rows=2, own_tokens=tokens, chosen=False)
    assert metrics.get("actor/entropy") == (None if entropy is None else pytest.approx(entropy))


@pytest.mark.parametrize(("negatives", "loser"), [(False, 0.0), (True, -1.0)])
def test_losers_get_their_advantage_where_they_are_weighted(
    negatives: bool, loser: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["a_0_0", "a_1_0"]
    store = Store(
        keys, response_mask=nested([[1], [1]], torch.int64), rm_scores=nested([[1], [0]]), extra_fields=[{}, {}]
    )
    monkeypatch.setattr(stored, "tq", store)
    make_trainer(StepPlans(negatives=negatives))._compute_advantage(make_batch(keys), {})
    folded = 0.5 * 2 / 2  # (r - mean) * rows / (G * groups with a winner)
    assert [row.tolist() for row in store.written["advantages"].unbind()] == [[folded], [loser * folded]]


def test_the_overlap_of_a_groups_completions_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["a_0_0", "a_1_0", "b_0_0", "pad_0_0"]
    store = Store(
        keys,
        responses=nested([[7, 8, 9], [7, 8, 5], [7], [0]], torch.int64),
        response_mask=nested([[1, 1, 1], [1, 1, 1], [1], [0]], torch.int64),
        rm_scores=nested([[0, 0, 1], [0, 0, 0], [0], [0]]),
        extra_fields=[{"episode": record()}] * 4,
    )
    monkeypatch.setattr(stored, "tq", store)
    monkeypatch.setattr(PPOTrainer, "_compute_metrics", lambda *_, **__: None)
    for logged in (False, True):
        metrics: dict[str, Any] = {}
        batch = make_batch(keys, [{}, {}, {}, {"is_padding": True}])
        make_trainer(StepPlans(taxonomy=logged))._compute_metrics(batch, metrics)
        overlap = {name: value for name, value in metrics.items() if "overlap" in name}
        assert bool(overlap) is logged
    pair = "taxonomy/overlap/winner_loser"
    measures = {"divergence": 2.0, "divergence_share": 2 / 3, "contested": 2 / 3, "jaccard": 0.5}
    assert overlap == {f"{pair}/{name}": value for name, value in measures.items()}


def test_the_dump_keeps_turn_markers_parts_and_the_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["a_0_0", "pad_0_0"]
    extra = {"episode": record(), "reward_extra_info": {"score": 1.0, "f1": 0.5, "pred": "[INVALID]", "seen": None}}
    store = Store(
        keys,
        prompts=nested([[7], [0]], torch.int64),
        responses=nested([[8, 9], [0]], torch.int64),
        response_mask=nested([[1, 0], [0]], torch.int64),
        advantages=nested([[0.5, 0], [0]]),
        rm_scores=nested([[0, 1], [0]]),
        reward_model=[{"ground_truth": {"answers": ["x"]}}, {}],
        extra_fields=[extra, {}],
        data_source=["hotpotqa", ""],
    )
    monkeypatch.setattr(stored, "tq", store)
    made = make_trainer()
    made.global_steps = 3
    made.tokenizer = SimpleNamespace(decode=lambda ids: f"<|im_start|>{list(map(int, ids))}")
    made._recorder = Recorder(made.config, made.decisions, made.tokenizer)
    made._init_dump_executor()
    made._log_rollout_data(make_batch(keys, [{}, {"is_padding": True}]), {}, str(tmp_path))
    made._shutdown_dump_executor()
    lines = read_json_lines(tmp_path / "3.jsonl")
    assert len(lines) == 1
    assert lines[0]["output"] == "<|im_start|>[8, 9]"
    assert lines[0]["episode"]["outcome"] == "answered"
    assert (lines[0]["environment"], lines[0]["completion"]) == ("hotpotqa", None)
    assert [turn["role"] for turn in lines[0]["turns"]] == ["assistant", "environment"]
    assert lines[0]["advantage"] == 0.5
    assert (lines[0]["f1"], lines[0]["score"], lines[0]["gts"]) == (0.5, 1.0, {"answers": ["x"]})
    assert (lines[0]["pred"], lines[0]["seen"]) == ("[INVALID]", None)


@pytest.mark.parametrize(
    ("declared", "means"),
    [
        (False, {"reward/score/mean": -1.0, "reward/acc/mean": 0.5}),
        (True, {"reward/score/mean": -1.0, "reward/acc/mean": 0.5, "reward/guess/mean": 34.0}),
    ],
)
def test_what_a_users_reward_returns_beside_the_score_ends_no_run(
    declared: bool, means: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As veRL's own reward of DAPO's mathematics does; under veRL's estimators too. A guess is no mean."""
    keys = ["a_0_0", "a_1_0"]
    extras = [
        {"score": -1.0, "acc": False, "pred": "[INVALID]", "steps": [1, 2], "seen": None, "guess": 34},
        {"score": -1.0, "acc": True, "pred": "34", "steps": [], "seen": None, "guess": "no"},
    ]
    store = Store(
        keys,
        responses=nested([[7], [8]], torch.int64),
        response_mask=nested([[1], [1]], torch.int64),
        rm_scores=nested([[-1], [-1]]),
        extra_fields=[{"reward_extra_info": extra} for extra in extras],
    )
    monkeypatch.setattr(stored, "tq", store)
    monkeypatch.setattr(PPOTrainer, "_compute_metrics", lambda *_, **__: None)
    made, metrics = make_trainer(estimator=None), {}
    made._obey(Decisions(parts_are_declared=declared))
    made._compute_metrics(make_batch(keys), metrics)
    assert {name: value for name, value in metrics.items() if name.startswith("reward/")} == means


def test_rows_that_do_not_fill_a_batch_once_the_long_ones_are_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PPOTrainer, "_init_dataloader", lambda self: setattr(self, "train_dataset", [0] * 8))
    made = make_trainer(data={"train_batch_size": 16})
    with pytest.raises(ValueError, match=r"8 rows that fit data\.max_prompt_length, fewer than data\.train_batch"):
        made._init_dataloader()
    made.config.data.train_batch_size = 8
    made._init_dataloader()


def test_a_validation_logs_what_an_evaluation_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """One right answer in four: veRL's best@4 is a draw with replacement, pass@4 is 1."""
    made = make_trainer()
    infos = {"reward": [1.0, 0.0, 0.0, 0.0] + [1.0] * 4, "timed_out": [0.0] * 8}
    found = made._val_metrics_update(["math500"] * 8, ["a"] * 4 + ["b"] * 4, infos, [2] * 8)
    assert found["val-core/math500/reward/mean@4"] == 0.625
    assert found["val-core/math500/reward/best@4/mean"] < 0.9
    assert found["val/math500/mean"] == 0.625
    assert found["val/math500/standard_error"] == pytest.approx(0.375)
    assert found["val/math500/pass@4"] == 1.0
    assert found["val/math500/failed/timed_out"] == 0.0


FAILED = {"failure": "retriever", "failure_message": "RetrievalError: no index"}


def with_a_failure(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[dict[str, Any]], Store]:
    """A group of a winner, a loser and an episode that failed, as the agent loop's worker stores it."""
    keys, tags = ["a_0_0", "a_1_0", "a_2_0"], [{}, {}, FAILED]
    failed = {**record("failed"), "failure": "retriever"}
    store = Store(
        keys,
        prompts=nested([[7], [7], [7]], torch.int64),
        responses=nested([[8, 9], [8], [0]], torch.int64),
        response_mask=nested([[1, 1], [1], [0]], torch.int64),
        advantages=nested([[0.5, 0.5], [0], [0]]),
        rm_scores=nested([[0, 1], [0], [math.nan]]),
        reward_model=[{"ground_truth": "x"}] * 3,
        data_source=["miniwiki"] * 3,
        extra_fields=[
            {"episode": record(), "reward_extra_info": {"score": 1.0}},
            {"episode": record("no_tag"), "reward_extra_info": {"score": 0.0}},
            {"episode": failed, "reward_extra_info": FAILED},
        ],
    )
    monkeypatch.setattr(stored, "tq", store)
    return keys, tags, store


def test_a_failed_episode_is_no_member_of_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, tags, store = with_a_failure(monkeypatch)
    made, metrics = make_trainer(), {}
    made._compute_advantage(make_batch(keys, tags), metrics)
    folded = 0.5 * 3 / 2  # (r - mean) * rows / (G * groups with a winner), the failed row among the rows alone
    assert [row.tolist() for row in store.written["advantages"].unbind()] == [[folded, folded], [0.0], [0.0]]
    assert metrics["group/winner_fraction"] == 0.5
    assert made._step is not None
    assert made._step.carries == (True, False, False)


def test_a_failed_episode_is_in_no_metric_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, tags, _ = with_a_failure(monkeypatch)
    seen: list[list[str]] = []
    monkeypatch.setattr(PPOTrainer, "_compute_metrics", lambda self, batch, *_, **__: seen.append(batch.keys))
    made, metrics = make_trainer(), {}
    made._obey(Decisions(algorithm="wapo", failures=FailureBudget(share=0.5, reasons=["retriever"])))
    made.failures.begin_step(3)
    made.failures.look({"train": dict(zip(keys, tags, strict=True))}, {"train": {"a"}})
    made._compute_metrics(make_batch(keys, tags), metrics)
    assert seen == [keys[:2]]
    assert (metrics["episode/count"], metrics["reward/score/mean"]) == (2.0, 0.5)
    assert (metrics["failures/retriever"], metrics["failures/share"]) == (1.0, pytest.approx(1 / 3))


def test_the_dump_has_a_failed_episode_without_a_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, tags, _ = with_a_failure(monkeypatch)
    made = make_trainer()
    made.tokenizer = SimpleNamespace(decode=lambda ids, **_: " ".join(map(str, map(int, ids))))
    made._recorder = Recorder(made.config, made.decisions, made.tokenizer)
    made._init_dump_executor()
    made._log_rollout_data(make_batch(keys, tags), {}, str(tmp_path))
    made._shutdown_dump_executor()
    lines = read_json_lines(tmp_path / "1.jsonl")
    assert [(line["score"], line["failure"]) for line in lines] == [(1.0, None), (0.0, None), (None, "retriever")]
    assert lines[2]["failure_message"] == "RetrievalError: no index"
    assert (lines[2]["episode"]["outcome"], lines[2]["episode"]["failure"]) == ("failed", "retriever")


def test_a_validation_leaves_failed_samples_out_of_verls_numbers_too() -> None:
    infos = {"reward": [1.0, math.nan, 0.0], "score": [1.0, None, 0.0], "failure": [None, "verifier", None]}
    expected = {("miniwiki", "a"): 2, ("miniwiki", "b"): 1}
    metrics = make_trainer()._val_metrics_update(["miniwiki"] * 3, ["a", "a", "b"], infos, [1, 0, 3], expected)
    assert metrics["val-core/miniwiki/reward/mean@1"] == metrics["val/miniwiki/mean"] == 0.5
    assert metrics["val/miniwiki/failed/verifier"] == 1.0
    assert metrics["val-aux/num_turns/min"] == 1


def test_the_replay_buffer_gets_the_ledger_where_episodes_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PPOTrainer, "_build_replay_buffer", lambda self: SimpleNamespace(poll_interval=2.0))
    for budget, shown in ((FailureBudget(), False), (FailureBudget(undecided=True), True)):
        made = make_trainer()
        made._obey(Decisions(failures=budget))
        made.trainer_mode = "sync"
        assert (getattr(made._build_replay_buffer(), LEDGER, None) is made.failures) is shown
