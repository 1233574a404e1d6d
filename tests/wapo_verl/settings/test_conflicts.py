"""What in a run's settings contradicts something else, and what is said of it. veRL's own configuration; no GPU."""

import inspect
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import DictConfig, OmegaConf
from support.runs import ACTOR, ROLLOUT, WAPO, changed, composed, resolve, resolved

from retrieval_index import Document, build_index
from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.engine.step_plan import UNCLIPPED_LOSSES
from wapo_verl.environments.registry import environment
from wapo_verl.settings.keys import SettingsError
from wapo_verl.training.decisions import Decisions

LIMIT = "algorithm.filter_groups.max_num_gen_batches"
LOG = ("wapo.taxonomy.log", True)
BINS = ("wapo.taxonomy.include_bins", ["pos_peak"])
LINEAR = ("wapo.clip_schedule", {"kind": "linear", "final": 0.2})
MEASURED = ("wapo.taxonomy.losers", True)
KEPT = ("wapo.averaging", "kept_tokens")
GATE = ("wapo.outcome_gate", "exact_match")
LOSERS = ("wapo.negative_weights.neg_peak", 0.1)
ROLLBACK = ("wapo.guard.action", "rollback")
SAVING = ("trainer.save_freq", 5)
SLOWER = ("wapo.guard.on_rollback.lr_factor", 0.5)
TWO_RANKS = [("trainer.nnodes", 2), ("trainer.n_gpus_per_node", 1)]
MICRO = f"{ACTOR}.ppo_micro_batch_size_per_gpu"
APART = ("trainer.v1.trainer_mode", "separate_async")


