"""What holds for every test: hypothesis draws by a fixed seed and without time limits, and veRL computes on the CPU.

A busy machine must not turn a right test red.
"""

import os

from hypothesis import HealthCheck, settings

# What a test passes as suppress_health_check would replace these: none does.
UNHEALTHY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=UNHEALTHY)
settings.load_profile("steady")

# A run asks for the CPU by a setting; most tests use parts of veRL and have no run.
os.environ.setdefault("VERL_PLATFORM", "cpu")
