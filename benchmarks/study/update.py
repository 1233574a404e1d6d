"""Make one training step's update: the algorithm's advantages, veRL's registered loss, AdamW as veRL sets it.

The loss function comes out of veRL's registry under the name that the algorithm's defaults resolve to, and gets a real
`ActorConfig`, so what trains here is the code that trains in veRL. A batch without a winner takes no step, as in
`wapo_verl.training.trainer`. There are no reference models (KL losses), padding rows or several ranks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from benchmarks.study.episodes import Played, padded
from benchmarks.study.policy import Policy
from examples.quickstart.settings import QuickstartSettings
from wapo_verl.algorithms import Advantages, Algorithm, Batch
from wapo_verl.algorithms.batch import spread
from wapo_verl.engine.learning_rate import scaled_learning_rate
from wapo_verl.environments.episode import TRUNCATED_OUTCOMES
from wapo_verl.settings.defaults import apply_defaults
from wapo_verl.verl_plugin.algorithms import register_all

ACTOR = "actor_rollout_ref.actor"


def actor_config(
    algorithm: Algorithm, off_policy_steps: int, settings: QuickstartSettings, clip_ratio_high: float | None = None
) -> Any:
    """veRL's `ActorConfig` with the algorithm's defaults in it, and the upper clip given, for this study's batch sizes.

    Raises:
        ValueError: where the defaults ask for a loss that this study cannot compute, or the batch does not divide.
    """
    from verl.workers.config import ActorConfig, PolicyLossConfig

    if settings.prompts_per_step % off_policy_steps:
        raise ValueError(
            f"{settings.prompts_per_step} questions a step do not divide into {off_policy_steps} mini-batches; "
            "choose off-policy steps that divide it"
        )
    resolved = resolved_config(algorithm, settings)
    actor: dict[str, Any] = OmegaConf.to_container(OmegaConf.select(resolved, ACTOR))  # type: ignore[assignment]
    if actor.get("use_kl_loss") or actor.get("entropy_coeff"):
        raise ValueError(f"{algorithm.name} sets use_kl_loss or entropy_coeff, which the study does not compute")
    known = {field.name for field in fields(ActorConfig)}
    given = {name: value for name, value in actor.items() if name in known and name != "policy_loss"}
    if clip_ratio_high is not None:
        given["clip_ratio_high"] = clip_ratio_high
    loss_fields = {field.name for field in fields(PolicyLossConfig)}
    loss = {name: value for name, value in (actor.get("policy_loss") or {}).items() if name in loss_fields}
    return ActorConfig(
        **{
            "strategy": "fsdp2",
            "rollout_n": settings.group_size,
            "ppo_mini_batch_size": settings.prompts_per_step // off_policy_steps,
            "ppo_micro_batch_size_per_gpu": settings.prompts_per_step * settings.group_size,
            **given,
        },
        policy_loss=PolicyLossConfig(**loss),
    )


def resolved_config(algorithm: Algorithm, settings: QuickstartSettings) -> Any:
    """The keys that the algorithm's defaults set or read, resolved as in a run of this task."""
    config = OmegaConf.create(
        {
            "data": {
                "max_prompt_length": settings.max_prompt_tokens,
                "max_response_length": settings.max_response_tokens,
                "train_batch_size": settings.prompts_per_step,
            },
            "algorithm": {"adv_estimator": algorithm.name},
            "actor_rollout_ref": {
                "actor": {},
                "rollout": {
                    "prompt_length": settings.max_prompt_tokens,
                    "response_length": settings.max_response_tokens,
                    "n": settings.group_size,
                },
            },
        }
    )
    apply_defaults(config, algorithm.defaults, {"actor_rollout_ref.rollout.n"}, algorithm.name)
    return config