@pytest.fixture(scope="module")
def run() -> DictConfig:
    return composed(WAPO)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        # Mini-batches.
        (
            [*TWO_RANKS, (f"{ACTOR}.ppo_mini_batch_size", 8), (f"{ROLLOUT}.n", 4), (MICRO, 32)],
            r"ppo_micro_batch_size_per_gpu=32: each of 2 ranks has 16 rows of a mini-batch, .* set a divisor of 16",
        ),
        ([*TWO_RANKS, (f"{ACTOR}.ppo_mini_batch_size", 8), (f"{ROLLOUT}.n", 4), (MICRO, 8)], None),
        (
            [("trainer.n_gpus_per_node", 8), (f"{ACTOR}.ppo_mini_batch_size", 3), (f"{ROLLOUT}.n", 4)],
            r"ppo_mini_batch_size=3: with .*n=4 makes 12 rows, which 8 ranks cannot share evenly",
        ),
        # The guard.
        ([("wapo.guard.action", "stop")], "wapo.guard.action=stop: needs checkpoints, and trainer.save_freq=-1 writes"),
        ([ROLLBACK, SAVING, (f"{ACTOR}.checkpoint.async_save", True)], "set .*checkpoint.async_save=False"),
        (
            [ROLLBACK, SAVING, ("trainer.v1.trainer_mode", "colocate_async")],
            r"take turns \(trainer.v1.trainer_mode=sync\), not in colocate_async",
        ),
        (
            [ROLLBACK, SAVING, (f"{ACTOR}.checkpoint.save_contents", ["model"])],
            r"goes back to weights, optimizer and .*checkpoint.save_contents leaves out optimizer, extra: add them",
        ),
        (
            [ROLLBACK, SAVING, (f"{ACTOR}.checkpoint.load_contents", ["model", "optimizer"])],
            "checkpoint.load_contents leaves out extra: add them, or set wapo.guard.action=stop",
        ),
        ([ROLLBACK, SAVING, SLOWER], None),
        ([("wapo.guard.action", "stop"), SAVING, SLOWER], "on_rollback has no effect with action=stop: set wapo.guard"),
        (
            [ROLLBACK, SAVING, SLOWER, (f"{ACTOR}.strategy", "megatron")],
            "wapo.guard.on_rollback: needs .*actor.strategy=fsdp or fsdp2, whose engine .*, and it is megatron",
        ),
        # Devices apart.
        (
            [APART, (f"{ACTOR}.ppo_mini_batch_size", 512)],
            "parameter_sync_step=4: .* must make data.train_batch_size=1024",
        ),
        (
            [APART, (f"{ROLLOUT}.nnodes", 0)],
            f"{ROLLOUT}.nnodes=0: trainer.v1.trainer_mode=separate_async has a rollout",
        ),
        ([APART], "checkpoint_engine.backend=naive: takes no weights to other devices"),
        # What no trainer would obey.
        ([("wapo.guard.action", "warn"), ("wapo.trainer", False)], "wapo.guard: only this project's trainer obeys it"),
        ([("wapo.guard.action", "warn"), ("trainer.v1.trainer_mode", "mine")], r"to one of sync, .* \(it is mine\)"),
        ([("wapo.trainer", True), ("trainer.v1.trainer_mode", "mine")], "wapo.trainer=true: .* one of sync, colocate"),
        ([("wapo.winners_kl", True), ("wapo.trainer", False)], "wapo.winners_kl: only this project's trainer obeys it"),
        # A step's plan.
        ([LINEAR, (f"{ACTOR}.policy_loss.loss_mode", "dro")], "nothing to move: .*loss_mode=dro has no upper clip"),
        ([("wapo.winners_kl", True)], "wapo.winners_kl: has no KL loss to act on: set .*use_kl_loss=True"),
        ([BINS, LOSERS, ("wapo.taxonomy.exclude_bins", None)], None),
        ([LOG, MEASURED], None),
        ([MEASURED], "losers are measured for the log alone: set .*taxonomy.log=true"),
        ([LOG, MEASURED, ("algorithm.adv_estimator", "dr_grpo")], "dr_grpo trains on losers, so .* already"),
        ([LOG, MEASURED, ("algorithm.adv_estimator", "raft")], "wapo.taxonomy.losers: a loser of raft carries"),
        ([KEPT], None),
        ([KEPT, (f"{ACTOR}.strategy", "megatron")], "wapo.averaging: needs .*actor.strategy=fsdp"),
        ([KEPT, ("wapo.trainer", False)], "wapo.averaging=kept_tokens: only this project's trainer obeys it"),
        # Sampling.
        ([(f"{ROLLOUT}.temperature", 0)], "temperature=0: gives 8 completions of a group that are all the same"),
        (
            [("trainer.device", "cpu"), (f"{ROLLOUT}.full_determinism", True)],
            "full_determinism=True: needs vLLM's batch-invariant kernels, .* leave it out on a CPU",
        ),
        (
            [("wapo.seeded_sampling", True), (f"{ROLLOUT}.name", "sglang")],
            "wapo.seeded_sampling=true: is for vLLM, and .*rollout.name=sglang: leave it out",
        ),
        ([(f"{ROLLOUT}.do_sample", False)], "do_sample=False: asks for 8 completions of a group that are all the same"),
        ([("algorithm.filter_groups.enable", True), (LIMIT, -1)], "max_num_gen_batches=-1: is no limit, and a step"),
    ],
    ids=str,
)
def test_a_contradiction_stops_the_run(settings: list[tuple[str, Any]], said: str | None, run: DictConfig) -> None:
    if said is None:
        resolve(changed(run, *settings))
        return
    with pytest.raises(SettingsError, match=said):
        resolve(changed(run, *settings))


def test_kept_tokens_are_counted_in_a_row(run: DictConfig) -> None:
    with pytest.raises(SettingsError, match=r"averaging=kept_tokens: divides within a row: set .*sum-norm"):
        resolved(WAPO, "+wapo.averaging=kept_tokens", f"{ACTOR}.loss_agg_mode=seq-mean-token-sum")


