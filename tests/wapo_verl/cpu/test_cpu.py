"""The CPU platform: complete, and taken where it is asked for alone. No GPU, no Ray, no vLLM."""

import pytest
import torch
from verl.plugin.platform import platform_manager
from verl.plugin.platform.platform_base import PlatformBase

from wapo_verl.cpu.platform import PlatformCPU, use
from wapo_verl.cpu.where import NAME, accelerator

REGISTRY = platform_manager.PlatformRegistry

# What veRL 0.9.1 calls on `get_torch_device()`, read off its source.
DEVICE_CALLS = [
    "Event",
    "Stream",
    "current_stream",
    "device_count",
    "empty_cache",
    "get_device_name",
    "get_rng_state",
    "ipc_collect",
    "is_available",
    "max_memory_allocated",
    "max_memory_reserved",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "set_device",
    "set_per_process_memory_fraction",
    "set_rng_state",
    "stream",
    "synchronize",
]


class Accelerator(PlatformCPU):
    """A platform whose accelerator is present."""

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return True


def test_every_abstract_method_is_there() -> None:
    assert isinstance(PlatformCPU(), PlatformBase)


def test_an_accelerator_of_this_machine_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REGISTRY, "_platforms", {NAME: PlatformCPU})
    assert accelerator() is None
    monkeypatch.setitem(REGISTRY._platforms, "accelerator", Accelerator)
    assert accelerator() == "accelerator"


def test_verl_never_detects_it_but_takes_it_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REGISTRY, "_platforms", {NAME: PlatformCPU})
    monkeypatch.delenv("VERL_PLATFORM", raising=False)
    assert platform_manager._detect_platform_name() == "nvidia"
    monkeypatch.setenv("VERL_PLATFORM", "cpu")
    assert platform_manager._detect_platform_name() == NAME


def test_a_process_can_be_made_to_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform_manager, "_current_platform", REGISTRY.get("nvidia")())
    use()
    assert platform_manager.get_platform().device_name == NAME
    current = platform_manager.get_platform()
    use()
    assert platform_manager.get_platform() is current


@pytest.mark.parametrize("name", DEVICE_CALLS)
def test_the_device_module_has_what_verl_calls(name: str) -> None:
    assert callable(getattr(PlatformCPU().device_module, name))


def test_memory_is_in_bytes() -> None:
    device = PlatformCPU().device_module
    free, total = device.mem_get_info()
    assert 0 < device.memory_allocated() <= device.max_memory_allocated() * 1.01 < total
    assert 0 < free < total


def test_tensors_move_to_the_current_device() -> None:
    assert torch.ones(1).to(PlatformCPU().current_device()).device.type == "cpu"


def test_the_rng_state_round_trips() -> None:
    device = PlatformCPU().device_module
    state = device.get_rng_state()
    first = torch.rand(3)
    device.set_rng_state(state)
    assert torch.equal(first, torch.rand(3))
