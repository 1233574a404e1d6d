"""Measure what a training step has sampled, before anything is learnt from it."""

from typing import Any

from transfer_queue import KVBatchMeta

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.metrics.episodes import batch_metrics
from wapo_verl.metrics.overlap import overlap_metrics
from wapo_verl.metrics.repetition import repetition_metrics
from wapo_verl.training.advantages import truncated_rows, truncation_metrics, winner_metrics, winning_rows
from wapo_verl.training.decisions import Decisions
from wapo_verl.training.record import sampled_log_probs
from wapo_verl.training.step_advantages import judged_rows
from wapo_verl.training.stored import fetch


def sampled_metrics(batch: KVBatchMeta, config: Any, decisions: Decisions) -> dict[str, float]:
    """Measure a batch's episodes, repetition, truncation and winners, and in a run with a taxonomy their overlap.

    Args:
        batch: rows without padding and failed episodes.
        config: veRL's whole configuration.
        decisions: the run's.
    """
    sampled = sampled_log_probs(config, decisions.winners_only)
    data = fetch(batch, "extra_fields", "responses", "response_mask", "rm_scores", *sampled)
    responses, mask = (data[name].to_padded_tensor(0) for name in ("responses", "response_mask"))
    limit = config.actor_rollout_ref.rollout.response_length
    rows, truncated = judged_rows(batch, data, decisions), truncated_rows(list(data["extra_fields"]), batch.tags, limit)
    algorithm = None if decisions.algorithm is None else ALGORITHMS[decisions.algorithm]
    metrics = {
        **batch_metrics(data["extra_fields"], decisions.parts_are_declared),
        **repetition_metrics(responses, mask),
        **truncation_metrics(truncated),
    }
    for name in sampled:
        winners = winning_rows(rows, mask.sum(dim=-1), truncated, algorithm, decisions.options)
        metrics |= winner_metrics(winners, data[name].to_padded_tensor(0.0), mask)
    if decisions.plans.taxonomy:
        metrics |= overlap_metrics(batch.keys, responses, mask, rows.rewards)
    return metrics
