"""Find what a step's plan needs of the engine, the loss and the algorithm, and does not get."""

import torch
from omegaconf import OmegaConf

from wapo_verl.algorithms import Advantages, Batch, Conflict
from wapo_verl.algorithms.algorithm import errors
from wapo_verl.algorithms.objective import ACTOR
from wapo_verl.engine.step_plan import STRATEGIES, UNCLIPPED_LOSSES
from wapo_verl.settings.decide import Run
from wapo_verl.training.decisions import Decisions


def plan_conflicts(run: Run, decisions: Decisions) -> list[Conflict]:
    """Find what a step's plan needs of the engine, the loss and the algorithm, and does not get."""
    plans, actor = decisions.plans, run.config.actor_rollout_ref.actor
    planned = [*run.keys.planned, *["averaging"] * plans.kept_tokens]
    asked, loss = ", ".join(f"wapo.{name}" for name in planned), actor.policy_loss.loss_mode
    measured = run.keys.taxonomy is not None and run.keys.taxonomy.losers
    fused = OmegaConf.select(run.config, "actor_rollout_ref.model.use_fused_kernels", default=False)
    return errors(
        (
            plans.ask and actor.strategy not in STRATEGIES,
            asked,
            f"needs {ACTOR}.strategy={' or '.join(STRATEGIES)}, which is {actor.strategy}",
        ),
        (
            bool(fused) and plans.at(1, 1).needs_statistics,
            asked,
            "set actor_rollout_ref.model.use_fused_kernels=False, since fused kernels make no logits",
        ),
        (
            plans.clip is not None and loss in UNCLIPPED_LOSSES,
            "wapo.clip_schedule",
            f"has nothing to move: {ACTOR}.policy_loss.loss_mode={loss} has no upper clip; leave it out or choose "
            "another loss",
        ),
        (
            plans.winners_kl and not actor.use_kl_loss,
            "wapo.winners_kl",
            f"has no KL loss to act on: set {ACTOR}.use_kl_loss=True, or leave it out",
        ),
        (
            plans.negatives and not _losers_carry_something(run),
            "wapo.negative_weights" if run.keys.negative_weights is not None else "wapo.taxonomy.losers",
            f"a loser of {decisions.algorithm} carries no negative advantage that could be weighted or measured; leave "
            "it out or choose another algorithm.adv_estimator",
        ),
        (
            measured and run.keys.negative_weights is None and not _leaves_losers_out(run),
            "wapo.taxonomy.losers",
            f"{run.config.algorithm.adv_estimator} trains on losers, so wapo.taxonomy.log=true measures them already: "
            "leave it out",
        ),
        (
            plans.kept_tokens
            and not (
                actor.loss_agg_mode == "seq-mean-token-mean"
                or (actor.loss_agg_mode == "seq-mean-token-sum-norm" and actor.loss_scale_factor is not None)
            ),
            "wapo.averaging=kept_tokens",
            f"divides within a row: set {ACTOR}.loss_agg_mode to seq-mean-token-mean, or to seq-mean-token-sum-norm "
            "with a loss_scale_factor",
        ),
    )


def _losers_carry_something(run: Run) -> bool:
    """Ask the algorithm for the advantage of a loser; veRL's own estimators all give it one."""
    made = _of_a_winner_and_a_loser(run)
    if made is None:
        return True
    losers = made.rows if made.loser_rows is None else made.rows + made.loser_rows
    return bool((losers < 0).any())


def _leaves_losers_out(run: Run) -> bool:
    """Ask the algorithm whether its losers have no advantage; veRL's own estimators all give them one."""
    made = _of_a_winner_and_a_loser(run)
    return made is not None and not bool((made.rows < 0).any())


def _of_a_winner_and_a_loser(run: Run) -> Advantages | None:
    """Return the advantages of a group of two of which one wins; None where veRL's own estimator makes them."""
    if run.algorithm is None:
        return None
    one = torch.ones(2, dtype=torch.int64)
    group = Batch(rewards=torch.tensor([1.0, 0.0]), group_ids=torch.zeros_like(one), lengths=one)
    return run.algorithm.advantages(group, run.options)
