"""Which runs ask for this package. No GPU, no Ray; nothing is composed by Hydra."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from wapo_verl.verl_plugin import asks

ROLLOUT = "actor_rollout_ref.rollout"


def config(key: str, value: Any) -> Any:
    made = OmegaConf.create({"algorithm": {"adv_estimator": "grpo"}, "trainer": {"device": "cuda"}})
    OmegaConf.update(made, key, value, force_add=True)
    return made


@pytest.fixture(autouse=True)
def no_platform_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VERL_PLATFORM", raising=False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("algorithm.adv_estimator", "wapo"),
        ("algorithm.adv_estimator", "dr_grpo"),
        ("actor_rollout_ref.actor.policy_loss.loss_mode", "wapo"),
        ("trainer.v1.trainer_mode", "wapo_sync"),
        ("trainer.device", "cpu"),
        (f"{ROLLOUT}.agent.default_agent_loop", "search_tool_agent"),
        (f"{ROLLOUT}.agent.agent_loop_manager_class", "wapo_verl.rollout.fail_fast.FailFastAgentLoopManager"),
        ("reward.custom_reward_function.path", "pkg://wapo_verl.reward"),
        ("reward.custom_reward_function.path", "/venv/lib/python3.11/site-packages/wapo_verl/reward.py"),
        (f"{ROLLOUT}.engine_kwargs.vllm.worker_extension_cls", "wapo_verl.cpu.vllm_worker.CPUWorkerExtension"),
        ("actor_rollout_ref.model.external_lib", ["torch", "wapo_verl.verl_plugin.step_plan_engine"]),
    ],
)
def test_one_setting_is_enough(key: str, value: Any) -> None:
    assert list(asks.asked(config(key, value))) == [key]


def test_any_key_of_our_own_group_asks() -> None:
    assert list(asks.asked(config("wapo.search_agent.index", "world"))) == ["wapo.search_agent"]
    assert asks.asked(config("wapo.trainer", False)) == {"wapo.trainer": "False"}


def test_the_platform_variable_asks_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERL_PLATFORM", "cpu")
    assert asks.asks_for_ours(config("trainer.nnodes", 1))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("algorithm.adv_estimator", "grpo"),
        ("algorithm.adv_estimator", "gae"),
        ("algorithm.adv_estimator", "somebody_elses"),
        ("algorithm.adv_estimator", None),
        ("actor_rollout_ref.actor.policy_loss.loss_mode", "vanilla"),
        ("trainer.v1.trainer_mode", "sync"),
        ("trainer.project_name", "wapo_verl.comparison"),
        ("trainer.experiment_name", "wapo_verl.grpo_baseline"),
        ("trainer.default_local_dir", "/ckpts/wapo_verl/run1"),
        ("data.train_files", ["/data/wapo_verl/train.parquet"]),
        (f"{ROLLOUT}.agent.default_agent_loop", "tool_agent"),
        ("reward.custom_reward_function.path", "/home/me/rewards/my_reward.py"),
        (f"{ROLLOUT}.agent.agent_loop_config_path", "/no/such/file.yaml"),
    ],
)
def test_none_of_these_does(key: str, value: Any) -> None:
    assert not asks.asks_for_ours(config(key, value))


@pytest.mark.parametrize("empty", [OmegaConf.create({}), {}, None])
def test_neither_an_empty_configuration_nor_something_else_does(empty: Any) -> None:
    assert not asks.asks_for_ours(empty)


@pytest.mark.parametrize("key", [f"{ROLLOUT}.agent.agent_loop_config_path", f"{ROLLOUT}.multi_turn.tool_config_path"])
def test_files_that_name_our_classes_ask(tmp_path: Path, key: str) -> None:
    ours, theirs = tmp_path / "ours.yaml", tmp_path / "theirs.yaml"
    ours.write_text("- name: my_search\n  _target_: wapo_verl.rollout.search_agent.SearchAgentLoop\n")
    theirs.write_text("# not wapo_verl, but\n- name: mine\n  _target_: my.agent.Loop\n")
    assert asks.asked(config(key, str(ours))) == {key: str(ours)}
    assert not asks.asks_for_ours(config(key, str(theirs)))


def test_an_estimator_that_another_plugin_registered_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    from verl.trainer.ppo import core_algos

    monkeypatch.setitem(core_algos.ADV_ESTIMATOR_REGISTRY, "raft", lambda: None)
    assert not asks.asks_for_ours(config("algorithm.adv_estimator", "raft"))
    monkeypatch.delitem(core_algos.ADV_ESTIMATOR_REGISTRY, "raft")
    assert asks.asks_for_ours(config("algorithm.adv_estimator", "raft"))


def test_the_agent_loops_are_where_the_names_say() -> None:
    from hydra.utils import get_class
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry

    for name, target in asks.AGENT_LOOPS.items():
        assert get_class(target)
        assert _agent_loop_registry[name]["_target_"] == target