@pytest.mark.parametrize("strategy", ["megatron", "veomni"])
@pytest.mark.parametrize("setting", [LOG, BINS, LINEAR], ids=str)
def test_another_engine_is_refused(setting: tuple[str, Any], strategy: str, run: DictConfig) -> None:
    with pytest.raises(SettingsError, match=f"actor.strategy=fsdp or fsdp2, which is {strategy}"):
        resolve(changed(run, (f"{ACTOR}.strategy", strategy), setting))


def test_fused_kernels_are_refused_where_logits_are_needed(run: DictConfig) -> None:
    fused = changed(run, ("actor_rollout_ref.model.use_fused_kernels", True))
    for setting in (LOG, BINS):
        with pytest.raises(SettingsError, match="use_fused_kernels=False"):
            resolve(changed(fused, setting))
    resolve(changed(fused, LINEAR))


def test_of_verls_losses_just_those_read_no_upper_clip() -> None:
    from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY

    sources = {
        name: inspect.getsource(loss)
        for name, loss in POLICY_LOSS_REGISTRY.items()
        if loss.__module__.startswith("verl.") and name != "bypass_mode"  # which takes another mode's loss
    }
    unclipped = {name for name, source in sources.items() if "clip_ratio_high" not in source}
    assert unclipped == {name for name in UNCLIPPED_LOSSES if name not in ("wapo_reinforce", "topr")}


@pytest.mark.parametrize("name", [*sorted(ALGORITHMS), "grpo", "rloo"])
def test_losers_can_be_weighted_where_they_carry_something(name: str, run: DictConfig) -> None:
    config = changed(run, ("algorithm.adv_estimator", name), LOSERS)
    if name in ("raft", "raft_pp", "psr"):
        with pytest.raises(SettingsError, match=f"a loser of {name} carries no negative advantage"):
            resolve(config)
    else:
        resolve(config)
        assert Decisions.of(config).plans.negatives


def test_a_schedule_starts_at_the_clip_of_the_run(run: DictConfig) -> None:
    config = changed(run, LINEAR)
    printed = resolve(config)
    assert Decisions.of(config).plans.at(1, 5).clip_ratio_high == 9.0
    assert "clip_ratio_high from 9 to 0.2" in printed
    config = changed(run, ("algorithm.adv_estimator", "grpo"), LINEAR, (f"{ACTOR}.clip_ratio_high", None))
    resolve(config)
    assert Decisions.of(config).plans.at(1, 5).clip_ratio_high == config.actor_rollout_ref.actor.clip_ratio


def test_a_warning_needs_no_checkpoints_and_stopping_works_in_every_mode(run: DictConfig) -> None:
    resolve(changed(run, ("wapo.guard.action", "warn")))
    resolve(changed(run, ("wapo.guard.action", "stop"), SAVING, ("trainer.v1.trainer_mode", "colocate_async")))


def test_evaluating_a_checkpoint_leaves_the_guard_out(run: DictConfig) -> None:
    for only, guarded in ((True, False), (False, True)):
        config = changed(run, ("wapo.guard.action", "warn"), ("trainer.val_only", only))
        resolve(config)
        assert (Decisions.of(config).guard is not None) is guarded


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("top_p", 0.9, "in bypass mode the old log-probs are the rollout's, here of another distribution"),
        ("top_k", 20, "every ratio is off"),
        ("min_p", 0.05, "every ratio is off"),
        ("repetition_penalty", 1.1, "every ratio is off"),
    ],
)
def test_sampling_from_another_distribution_is_a_warning(key: str, value: float, said: str, run: DictConfig) -> None:
    config = changed(run, (f"{ROLLOUT}.{key}", value))
    assert f"warning: {ROLLOUT}.{key}={value}: " in resolve(changed(config))
    assert said in resolve(changed(config))
    assert "every ratio is off" not in resolve(changed(config), "algorithm.rollout_correction.bypass_mode")


