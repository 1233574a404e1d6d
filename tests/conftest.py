"""What holds for every test: hypothesis draws by a fixed seed and without time limits, and veRL computes on the CPU.

A busy machine must not turn a right test red.
"""

import os
from collections.abc import Iterator

import pytest
from hydra.core.hydra_config import HydraConfig
from hypothesis import HealthCheck, settings

# What a test passes as suppress_health_check would replace these: none does.
UNHEALTHY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=UNHEALTHY)
settings.load_profile("steady")

# A run asks for the CPU by a setting; most tests use parts of veRL and have no run.
os.environ.setdefault("VERL_PLATFORM", "cpu")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests that need a GPU out where there is none."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not _has_gpu():
        config.hook.pytest_deselected(items=on_gpu)
        items[:] = [item for item in items if item not in on_gpu]


def _has_gpu() -> bool:
    import torch  # seconds, which no other test run has to wait for

    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def _no_command_line_left() -> Iterator[None]:
    """Take back what a test told Hydra of a command line, which the next test's settings would be read from."""
    yield
    HydraConfig.instance().cfg = None
