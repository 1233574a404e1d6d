"""A trainer of this project with nothing below it: a step's own code runs, on rows in a stand-in for TransferQueue."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from support.stored_rows import Queue
from verl.trainer.ppo.v1 import trainer_base

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.training import stored
from wapo_verl.training.decisions import Decisions
from wapo_verl.training.recorder import Recorder

ROLLOUT = {"response_length": 99, "n": 2, "temperature": 1.0, "calculate_log_probs": True}
ACTOR = {
    "loss_agg_mode": "seq-mean-token-sum-norm",
    "loss_scale_factor": 8,
    "ppo_mini_batch_size": 2,
    "ppo_epochs": 1,
    "use_dynamic_bsz": False,
    "calculate_entropy": True,
    "entropy_coeff": 0,
    "data_loader_seed": 42,
    "shuffle": False,
}


def replaced_queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Put an empty stand-in where veRL's trainer and this project's call TransferQueue."""
    made = Queue()
    for module in (stored, trainer_base):
        monkeypatch.setattr(module, "tq", made)
    return made


def sampled_row(length: int, reward: float, rollout_log_probs: torch.Tensor, **tag: int) -> dict[str, Any]:
    """Return a row of so many response tokens as it comes from the rollout, the reward at its last token."""
    return {
        "response_mask": torch.ones(length, dtype=torch.int64),
        "responses": torch.ones(length, dtype=torch.int64),
        "rm_scores": torch.tensor([0.0] * (length - 1) + [reward]),
        "rollout_log_probs": rollout_log_probs,
        "extra_fields": {},
        "tag": tag,
    }


def bare_trainer(
    kind: type, workers: Any, winners_only: bool, step: int, rollout: dict[str, Any], actor: dict[str, Any]
) -> Any:
    """Make a trainer of that class on WAPO, with these settings beside `ROLLOUT` and `ACTOR`."""
    made = object.__new__(kind)
    made.config = OmegaConf.create(
        {
            "algorithm": {"adv_estimator": "wapo", "rollout_correction": {"bypass_mode": True}},
            "trainer": {"critic_warmup": 0},
            "actor_rollout_ref": {"rollout": {**ROLLOUT, **rollout}, "actor": {**ACTOR, **actor}},
        }
    )
    options = ALGORITHMS["wapo"].default_options()
    made._obey(Decisions(algorithm="wapo", options=options, winners_only=winners_only))
    made.global_steps, made.total_training_steps = step, 11
    made.use_critic = made.use_reference_policy = made.ref_in_actor = made.curr_step_profile = False
    made.tokenizer = SimpleNamespace(eos_token_id=0)
    made._recorder = Recorder(made.config, made.decisions, made.tokenizer)
    made.actor_rollout_wg = workers
    made.reward_loop_manager = SimpleNamespace(reward_loop_worker_handles=[])
    made.checkpoint_manager = SimpleNamespace(sleep_replicas=lambda: None, abort_replicas=lambda: None)
    return made
