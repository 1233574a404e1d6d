"""Whether a run's updates are made of winners alone: by itself for an algorithm that is made for it, or as a key says.

`+wapo.winners_only=true|false` decides for every algorithm; without it `Algorithm.winners_only` does.
"""

from omegaconf import DictConfig, OmegaConf

from wapo_verl.algorithms import own_losses
from wapo_verl.engine.step_plan import STRATEGIES, winners_kl
from wapo_verl.settings.resolve import USER, ResolvedKey, SettingsError, chosen_algorithm

KEY = "wapo.winners_only"
NOTE = "updates leave out the rows without an advantage"
ACTOR = "actor_rollout_ref.actor"
LINEAR_LOSSES = ("vanilla", "gspo", "gpg", "dppo_tv", "dppo_kl", "sapo", "cispo")
"""veRL's loss modes that are a sum over rows, each times its own advantage.

Not so: a penalty on every row (`dro`), a choice of tokens among all rows' (`clip_cov`, `kl_cov`), weights or a mean
over the rows of a micro-batch (`bypass_mode`, `geo_mean`).
"""


def winners_only(config: DictConfig) -> bool:
    """Tell whether updates leave out the rows without an advantage.

    Raises:
        SettingsError: where `wapo.winners_only=true` asks for what this run cannot do; the message says why.
    """
    asked = OmegaConf.select(config, KEY, default=None)
    if asked not in (None, True, False):
        raise SettingsError(f"{KEY}={asked} is not possible: choose true, false")
    found = chosen_algorithm(config)
    if asked is False or (asked is None and (found is None or not found.winners_only)):
        return False
    reason = why_not(config)
    if asked and reason:
        raise SettingsError(f"{KEY}=true: {reason}")
    return reason is None


def resolved_winners_only(config: DictConfig) -> list[ResolvedKey]:
    """Return the line of the printed table; none where neither the algorithm nor the user speaks of it."""
    found, asked = chosen_algorithm(config), OmegaConf.select(config, KEY, default=None)
    if asked is None and (found is None or not found.winners_only):
        return []
    used = winners_only(config)
    note = NOTE if used else f"off: {why_not(config) or 'by request'}"
    return [ResolvedKey(KEY, used, USER if asked is not None or found is None else found.name, note)]


def why_not(config: DictConfig) -> str | None:
    """Return why a run's rows without an advantage have to be computed on all the same, or None."""
    actor, trainer = config.actor_rollout_ref.actor, config.trainer
    found = chosen_algorithm(config)
    mode = str(trainer.v1.trainer_mode).removeprefix("wapo_")
    critic = OmegaConf.select(config, "critic.enable", default=None)
    rules = (
        (found is None, "algorithm.adv_estimator is none of this project's, which tell who has an advantage"),
        (
            OmegaConf.select(config, "wapo.trainer", default=None) is False,
            "wapo.trainer=false leaves the step to veRL's own trainer",
        ),
        (mode != "sync", f"trainer.v1.trainer_mode={mode} is not built nor tested for it; sync mode is"),
        (actor.strategy not in STRATEGIES, f"{ACTOR}.strategy={actor.strategy} has no engine of this project's"),
        (bool(critic), "critic.enable trains a critic on every row"),
        (
            bool(OmegaConf.select(config, "distillation.enabled", default=False)),
            "distillation.enabled trains on every row",
        ),
        (bool(actor.entropy_coeff), f"{ACTOR}.entropy_coeff gives every row a gradient"),
        (
            bool(actor.use_kl_loss) and not winners_kl(config),
            f"{ACTOR}.use_kl_loss gives every row a gradient, unless wapo.winners_kl=true leaves the others out",
        ),
        (
            not config.actor_rollout_ref.rollout.calculate_log_probs,
            "actor_rollout_ref.rollout.calculate_log_probs=False leaves nothing to tell the whole batch's entropy by",
        ),
        (
            bool(config.algorithm.use_kl_in_reward),
            "algorithm.use_kl_in_reward needs the reference log-probs of every row before there are advantages",
        ),
        (
            actor.policy_loss.loss_mode not in {*LINEAR_LOSSES, *own_losses(acts_without_advantage=False)},
            f"{ACTOR}.policy_loss.loss_mode={actor.policy_loss.loss_mode} lets rows without an advantage have a say",
        ),
        (
            not str(actor.loss_agg_mode).startswith("seq-mean"),
            f"{ACTOR}.loss_agg_mode={actor.loss_agg_mode} divides by the tokens of all rows",
        ),
        (
            actor.loss_agg_mode == "seq-mean-token-sum-norm" and actor.loss_scale_factor is None,
            f"{ACTOR}.loss_scale_factor=null divides by each micro-batch's own width",
        ),
        (bool(actor.shuffle), f"{ACTOR}.shuffle deals rows over mini-batches in the workers"),
    )
    return next((reason for applies, reason in rules if applies), None)