def test_raw_log_probs_are_a_warning_where_a_temperature_makes_them_others(run: DictConfig) -> None:
    raw = changed(run, (f"{ROLLOUT}.logprobs_mode", "raw_logprobs"))
    assert "every ratio is off" not in resolve(changed(raw))
    assert "leaves out temperature=0.7" in resolve(changed(raw, (f"{ROLLOUT}.temperature", 0.7)))


def test_the_group_filter_gets_a_limit_under_our_trainer() -> None:
    on = {"algorithm__filter_groups__enable": True}
    config = resolved(WAPO, **on)
    assert (OmegaConf.select(config, LIMIT), Decisions.of(config).filter_batches) == (10, 10)
    config = resolved(WAPO, **on, algorithm__filter_groups__max_num_gen_batches=3)
    assert (OmegaConf.select(config, LIMIT), Decisions.of(config).filter_batches) == (3, 3)
    config = resolved(WAPO)
    assert (OmegaConf.select(config, LIMIT), Decisions.of(config).filter_batches) == (0, None)
    assert OmegaConf.select(resolved(WAPO, **on, wapo__trainer=False), LIMIT) == 0, "veRL's own trainer ignores it"


@pytest.fixture
def train(tmp_path: Path) -> Path:
    """Eight rows of the miniwiki environment."""
    miniwiki = environment("miniwiki")
    examples = [example for example, _ in zip(miniwiki.examples("train", None), range(8), strict=False)]
    rows = [miniwiki.row(example, "train", index) for index, example in enumerate(examples)]
    pd.DataFrame(rows).to_parquet(tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


def test_a_data_set_smaller_than_a_batch_is_one_sentence(train: Path, run: DictConfig) -> None:
    config = changed(run, ("data.train_files", str(train)), ("data.train_batch_size", 16))
    with pytest.raises(SettingsError, match=r"^data.train_batch_size=16: data.train_files has 8 rows, fewer than one"):
        resolve(config)
    resolve(changed(config, ("data.train_batch_size", 8)))
    resolve(changed(config, ("data.train_files", [str(train), str(train)])))
    resolve(changed(config, ("data.train_files", "hdfs://somewhere/train.parquet")))


REWARD = "reward.custom_reward_function"
OURS = (f"{REWARD}.path", "pkg://wapo_verl.reward")


def test_a_shaped_reward_without_a_gate_is_warned_of(train: Path, run: DictConfig) -> None:
    files = (("data.train_files", str(train)), ("data.train_batch_size", 4))
    config = changed(run, *files, OURS, (f"{REWARD}.reward_kwargs.weights", "published"))
    printed = resolve(config)
    assert "miniwiki pays for turn_format, f1 beside exact_match, so completions win in groups without" in printed
    decisions = Decisions.of(config)
    assert (decisions.outcome_parts, decisions.outcome_gate) == (["exact_match"], False)
    gated = changed(run, *files, OURS, (f"{REWARD}.reward_kwargs.weights", "published"), GATE)
    printed = resolve(gated)
    assert "wapo.outcome_gate" in printed
    assert "pays for" not in printed
    decisions = Decisions.of(gated)
    assert (decisions.outcome_parts, decisions.outcome_gate) == (["exact_match"], True)
    plain = changed(run, *files, OURS)
    assert "pays for" not in resolve(plain)
    assert Decisions.of(plain).outcome_parts == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            [("wapo.outcome_gate", "exactmatch")],
            "exactmatch: rows of miniwiki have no such reward: choose .*exact_match",
        ),
        ([GATE, ("algorithm.adv_estimator", "grpo")], "is veRL's and lets every completion win that beats its group"),
        ([GATE, ("wapo.trainer", False)], "wapo.outcome_gate=exact_match: only this project's trainer obeys it"),
    ],
    ids=str,
)
def test_a_gate_that_nobody_obeys_is_refused(
    settings: list[tuple[str, Any]], said: str, train: Path, run: DictConfig
) -> None:
    files = (("data.train_files", str(train)), ("data.train_batch_size", 4))
    with pytest.raises(SettingsError, match=said):
        resolve(changed(run, *files, OURS, *settings))


