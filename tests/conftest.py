"""Hypothesis draws by a fixed seed and without time limits: a busy machine must not turn a right test red."""

from hypothesis import HealthCheck, settings

# What a test passes as suppress_health_check would replace these: none does.
UNHEALTHY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=UNHEALTHY)
settings.load_profile("steady")
