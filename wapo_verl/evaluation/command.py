"""veRL's command for an evaluation: its own trainer with `trainer.val_only`, and nothing trained."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from wapo_verl.evaluation.manifest import EvaluationManifest
from wapo_verl.evaluation.requests import REQUESTS_FILE
from wapo_verl.evaluation.verl_process import hydra_value, override_key

PROMPT_TOKENS, RESPONSE_TOKENS = 1024, 8192
"""The most tokens of a prompt and of a response, where the overrides say nothing else and the model holds as many."""


def verl_command(manifest: EvaluationManifest, folder: Path) -> list[str]:
    """Return the command that asks for the requests in an evaluation's folder.

    Raises:
        ValueError: for an override that is none.
    """
    own = _values(manifest, folder.absolute())
    return [sys.executable, "-m", "verl.trainer.main_ppo", *with_overrides(own, manifest.overrides)]


def with_overrides(values: Mapping[str, object], overrides: Sequence[str]) -> list[str]:
    """Write veRL's keys and their values as overrides, without those that the user's overrides set, and those last.

    Raises:
        ValueError: for an override that is none.
    """
    given = {override_key(override) for override in overrides}
    own = [f"{key}={hydra_value(value)}" for key, value in values.items() if override_key(f"{key}=") not in given]
    return [*own, *overrides]


def index_values(indexes: Mapping[str, str]) -> dict[str, object]:
    """Return the keys and values that name the index which each environment's episodes search."""
    return {f"+wapo.search_agent.index.{name}": index for name, index in indexes.items()}


def _values(manifest: EvaluationManifest, folder: Path) -> Mapping[str, object]:
    """Return veRL's keys and their values."""
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    devices = _devices()
    prompt, response = _lengths(Path(manifest.model.folder))
    return {
        "algorithm.adv_estimator": "grpo",  # nothing is trained, and no critic is needed
        "data.train_files": folder / REQUESTS_FILE,
        "data.val_files": folder / REQUESTS_FILE,
        "data.custom_cls.path": "pkg://wapo_verl.evaluation.dataset",
        "data.custom_cls.name": "EvaluationDataset",
        "data.validation_shuffle": False,
        "data.train_batch_size": devices,
        "data.max_prompt_length": prompt,
        "data.max_response_length": response,
        "actor_rollout_ref.model.path": manifest.model.folder,
        f"{actor}.ppo_mini_batch_size": devices,
        f"{actor}.ppo_micro_batch_size_per_gpu": 1,
        f"{rollout}.log_prob_micro_batch_size_per_gpu": 1,
        f"{rollout}.tensor_model_parallel_size": 1,
        f"{rollout}.calculate_log_probs": False,
        f"+{rollout}.agent.agent_loop_manager_class": "wapo_verl.evaluation.worker.EvaluationManager",
        f"{rollout}.val_kwargs.do_sample": manifest.temperature > 0,
        f"{rollout}.val_kwargs.temperature": manifest.temperature,
        f"{rollout}.val_kwargs.top_p": manifest.top_p,
        f"{rollout}.val_kwargs.n": 1,  # each row says how many it is to get
        "reward.custom_reward_function.path": "pkg://wapo_verl.reward",
        "reward.custom_reward_function.name": "compute_score",
        **index_values(manifest.indexes()),
        "trainer.val_only": True,
        "trainer.val_before_train": True,
        "trainer.n_gpus_per_node": devices,
        "trainer.total_training_steps": 1,
        "trainer.save_freq": -1,
        "trainer.resume_mode": "disable",
        "trainer.logger": ["console"],
        "trainer.project_name": "wapo-verl",
        "trainer.experiment_name": "evaluation",
        "trainer.default_local_dir": folder / "verl",
        "hydra.run.dir": folder / "verl",
    }


def _devices() -> int:
    """Return how many accelerators this machine has; 1 where it computes on its CPU."""
    import torch

    return max(1, torch.cuda.device_count())


def _lengths(model: Path) -> tuple[int, int]:
    """Return the most tokens of a prompt and of a response that the model's positions leave room for."""
    file = model / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON text ({error}): copy the model's again") from error
    if not isinstance(config, dict):
        raise ValueError(f"{file} holds no JSON object: copy the model's again")
    positions = config.get("max_position_embeddings") or PROMPT_TOKENS + RESPONSE_TOKENS
    prompt = min(PROMPT_TOKENS, positions // 2)
    return prompt, min(RESPONSE_TOKENS, positions - prompt)