def test_a_filter_metric_that_no_completion_has_is_named_at_the_start(train: Path, run: DictConfig) -> None:
    config = changed(
        run,
        ("data.train_files", str(train)),
        ("data.train_batch_size", 4),
        ("algorithm.filter_groups.enable", True),
        ("reward.custom_reward_function.path", "pkg://wapo_verl.reward"),
    )
    for metric in ("reward", "score", "exact_match"):
        resolve(changed(config, ("algorithm.filter_groups.metric", metric)))
    with pytest.raises(SettingsError, match="metric=acc: rows of miniwiki have no such reward: choose reward, score"):
        resolve(changed(config, ("algorithm.filter_groups.metric", "acc")))
    verls = changed(config, ("reward.custom_reward_function.path", None))
    resolve(changed(verls, ("algorithm.filter_groups.metric", "acc")))
    with pytest.raises(SettingsError, match="metric=accc: veRL's own rewards have no such reward: choose reward, acc"):
        resolve(changed(verls, ("algorithm.filter_groups.metric", "accc")))
    own = changed(config, ("reward.custom_reward_function.path", "mine.py"))
    resolve(changed(own, ("algorithm.filter_groups.metric", "acc")))


@pytest.mark.parametrize(
    ("source", "gold", "gate"),
    [
        ("searchR1_nq", {"target": ["Paris"]}, "exact_match"),
        ("gsm8k", {"answers": ["72"], "answer_format": "boxed", "match": "expression", "problem": "2 * 36"}, "correct"),
    ],
)
def test_rows_that_another_project_names_have_their_environments_rewards(
    source: str, gold: Any, gate: str, tmp_path: Path, run: DictConfig
) -> None:
    rows = [{"data_source": source, "reward_model": {"style": "rule", "ground_truth": gold}}] * 4
    pd.DataFrame(rows).to_parquet(tmp_path / "train.parquet")
    config = changed(run, ("data.train_files", str(tmp_path / "train.parquet")), ("data.train_batch_size", 4), OURS)
    resolve(changed(config, ("wapo.outcome_gate", gate)))
    with pytest.raises(SettingsError, match=f"typo: rows of {source} have no such reward: choose .*{gate}"):
        resolve(changed(config, ("wapo.outcome_gate", "typo")))


def test_a_response_that_holds_no_long_result_is_a_warning(tmp_path: Path, run: DictConfig) -> None:
    build_index([Document("a", "A", "a text")], tmp_path / "index")
    config = changed(run, ("wapo.search_agent.index", str(tmp_path / "index")))
    assert (
        "warning: data.max_response_length=512: a search may return 3 passages of up to 512 tokens, 1536 in all"
    ) in resolve(changed(config))
    assert "context_full" not in resolve(changed(config, ("wapo.search_agent.passage_tokens", 100)))
    assert "context_full" not in resolve(changed(config, ("data.max_response_length", 4096)))


def test_another_rollout_engine_cannot_stop_a_turn(tmp_path: Path, run: DictConfig) -> None:
    build_index([Document("a", "A", "a text")], tmp_path / "index")
    config = changed(run, ("wapo.search_agent.index", str(tmp_path / "index")), (f"{ROLLOUT}.name", "sglang"))
    with pytest.raises(SettingsError, match=r"rollout.name=sglang is not supported, set it to vllm"):
        resolve(config)


@pytest.mark.parametrize("turns", [-1, "many"])
def test_a_number_of_turns_that_cannot_be_is_named(turns: Any, run: DictConfig) -> None:
    key = f"{ROLLOUT}.multi_turn.max_assistant_turns"
    with pytest.raises(SettingsError, match=f"{key} is max_turns of an episode and must be a whole number"):
        resolve(changed(run, ("wapo.search_agent.index", "x"), (key, turns)))