class Loss:
    """veRL's policy loss of an algorithm, with what it averages by filled in."""

    def __init__(self, config: Any) -> None:
        from verl.trainer.ppo.core_algos import get_policy_loss_fn

        register_all()
        self.config = config
        self._function = get_policy_loss_fn(config.policy_loss.loss_mode)
        self.needs_all_rows = not self._ignores_rows_without_advantage()

    def __call__(
        self, log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, mask: Tensor, tokens: int, rows: int
    ) -> Tensor:
        """The loss of some rows of a mini-batch that has `tokens` own tokens and `rows` rows in all, a scalar."""
        self.config.global_batch_info.update(
            dp_size=1,
            batch_num_tokens=tokens,
            global_batch_size=rows,
            loss_scale_factor=self.config.loss_scale_factor,
        )
        value, _ = self._function(
            old_log_prob=old_log_prob,
            log_prob=log_prob,
            advantages=advantages,
            response_mask=mask,
            loss_agg_mode=self.config.loss_agg_mode,
            config=self.config,
            rollout_is_weights=None,
        )
        return value

    def _ignores_rows_without_advantage(self) -> bool:
        """Whether a row without an advantage has no gradient, so that its forward pass can be left out."""
        old = torch.linspace(-3.0, -0.1, 12).view(3, 4)
        new = (old + torch.linspace(-0.5, 0.4, 12).view(3, 4)).clamp(max=-0.01).requires_grad_()
        advantages = torch.tensor([[1.0], [-1.0], [0.0]]).expand(3, 4)
        value = self(new, old, advantages, torch.ones(3, 4, dtype=torch.bool), tokens=12, rows=3)
        (gradient,) = torch.autograd.grad(value, new)
        return not bool(gradient[2].any())


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch's episodes as tensors, R rows.

    Attributes:
        ids: (R, S) int64 prompt and response, right-padded.
        prompts: (R,) int64 lengths of the prompts.
        mask: (R, T) bool, the policy's own tokens of the response.
        old: (R, T) float32, log-probs noted at sampling.
        advantages: (R, T) float32, zero outside of the mask.
    """

    ids: Tensor
    prompts: Tensor
    mask: Tensor
    old: Tensor
    advantages: Tensor

    def part(self, rows: Tensor) -> Rows:
        """Some of the rows, without the padding that none of them needs."""
        mask = self.mask[rows]
        response = int(mask.any(dim=0).nonzero().max()) + 1 if bool(mask.any()) else 1
        whole = int((self.prompts[rows] + response).max())
        return Rows(
            self.ids[rows, :whole], self.prompts[rows], mask[:, :response], self.old[rows, :response],
            self.advantages[rows, :response],
        )  # fmt: skip


def make_rows(episodes: Sequence[Played], advantages: Tensor) -> Rows:
    """Tensors of the episodes, with the (R,) advantages spread over their own tokens."""
    ids, _ = padded([played.trajectory.prompt + played.trajectory.ids for played in episodes])
    marks, lengths = padded([played.trajectory.mask for played in episodes])
    longest = int(lengths.max())
    old = torch.tensor(
        [[*found.log_probs, *[0.0] * (longest - len(found.ids))] for found in (one.trajectory for one in episodes)]
    )
    prompts = torch.tensor([len(played.trajectory.prompt) for played in episodes])
    return Rows(ids, prompts, marks.bool(), old, spread(advantages, marks))


def own_log_probs(policy: Policy, rows: Rows) -> Tensor:
    """Log-probs (R, T) of the policy's own tokens under the weights as they are, zero elsewhere; with gradient."""
    hidden = policy.all_hidden(rows.ids)
    row, column = rows.mask.nonzero(as_tuple=True)
    place = rows.prompts[row] + column
    found = policy.log_probs(hidden[row, place - 1])
    chosen = found.gather(1, rows.ids[row, place][:, None])[:, 0]
    return torch.zeros(rows.mask.shape).index_put((row, column), chosen)


def ask_advantages(
    algorithm: Algorithm, options: Mapping[str, Any], episodes: Sequence[Played], group_size: int
) -> Advantages:
    """The algorithm's advantages of a step's completions, which stand group by group."""
    groups = torch.arange(len(episodes)) // group_size
    batch = Batch(
        rewards=torch.tensor([played.reward for played in episodes]),
        group_ids=groups,
        truncated=torch.tensor(
            [played.episode is not None and played.episode.outcome in TRUNCATED_OUTCOMES for played in episodes]
        ),
        lengths=torch.tensor([sum(played.trajectory.mask) for played in episodes]),
    )
    return algorithm.advantages(batch, options)


