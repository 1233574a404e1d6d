"""Every patch on veRL still fits the seam it was written for. No GPU, no Ray, no vLLM.

These are contract tests: they fail when upstream moves, before a run does.
"""

import importlib
import inspect
from types import ModuleType, SimpleNamespace

import pytest
import verl
from omegaconf import OmegaConf

from wapo_verl.verl_plugin import patches as patches


def test_the_installed_verl_is_the_patched_one() -> None:
    assert verl.__version__ == patches.VERSION


@pytest.mark.parametrize("patch", patches.PATCHES, ids=lambda patch: patch.function)
def test_is_applied_by_importing_verl(patch: patches.Patch) -> None:
    assert patch.applied(importlib.import_module(patch.module))


@pytest.mark.parametrize(
    ("module", "function", "parameters"),
    [
        ("verl.utils.config", "validate_config", ["config", "use_reference_policy", "use_critic"]),
        ("verl.utils.distributed", "initialize_global_process_group_ray", ["timeout_second", "backend"]),
        ("verl.utils.metric", "Metric.from_dict", ["cls", "data", "aggregation"]),
        ("verl.trainer.ppo.v1.replay_buffer", "ReplayBuffer._sync_metadata_from_transfer_queue", ["self"]),
        (
            "verl.utils.tokenizer.continuous_token_wiring",
            "get_continuous_token_builder_class",
            ["model_family"],
        ),
        (
            "verl.experimental.agent_loop.tool_agent_loop",
            "ToolAgentLoop._call_tool",
            ["self", "tool_call", "tools_kwargs", "agent_data"],
        ),
    ],
)
def test_the_seam_has_the_signature_it_had(module: str, function: str, parameters: list[str]) -> None:
    holder = importlib.import_module(module)
    *owners, name = function.split(".")
    for owner in owners:
        holder = getattr(holder, owner)
    found = vars(holder)[name]
    found = getattr(found, "__func__", found)
    assert list(inspect.signature(inspect.unwrap(found)).parameters) == parameters
    assert {(patch.module, patch.function) for patch in patches.PATCHES} >= {(module, function)}


def test_main_ppo_calls_the_patched_functions() -> None:
    main_ppo = importlib.import_module("verl.trainer.main_ppo")
    assert hasattr(main_ppo.validate_config, "__wapo_verl_patch__")
    engine_workers = importlib.import_module("verl.workers.engine_workers")
    assert hasattr(engine_workers.initialize_global_process_group_ray, "__wapo_verl_patch__")


def test_a_seam_that_is_gone_is_named() -> None:
    gone = patches.Patch("verl.somewhere", "moved", "because", wrap=lambda original: original)
    with pytest.raises(AttributeError, match=r"verl\.somewhere\.moved is gone"):
        gone.apply(ModuleType("verl.somewhere"))
    gone_method = patches.Patch("verl.somewhere", "Class.moved", "because", wrap=lambda original: original)
    with pytest.raises(AttributeError, match=r"Class\.moved is gone"):
        gone_method.apply(ModuleType("verl.somewhere"))


def test_applying_twice_wraps_once() -> None:
    module = SimpleNamespace(function=lambda: 1)
    patch = patches.Patch("module", "function", "because", wrap=lambda f: patches._marked(f, lambda: f() + 1))
    patch.apply(module)
    patch.apply(module)
    assert module.function() == 2


def test_a_metric_with_its_own_reduction_passes_through() -> None:
    from verl.utils.metric import AggregationType, Metric

    largest = Metric(AggregationType.MAX, 3.0)
    found = Metric.from_dict({"largest": largest, "plain": 1.0}, AggregationType.MEAN)
    assert found["largest"] is largest
    assert found["plain"].aggregation == AggregationType.MEAN


def test_settings_are_resolved_before_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr("wapo_verl.settings.run.apply", lambda config: seen.append(f"resolved {config.name}"))
    validate = patches._resolve_settings_first(lambda config, **_: seen.append(f"validated {config.name}"))
    validate(config=OmegaConf.create({"name": "run"}), use_reference_policy=False, use_critic=False)
    assert seen == ["resolved run", "validated run"]


def test_the_cpu_is_named_once_in_the_process_group() -> None:
    asked: list[str | None] = []
    initialize = patches._name_the_cpu_once(lambda timeout_second, backend: asked.append(backend))
    initialize()
    initialize(backend="cpu:gloo")
    assert asked == ["gloo" if verl.utils.device.get_device_name() == "cpu" else None, "cpu:gloo"]
