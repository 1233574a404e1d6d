"""The CPU as a veRL platform. Importing this module registers it, so it is imported where a run asks for it, only.

veRL asks its platform for a device name, a process-group backend and a ``torch.cuda``-like module. On the CPU most of
that module has nothing to do: memory is the process's own and every kernel is finished when its call returns. What is
left out: profiling ranges and inter-process device handles (weights travel through shared memory instead).
"""

import contextlib
import os
import resource
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import psutil
import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry, platform_manager

from wapo_verl.cpu.vllm_distribution import install
from wapo_verl.cpu.where import NAME


def _resident_bytes(*_: Any, **__: Any) -> int:
    return int(psutil.Process().memory_info().rss)


def _peak_resident_bytes(*_: Any, **__: Any) -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _free_and_total_bytes(*_: Any, **__: Any) -> tuple[int, int]:
    memory = psutil.virtual_memory()
    return int(memory.available), int(memory.total)


def _nothing(*_: Any, **__: Any) -> None:
    """Stand in for a device call that the CPU does not need."""


class _Stream:
    """The one, always finished, queue of work a CPU has."""

    synchronize = wait_stream = wait_event = record_event = staticmethod(_nothing)


class _Event:
    """A point in the CPU's queue: always reached."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    record = wait = synchronize = staticmethod(_nothing)

    @staticmethod
    def query() -> bool:
        return True


def _device_module() -> ModuleType:
    """Return ``torch.cpu`` with the calls that veRL makes on ``torch.cuda`` added.

    The memory calls answer for the process (resident set) and the machine, in bytes.
    """
    module = ModuleType("wapo_verl.cpu.platform.device")
    module.__dict__.update(
        {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "current_device": lambda: NAME,
            "set_device": _nothing,
            "synchronize": _nothing,
            "empty_cache": _nothing,
            "ipc_collect": _nothing,
            "set_per_process_memory_fraction": _nothing,
            "reset_peak_memory_stats": _nothing,
            "memory_allocated": _resident_bytes,
            "memory_reserved": _resident_bytes,
            "max_memory_allocated": _peak_resident_bytes,
            "max_memory_reserved": _peak_resident_bytes,
            "mem_get_info": _free_and_total_bytes,
            "get_device_name": lambda *_: NAME,
            "get_rng_state": lambda *_: torch.get_rng_state(),
            "set_rng_state": lambda state, *_: torch.set_rng_state(state),
            "manual_seed": torch.manual_seed,
            "manual_seed_all": torch.manual_seed,
            "Stream": _Stream,
            "Event": _Event,
            "current_stream": lambda *_: _Stream(),
            "stream": lambda *_: contextlib.nullcontext(),
        }
    )
    return module


_DEVICE_MODULE = _device_module()


@PlatformRegistry.register(platform=NAME)
class PlatformCPU(PlatformBase):
    """The CPU, for a run that asks for it.

    Device index arguments are ignored: there is one CPU, and ``current_device()`` answers ``"cpu"``, which torch takes
    wherever it takes an index.
    """

    @property
    def device_name(self) -> str:
        return NAME

    @property
    def vendor_name(self) -> str:
        return NAME

    @property
    def device_module(self) -> ModuleType:
        return _DEVICE_MODULE

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        """Answer no: veRL asks this to detect a platform, and this one is chosen by its name."""
        return False

    def current_device(self) -> Any:
        return NAME

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None: ...

    def synchronize(self, device_index: int | None = None) -> None: ...

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None: ...

    def empty_cache(self) -> None: ...

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"  # Ray hands out its logical GPUs under this name

    def ray_resource_name(self) -> str:
        return "GPU"  # logical ones: see wapo_verl.cpu.defaults

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        return False

    def rollout_env_vars(self) -> dict[str, str]:
        return {name: os.environ[name] for name in ("VLLM_CPU_KVCACHE_SPACE", "OMP_NUM_THREADS") if name in os.environ}

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None: ...

    def profiler_stop(self) -> None: ...

    def cudart(self) -> None:
        return None


def use() -> None:
    """Make the CPU this process's platform, whatever veRL has settled for before."""
    if not isinstance(platform_manager._current_platform, PlatformCPU):
        platform_manager._current_platform = PlatformCPU()


install()
