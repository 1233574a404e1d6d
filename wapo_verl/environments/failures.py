"""Why an episode says nothing about its policy: the names by which training and evaluation count it.

A failed episode is never a reward of 0. docs/failures.md says what becomes of one.
"""

from __future__ import annotations

from collections.abc import Mapping

from wapo_verl.environments.environment import Environment

RETRIEVER = "retriever"
"""A search failed for good, after its retries."""
CONTEXT = "context"
"""The prompt does not fit into the run's lengths."""
GENERATION = "generation"
"""Anything else for which the episode could not be played to its end."""
VERIFIER = "verifier"
"""The reward function raised."""
REASONS = (RETRIEVER, CONTEXT, GENERATION, VERIFIER)
"""The reasons that an error gives; the others are the environments' own (`Environment.undecided`)."""


def failure_of(environment: Environment, scores: Mapping[str, float]) -> str | None:
    """Return why scores say nothing about the policy: the part that says so; None where they do."""
    return next((name for name in environment.undecided if scores.get(name)), None)
