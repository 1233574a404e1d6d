"""Which settings a run gets: the algorithm's, the CPU's, the agent loops', the trainer's. No Ray, no GPU, no vLLM."""

import copy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.hydra_runs import compose_run
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config

from retrieval_index import Document, build_index
from wapo_verl.cpu.defaults import CPU_DEFAULTS
from wapo_verl.rollout import FAIL_FAST_MANAGER, TOOL_CONFIG
from wapo_verl.rollout.seeds import SEED
from wapo_verl.rollout.settings import SearchAgentConfig
from wapo_verl.settings import decide
from wapo_verl.settings import run as run_settings
from wapo_verl.training.decisions import Decisions

BATCHES = [
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=4",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=4",
    "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=4",
    "actor_rollout_ref.actor.ppo_mini_batch_size=16",
    "data.train_batch_size=16",
]


def make_config(*overrides: str) -> Any:
    return compose_run(*BATCHES, *overrides)


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wapo_verl.cpu.where.accelerator", lambda: None)
    for variable in ("RAY_ADDRESS", "VERL_PLATFORM"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERL_PLATFORM", "nvidia")


def test_wapo_alone_on_a_cpu_is_a_valid_run(cpu: None) -> None:
    config = make_config("algorithm.adv_estimator=wapo")
    validate_config(config, need_reference_policy(config), need_critic(config))
    assert config.trainer.v1.trainer_mode == "wapo_sync"
    assert config.actor_rollout_ref.rollout.agent.agent_loop_manager_class == FAIL_FAST_MANAGER
    for key, value in CPU_DEFAULTS.items():
        if not callable(value):
            assert run_settings.OmegaConf.select(config, key) == value, key
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert actor.strategy == "fsdp2"
    assert actor.fsdp_config.mixed_precision["param_dtype"] == "fp32"


def test_a_gpu_run_gets_no_cpu_settings(gpu: None) -> None:
    config = make_config("algorithm.adv_estimator=wapo")
    run_settings.apply(config)
    assert config.trainer.device == "cuda"
    assert config.actor_rollout_ref.actor.strategy == "fsdp"
    assert config.trainer.v1.trainer_mode == "wapo_sync"


def test_verls_own_algorithms_are_left_alone(gpu: None) -> None:
    config, untouched = make_config("algorithm.adv_estimator=grpo"), make_config("algorithm.adv_estimator=grpo")
    run_settings.apply(config)
    assert config == untouched


SEPARATE = [
    "trainer.v1.trainer_mode=separate_async",
    "trainer.v1.separate_async.parameter_sync_step=1",
    "actor_rollout_ref.rollout.nnodes=1",
    "actor_rollout_ref.rollout.checkpoint_engine.backend=nccl",
]


@pytest.mark.parametrize(
    ("overrides", "seed"),
    [
        (["trainer.device=cpu", "actor_rollout_ref.rollout.seed=3"], 3),
        (["trainer.device=cpu", "+wapo.seeded_sampling=false"], None),
        (["actor_rollout_ref.rollout.name=vllm"], None),
        (["actor_rollout_ref.rollout.name=vllm", "+wapo.seeded_sampling=true"], 42),
        (["actor_rollout_ref.rollout.name=vllm", "actor_rollout_ref.rollout.full_determinism=True"], 42),
        (["actor_rollout_ref.rollout.name=sglang", "actor_rollout_ref.rollout.full_determinism=True"], None),
    ],
    ids=str,
)
def test_completions_are_seeded_on_a_cpu_and_on_request(gpu: None, overrides: list[str], seed: int | None) -> None:
    config = make_config("algorithm.adv_estimator=wapo", *overrides)
    run_settings.apply(config)
    assert run_settings.OmegaConf.select(config, SEED) == seed


@pytest.mark.parametrize(
    ("overrides", "mode"),
    [
        (["algorithm.adv_estimator=wapo", "+wapo.trainer=false"], "sync"),
        (["algorithm.adv_estimator=grpo", "+wapo.trainer=true"], "wapo_sync"),
        (["algorithm.adv_estimator=wapo", "trainer.v1.trainer_mode=colocate_async"], "wapo_colocate_async"),
        (["algorithm.adv_estimator=wapo", *SEPARATE], "wapo_separate_async"),
    ],
)
def test_the_trainer_can_be_chosen(gpu: None, overrides: list[str], mode: str) -> None:
    config = make_config(*overrides)
    run_settings.apply(config)
    assert config.trainer.v1.trainer_mode == mode


@pytest.mark.parametrize("algorithm", ["wapo", "grpo"])
def test_on_the_cpu_separate_async_gets_a_rollout_and_a_way_for_the_weights(cpu: None, algorithm: str) -> None:
    """Under veRL's own trainer too; what the user chose stays."""
    mode = [*SEPARATE[:2], "trainer.device=cpu", f"algorithm.adv_estimator={algorithm}"]
    config = make_config(*mode, "trainer.n_gpus_per_node=2")
    run_settings.apply(config)
    rollout = config.actor_rollout_ref.rollout
    assert (rollout.nnodes, rollout.n_gpus_per_node, rollout.checkpoint_engine.backend) == (1, 1, "gloo")
    assert rollout.checkpoint_engine.custom_backend_module == "wapo_verl.cpu.checkpoint_engine"
    assert config.ray_kwargs.ray_init.num_gpus == 3, "two ranks of the trainer, one rollout"
    chosen = make_config(*mode, "actor_rollout_ref.rollout.checkpoint_engine.backend=nixl")
    run_settings.apply(chosen)
    assert chosen.actor_rollout_ref.rollout.checkpoint_engine.backend == "nixl"
    assert chosen.ray_kwargs.ray_init.num_gpus == 2
    sync = make_config("trainer.device=cpu", f"algorithm.adv_estimator={algorithm}")
    run_settings.apply(sync)
    assert sync.actor_rollout_ref.rollout.checkpoint_engine.backend == "naive"


def test_the_head_of_a_gpu_cluster_is_no_cpu_run(cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_settings.on_cpu(make_config())
    assert not run_settings.on_cpu(make_config("trainer.nnodes=2"))
    assert not run_settings.on_cpu(make_config("+ray_kwargs.ray_init.address=10.0.0.1:6379"))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert not run_settings.on_cpu(make_config())
    assert run_settings.on_cpu(make_config("trainer.device=cpu"))


def test_a_searching_run_is_guarded_and_scored_whatever_its_algorithm(gpu: None, tmp_path: Path) -> None:
    build_index([Document("a", "A", "a text")], tmp_path / "index")
    config = make_config("algorithm.adv_estimator=grpo", f"+wapo.search_agent.index={tmp_path / 'index'}")
    run_settings.apply(config)
    assert config.actor_rollout_ref.rollout.agent.agent_loop_manager_class == FAIL_FAST_MANAGER
    assert config.reward.custom_reward_function.path == "pkg://wapo_verl.reward"
    assert config.trainer.v1.trainer_mode == "sync"


def test_a_searching_runs_prompts_are_counted_as_its_loops_build_them(gpu: None, tmp_path: Path) -> None:
    build_index([Document("a", "A", "a text")], tmp_path / "index")
    search = f"+wapo.search_agent.index={tmp_path / 'index'}"
    tools = "actor_rollout_ref.rollout.agent.default_agent_loop=search_tool_agent"
    for overrides, custom_cls, tool_config in (
        ([search], "pkg://wapo_verl.rollout.rows", None),
        ([search, tools], "pkg://wapo_verl.rollout.rows", TOOL_CONFIG),
        (
            [search, tools, "actor_rollout_ref.rollout.multi_turn.tool_config_path=own.yaml"],
            "pkg://wapo_verl.rollout.rows",
            "own.yaml",
        ),
        ([search, "data.custom_cls.path=own.py", "data.custom_cls.name=Own"], "own.py", None),
        ([], None, None),
    ):
        config = make_config(*overrides)
        run_settings.apply(config)
        assert config.data.custom_cls.path == custom_cls
        assert config.data.tool_config_path == tool_config


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+wapo.search_agent.index=/nowhere", "wapo.search_agent.index: there is no index at /nowhere"),
        ("+wapo.search_agent.top_k=3", "index is not set"),
        ("+wapo.search_agent.topk=3", r"wapo.search_agent.topk is not a key of this project: did you mean .*top_k\?"),
    ],
)
def test_a_wrong_search_setting_stops_before_anything_starts(gpu: None, override: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run_settings.apply(make_config("algorithm.adv_estimator=wapo", override))


def test_the_keys_of_a_plan_choose_our_trainer_and_are_shown(gpu: None, capsys: pytest.CaptureFixture) -> None:
    config = make_config("algorithm.adv_estimator=grpo", "+wapo.taxonomy.include_bins=[peak]")
    run_settings.apply(config)
    assert config.trainer.v1.trainer_mode == "wapo_sync"
    shown = capsys.readouterr().out
    assert "wapo.taxonomy.include_bins" in shown
    assert "weights: pos_peak 1, pos_valley 0, neg_peak 1, neg_valley 0" in shown


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["+wapo.taxonomy.log=true", "+wapo.trainer=false"], "wapo.taxonomy: only this project's trainer obeys it"),
        (["+wapo.taxonomy.include_bins=[peek]"], "peek"),
        (["+wapo.clip_schedule.kind=linear"], "wapo.clip_schedule: a linear schedule needs `final`"),
    ],
)
def test_a_plan_that_cannot_be_obeyed_stops_before_anything_starts(gpu: None, overrides: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run_settings.apply(make_config("algorithm.adv_estimator=wapo", *overrides))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["+wapo.gaurd.action=stop"], r"wapo.gaurd is not a key of this project: did you mean wapo.guard\?"),
        (["+wapo.xyz=1"], "wapo.xyz is not a key of this project: there are trainer, winners_only"),
        (
            ["+wapo.group_weight=clip_filter"],
            "wapo.group_weight is an option of cpgd, and algorithm.adv_estimator is wapo",
        ),
        (["+wapo.advantage=group_std", "algorithm.adv_estimator=grpo"], "an option of wapo, .*adv_estimator is grpo:"),
        (
            ["+wapo.truncated=zero", "+wapo.trainer=false"],
            "wapo.truncated=zero: only this project's trainer obeys it",
        ),
    ],
)
def test_a_key_that_nothing_reads_stops_the_run(gpu: None, overrides: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run_settings.apply(make_config("algorithm.adv_estimator=wapo", *overrides))


def test_our_trainer_named_and_declined_is_a_contradiction(gpu: None) -> None:
    mode = "trainer.v1.trainer_mode=wapo_sync"
    with pytest.raises(ValueError, match=r"trainer_mode=wapo_sync: wapo.trainer=false declines this project's trainer"):
        run_settings.apply(make_config("algorithm.adv_estimator=wapo", mode, "+wapo.trainer=false"))


def test_our_trainer_by_its_name_gets_what_it_needs(gpu: None) -> None:
    config = make_config("algorithm.adv_estimator=grpo", "trainer.v1.trainer_mode=wapo_sync")
    run_settings.apply(config)
    assert config.actor_rollout_ref.rollout.agent.agent_loop_manager_class == FAIL_FAST_MANAGER
    assert config.trainer.v1.trainer_mode == "wapo_sync"


def test_an_option_at_its_default_stands_with_verls_own_trainer(gpu: None) -> None:
    run_settings.apply(make_config("algorithm.adv_estimator=wapo", "+wapo.truncated=keep", "+wapo.trainer=false"))


def test_rays_processes_get_the_folders_of_environments(
    gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"{run_settings.RAY_VARIABLES}.WAPO_ENVIRONMENTS"
    config = make_config("algorithm.adv_estimator=wapo")
    run_settings.apply(config)
    assert run_settings.OmegaConf.select(config, key) is None
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAPO_ENVIRONMENTS", "mine")
    config = make_config("algorithm.adv_estimator=wapo")
    run_settings.apply(config)
    assert run_settings.OmegaConf.select(config, key) == str(tmp_path / "mine")


def test_the_decisions_are_written_where_the_trainer_and_the_loops_read_them(gpu: None, tmp_path: Path) -> None:
    build_index([Document("a", "A", "a text")], tmp_path / "index")
    config = make_config(
        "algorithm.adv_estimator=wapo",
        "+wapo.truncated=zero",
        "+wapo.clip_schedule.kind=constant",
        f"+wapo.search_agent.index={tmp_path / 'index'}",
        "+wapo.search_agent.top_k=2",
        "actor_rollout_ref.rollout.multi_turn.max_assistant_turns=4",
    )
    run_settings.apply(config)
    decisions = Decisions.of(config)
    assert decisions.options == {"truncated": "zero", "advantage": "none", "averaging": "own"}
    assert (decisions.winners_only, decisions.guard, decisions.filter_batches) == (True, None, None)
    assert decisions.parts_are_declared
    assert decisions.plans.at(3, 5).clip_ratio_high == 9.0
    settings = SearchAgentConfig.from_config(config)
    assert (settings.index, settings.top_k, settings.max_turns) == (str(tmp_path / "index"), 2, 4)


def test_each_decision_is_made_once(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks again: the table of conflicts and what is printed read what was decided."""
    calls: list[str] = []

    def counted(module: ModuleType, name: str) -> None:
        original = getattr(module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    for module, names in (
        (run_settings, ("read", "trainer_is_ours", "search_agent", "decide", "conflicts")),
        (decide, ("why_all_rows", "plans", "step_plans")),
    ):
        for name in names:
            counted(module, name)
    config = make_config(
        "algorithm.adv_estimator=wapo",
        "+wapo.taxonomy.log=true",
        "+wapo.guard.action=warn",
        "algorithm.filter_groups.enable=True",
    )
    run_settings.apply(config)
    assert sorted(calls) == sorted(
        ["read", "trainer_is_ours", "search_agent", "decide", "conflicts", "why_all_rows", "plans", "step_plans"]
    )


def test_resolving_again_changes_nothing(gpu: None) -> None:
    config = make_config("algorithm.adv_estimator=wapo", "+wapo.guard.action=warn")
    run_settings.apply(config)
    once = copy.deepcopy(config)
    run_settings.apply(config)
    assert config == once