class Trainer:
    """Optimizer and schedule over a step's mini-batches, as veRL's FSDP engine has them."""

    def __init__(self, policy: Policy, loss: Loss, learning_rate: float, warm_up_steps: int) -> None:
        from verl.workers.config import FSDPOptimizerConfig

        config = FSDPOptimizerConfig(lr=learning_rate)
        self.policy, self.loss = policy, loss
        self._parameters = list(policy.model.parameters())
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay
        )
        self._max_norm = config.clip_grad
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: min(1.0, step / max(1, warm_up_steps))
        )
        self.lr_factor = 1.0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds: weights, optimizer and schedule."""
        parts = (self.policy.model, self._optimizer, self._schedule)
        return dict(zip(("model", "optimizer", "schedule"), (part.state_dict() for part in parts), strict=True))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` gave."""
        self.policy.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])

    def step(self, rows: Rows, mini_batches: int) -> dict[str, float]:
        """One step's updates over equal mini-batches, in the rows' order; returns what was measured over them all."""
        measured = [self._mini_batch(rows, chosen) for chosen in torch.arange(len(rows.ids)).chunk(mini_batches)]
        self._schedule.step()
        counted = max(1.0, sum(one["tokens"] for one in measured))
        return {
            "actor/grad_norm": sum(one["norm"] for one in measured) / len(measured),
            "actor/ratio_mean": sum(one["ratio"] for one in measured) / counted,
            "actor/ratio_max": max(one["ratio_max"] for one in measured),
            "actor/clip_fraction": sum(one["clipped"] for one in measured) / counted,
            "training/rollout_probs_diff_mean": sum(one["gap"] for one in measured) / counted,
        }

    def _mini_batch(self, rows: Rows, chosen: Tensor) -> dict[str, float]:
        own = int(rows.mask[chosen].sum())
        carrying = (rows.advantages[chosen] != 0).any(dim=1)
        computed = chosen if self.loss.needs_all_rows else chosen[carrying]
        self._optimizer.zero_grad(set_to_none=False)
        measured = dict.fromkeys(("tokens", "ratio", "ratio_max", "clipped", "gap", "norm"), 0.0)
        if len(computed):
            part = rows.part(computed)
            log_prob = own_log_probs(self.policy, part)
            leaf = log_prob.detach().requires_grad_()
            value = self.loss(leaf, part.old, part.advantages, part.mask, tokens=own, rows=len(chosen))
            (gradient,) = torch.autograd.grad(value, leaf)
            log_prob.backward(gradient)
            measured.update(_measures(part, leaf.detach(), gradient - self._without_advantage(part, leaf, own)))
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._max_norm)
        measured["norm"] = float(norm)
        if bool(torch.isfinite(norm)):
            with scaled_learning_rate(self._optimizer, self.lr_factor):
                self._optimizer.step()
        return measured

    def _without_advantage(self, part: Rows, leaf: Tensor, own: int) -> Tensor | float:
        """The gradient that tokens have whatever their advantage, 0 for most losses."""
        if not self.loss.needs_all_rows:
            return 0.0
        nothing = torch.zeros_like(part.advantages)
        value = self.loss(leaf, part.old, nothing, part.mask, tokens=own, rows=len(part.ids))
        return torch.autograd.grad(value, leaf)[0]


def _measures(part: Rows, log_prob: Tensor, gradient: Tensor) -> dict[str, float]:
    """Sums over the tokens that have an advantage, alike for every loss; `gradient` is the advantage's part."""
    carrying = part.advantages != 0
    ratios = torch.exp((log_prob - part.old).double())[carrying]
    gap = (log_prob.exp() - part.old.exp()).abs()[carrying]
    return {
        "tokens": float(carrying.sum()),
        "ratio": float(ratios.sum()),
        "ratio_max": float(ratios.max()) if len(ratios) else 0.0,
        "clipped": float((gradient[carrying] == 0).sum()),
        "gap": float(gap.sum()),
    }
