"""The patches: applied when they are needed, once, and of no effect where a run does not ask. No GPU, no Ray."""

import importlib
import os
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import verl
from omegaconf import OmegaConf
from support.paths import ROOT

from wapo_verl.verl_plugin import patches, start


@pytest.mark.parametrize("patch", patches.PATCHES, ids=lambda patch: f"{patch.module}.{patch.function}")
def test_is_applied_when_it_is_needed(patch: patches.Patch) -> None:
    if patch.needed_by:
        importlib.import_module(patch.needed_by)
    assert patch.applied(importlib.import_module(patch.module))


def test_main_ppo_calls_the_patched_functions() -> None:
    main_ppo = importlib.import_module("verl.trainer.main_ppo")
    assert hasattr(main_ppo.validate_config, "__wapo_verl_patch__")
    assert hasattr(main_ppo.auto_set_device, "__wapo_verl_patch__")
    trainers = importlib.import_module("verl.trainer.ppo.v1")
    assert hasattr(trainers.get_trainer_cls, "__wapo_verl_patch__")
    losses = importlib.import_module("verl.workers.utils.losses")
    assert hasattr(losses.get_policy_loss_fn, "__wapo_verl_patch__")
    engine_workers = importlib.import_module("verl.workers.engine_workers")
    assert hasattr(engine_workers.initialize_global_process_group_ray, "__wapo_verl_patch__")


@pytest.mark.parametrize("function", ["moved", "Class.moved"])
def test_a_seam_that_is_gone_is_left_alone(function: str) -> None:
    module = ModuleType("verl.somewhere")
    patch = patches.Patch("verl.somewhere", function, "because", wrap=lambda original: original)
    patch.apply(module)
    assert not patch.applied(module)


def test_applying_twice_wraps_once() -> None:
    module = SimpleNamespace(function=lambda: 1)
    patch = patches.Patch("module", "function", "because", wrap=lambda f: patches.marked(f, lambda: f() + 1))
    patch.apply(module)
    patch.apply(module)
    assert module.function() == 2


def test_a_metric_with_its_own_reduction_passes_through() -> None:
    from verl.utils.metric import AggregationType, Metric

    import wapo_verl.engine.loss_metrics  # noqa: F401  which is what needs it

    largest = Metric(AggregationType.MAX, 3.0)
    found = Metric.from_dict({"largest": largest, "plain": 1.0}, AggregationType.MEAN)
    assert found["largest"] is largest
    assert found["plain"].aggregation == AggregationType.MEAN


def test_settings_of_a_run_that_asks_are_resolved_before_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(start, "start", lambda config: seen.append("resolved"))
    validate = patches._start_before_validation(lambda config, **_: seen.append("validated"))
    validate(OmegaConf.create({"wapo": {"trainer": True}}), use_reference_policy=False, use_critic=False)
    assert seen == ["resolved", "validated"]


@pytest.mark.parametrize("config", [OmegaConf.create({"algorithm": {"adv_estimator": "grpo"}}), OmegaConf.create({})])
def test_those_of_another_run_are_left_alone(monkeypatch: pytest.MonkeyPatch, config: Any) -> None:
    monkeypatch.delenv("VERL_PLATFORM", raising=False)
    monkeypatch.setattr(start, "start", lambda config: pytest.fail("the run asks for nothing of ours"))
    validated: list[Any] = []
    patches._start_before_validation(lambda config, **_: validated.append(config))(config, use_critic=False)
    assert validated == [config]


def test_trainer_device_cpu_is_seen_before_verl_writes_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(start, "use_cpu", lambda: seen.append("cpu"))
    set_device = patches._keep_the_cpu(lambda config: seen.append("verl"))
    set_device(OmegaConf.create({"trainer": {"device": "cpu"}}))
    set_device(OmegaConf.create({"trainer": {"device": "cuda"}}))
    set_device(None)
    assert seen == ["cpu", "verl", "verl", "verl"]


def test_the_cpu_is_named_once_in_the_process_group() -> None:
    asked: list[str | None] = []
    initialize = patches._name_the_cpu_once(lambda timeout_second, backend: asked.append(backend))
    initialize()
    initialize(backend="cpu:gloo")
    assert asked == ["gloo" if verl.utils.device.get_device_name() == "cpu" else None, "cpu:gloo"]


def test_names_that_verl_does_not_know_are_found_or_refused_as_it_refuses_them() -> None:
    from verl.trainer.ppo import core_algos
    from verl.trainer.ppo.v1 import get_trainer_cls

    assert core_algos.get_adv_estimator_fn("wapo").__module__ == "wapo_verl.verl_plugin.algorithms"
    assert core_algos.get_policy_loss_fn("wapo").__module__ == "wapo_verl.verl_plugin.algorithms"
    assert get_trainer_cls("wapo_sync").__module__.startswith("wapo_verl.training")
    for get in (core_algos.get_adv_estimator_fn, core_algos.get_policy_loss_fn, get_trainer_cls):
        with pytest.raises(ValueError, match="wapoo"):
            get("wapoo")
    assert core_algos.get_adv_estimator_fn(core_algos.AdvantageEstimator.GRPO).__module__.startswith("verl.")


def test_a_name_that_another_plugin_has_taken_stays_its_own() -> None:
    from verl.trainer.ppo import core_algos

    def theirs() -> None: ...

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(core_algos.ADV_ESTIMATOR_REGISTRY, "raft", theirs)
        assert core_algos.get_adv_estimator_fn("raft") is theirs


OURS, THEIRS = (
    SimpleNamespace(agent=SimpleNamespace(agent_loop_manager_class=name))
    for name in ("wapo_verl.rollout.fail_fast.FailFastAgentLoopManager", None)
)


@pytest.mark.parametrize(
    ("rollout", "name"), [(OURS, "01000000-10.0.0.1-6379"), (THEIRS, "01000000")], ids=["ours", "another run"]
)
def test_a_run_of_ours_has_sockets_of_its_own(monkeypatch: pytest.MonkeyPatch, rollout: Any, name: str) -> None:
    """Case 9 of runs.md: every local Ray calls its first job 01000000, so two runs on a machine shared a socket."""
    import ray

    context = SimpleNamespace(get_job_id=lambda: "01000000", gcs_address="10.0.0.1:6379")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setenv("VERL_RAY_JOB_ID", "")

    def sender(adapter: Any) -> None:
        adapter.config, adapter.zmq_handle = rollout, "ipc:///tmp/rl-colocate-zmq-01000000-replica-0-rank-0.sock"

    def receiver(server: Any) -> None:
        server.config = rollout
        os.environ["VERL_RAY_JOB_ID"] = "01000000"

    adapter, server = SimpleNamespace(), SimpleNamespace()
    patches._name_the_senders_socket(sender)(adapter)
    patches._name_the_receivers_socket(receiver)(server)
    assert adapter.zmq_handle == f"ipc:///tmp/rl-colocate-zmq-{name}-replica-0-rank-0.sock"
    assert os.environ["VERL_RAY_JOB_ID"] == name


def test_the_guest_page_counts_the_functions_that_every_run_of_verl_has_wrapped() -> None:
    always = {patch.function for patch in patches.PATCHES if not patch.needed_by}
    assert len(always) == 7
    assert "wraps seven functions" in (ROOT / "docs" / "guest.md").read_text()
