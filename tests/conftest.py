"""Hypothesis draws by a fixed seed and without time limits: a busy machine must not turn a right test red."""

from hypothesis import HealthCheck, settings

settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")
