"""Make the decisions of a run, each here and nowhere else."""

from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from wapo_verl.algorithms import Algorithm, own_losses
from wapo_verl.algorithms.objective import ACTOR, bypasses
from wapo_verl.cpu.where import on_cpu
from wapo_verl.engine.step_plan import STRATEGIES, StepPlans, step_plans
from wapo_verl.environments.failures import REASONS, RETRIEVER
from wapo_verl.rollout import FAIL_FAST_MANAGER
from wapo_verl.rollout.failures import SEARCH_BUDGET, FailureBudget
from wapo_verl.rollout.settings import DEFAULT_MAX_TURNS, SearchAgentConfig
from wapo_verl.settings.keys import SettingsError, WapoKeys
from wapo_verl.training.decisions import MODES, PREFIX, Decisions
from wapo_verl.training.record import RecordKeys

FILTER = "algorithm.filter_groups"
OUR_REWARD = "pkg://wapo_verl.reward"
LINEAR_LOSSES = ("vanilla", "gspo", "gpg", "dppo_tv", "dppo_kl", "sapo", "cispo")
"""veRL's loss modes that are a sum over rows, each times its own advantage.

Not so: a penalty on every row (`dro`), a choice of tokens among all rows' (`clip_cov`, `kl_cov`), weights or a mean
over the rows of a micro-batch (`bypass_mode`, `geo_mean`).
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A run's settings, read and with every default applied.

    Attributes:
        config: veRL's whole configuration.
        keys: what the user set under `wapo.`.
        algorithm: the algorithm of ours that the run uses, or None.
        options: the algorithm's options, each with its value.
        is_ours: whether this project's trainer runs.
        search_agent: the agent loops' settings, or None.
    """

    config: DictConfig
    keys: WapoKeys
    algorithm: Algorithm | None
    options: dict[str, str]
    is_ours: bool
    search_agent: SearchAgentConfig | None

    @property
    def mode(self) -> str:
        """The name of the trainer mode in veRL."""
        return trainer_mode(self.config).removeprefix(PREFIX)

    @property
    def default_options(self) -> dict[str, str]:
        """The value of each of the algorithm's options where the user set nothing."""
        return {} if self.algorithm is None else self.algorithm.default_options()

    @property
    def bypasses(self) -> bool:
        """Whether the old log-probs are the rollout's own (veRL's bypass mode)."""
        return bypasses(self.config)

    @property
    def our_reward(self) -> bool:
        """Whether the rows' environments compute the rewards."""
        return bool(OmegaConf.select(self.config, "reward.custom_reward_function.path") == OUR_REWARD)

    @property
    def training_files(self) -> list[str]:
        """The files of `data.train_files`."""
        files = self.config.data.train_files
        return [files] if isinstance(files, str) else [str(file) for file in files]

    @property
    def filters_groups(self) -> bool:
        """Whether veRL's group filter is on and this project's trainer ends it."""
        return self.is_ours and filters_groups(self.config)


def trainer_mode(config: DictConfig) -> str:
    """Return the trainer mode; "" where the configuration has no V1 trainer."""
    return str(OmegaConf.select(config, "trainer.v1.trainer_mode", default=""))


def trainer_is_ours(config: DictConfig, keys: WapoKeys, algorithm: Algorithm | None) -> bool:
    """Decide whether this project's trainer runs: for its algorithms, guard and plans, by its name, or as asked."""
    mode = trainer_mode(config)
    if keys.trainer is False or not (mode in MODES or mode.startswith(PREFIX)):
        return False
    groups = (keys.guard, keys.record)
    wanted = keys.trainer or algorithm is not None or any(each is not None for each in groups) or bool(keys.planned)
    return bool(wanted or mode.startswith(PREFIX))


def search_agent(config: DictConfig, keys: WapoKeys) -> SearchAgentConfig | None:
    """Decide the agent loops' settings, with the turns that veRL's own key allows.

    Raises:
        SettingsError: for a number of turns that cannot be.
    """
    if keys.search_agent is None:
        return None
    key = "actor_rollout_ref.rollout.multi_turn.max_assistant_turns"
    turns = OmegaConf.select(config, key) or DEFAULT_MAX_TURNS
    if not isinstance(turns, int) or turns < 1:
        raise SettingsError(f"{key} is max_turns of an episode and must be a whole number of at least 1, not {turns}")
    return SearchAgentConfig(**keys.search_agent.model_dump(), max_turns=turns)


def decide(run: Run, outcomes: list[str]) -> Decisions:
    """Decide what the trainer obeys.

    Args:
        run: the run.
        outcomes: the reward parts that say whether an answer is right, as `outcomes.outcome_parts` gives them.

    Raises:
        SettingsError: where the bins' weights contradict each other.
    """
    config, keys = run.config, run.keys
    evaluates = bool(config.trainer.get("val_only", False))
    limit = OmegaConf.select(config, f"{FILTER}.max_num_gen_batches")
    wanted = run.algorithm is not None and run.algorithm.winners_only
    wanted = wanted if keys.winners_only is None else keys.winners_only
    all_rows = why_all_rows(run) if wanted else "by request" if keys.winners_only is False else None
    return Decisions(
        algorithm=None if run.algorithm is None else run.algorithm.name,
        options=run.options,
        winners_only=wanted and all_rows is None,
        why_all_rows=all_rows,
        plans=plans(run),
        guard=None if evaluates else keys.guard,
        record=keys.record or RecordKeys(),
        failures=failures(run),
        filter_batches=limit if run.filters_groups else None,
        parts_are_declared=run.our_reward,
        outcome_parts=outcomes,
        outcome_gate=run.keys.outcome_gate is not None,
    )


def failures(run: Run) -> FailureBudget:
    """Decide which failed episodes are left out: by default searches, whose failures no policy's answer causes."""
    given = None if run.keys.failures is None else run.keys.failures.budget
    if why_none_is_left_out(run) is not None:
        return FailureBudget()
    if given:
        return FailureBudget(share=given, reasons=list(REASONS), undecided=run.our_reward)
    if given is None and run.search_agent is not None:
        return FailureBudget(share=SEARCH_BUDGET, reasons=[RETRIEVER], undecided=run.our_reward)
    return FailureBudget(undecided=run.our_reward)


def why_none_is_left_out(run: Run) -> str | None:
    """Return why a run cannot leave a failed episode out of its group, or None."""
    config, rollout = run.config, run.config.actor_rollout_ref.rollout
    rules = (
        (
            run.algorithm is None,
            f"algorithm.adv_estimator={config.algorithm.adv_estimator} is veRL's and takes every row for a member of "
            "its group: choose an algorithm of this project",
        ),
        (
            not run.is_ours,
            "only this project's trainer leaves episodes out: leave out wapo.trainer=false, and set "
            f"trainer.v1.trainer_mode to one of {', '.join(MODES)} (it is {trainer_mode(config)})",
        ),
        (
            OmegaConf.select(rollout, "agent.agent_loop_manager_class") != FAIL_FAST_MANAGER,
            "actor_rollout_ref.rollout.agent.agent_loop_manager_class is another's, and only this project's leaves "
            "episodes out: leave it out",
        ),
        (
            bool(OmegaConf.select(rollout, "enable_rollout_routing_replay")),
            "actor_rollout_ref.rollout.enable_rollout_routing_replay wants every episode's routes, and one that failed "
            "has none: set it to False",
        ),
    )
    return next((reason for applies, reason in rules if applies), None)


def plans(run: Run) -> StepPlans:
    """Decide what the steps ask of the engine."""
    keys, actor = run.keys, run.config.actor_rollout_ref.actor
    kept_tokens = run.options.get("averaging") == "kept_tokens"
    clip = actor.clip_ratio if actor.clip_ratio_high is None else actor.clip_ratio_high
    try:
        return step_plans(
            keys.taxonomy, keys.negative_weights, keys.clip_schedule, keys.winners_kl, float(clip), kept_tokens
        )
    except ValueError as error:
        raise SettingsError(f"wapo.taxonomy or wapo.negative_weights: {error}") from error


def sampling_seed(run: Run) -> int | None:
    """Decide the seed that each completion's own is made from, None where vLLM draws for all from one generator.

    On a GPU vLLM draws for seeded requests one by one, which costs time in every token, so there it has to be asked
    for. On a CPU vLLM would end at a seeded request whose prompt it reads in parts. With veRL's `full_determinism`,
    which gives all requests one seed, a group's completions would be the same.
    """
    rollout, asked = run.config.actor_rollout_ref.rollout, run.keys.seeded_sampling
    by_default = on_cpu(run.config) and not rollout.get("enable_chunked_prefill", False)
    wanted = by_default or bool(rollout.get("full_determinism", False)) if asked is None else asked
    return int(rollout.get("seed", 0)) if wanted and rollout.get("name") == "vllm" else None


def filters_groups(config: DictConfig) -> bool:
    """Tell whether veRL's group filter is on."""
    return bool(OmegaConf.select(config, f"{FILTER}.enable", default=False))


def why_all_rows(run: Run) -> str | None:
    """Return why a run's rows without an advantage have to be computed on all the same, or None."""
    config, actor = run.config, run.config.actor_rollout_ref.actor
    rules = (
        (run.algorithm is None, "algorithm.adv_estimator is none of this project's, which tell who has an advantage"),
        (run.keys.trainer is False, "wapo.trainer=false leaves the step to veRL's own trainer"),
        (run.mode not in MODES, f"trainer.v1.trainer_mode={run.mode} is none of the modes of this project's trainer"),
        (
            run.mode == "separate_async" and not run.bypasses,
            "trainer.v1.trainer_mode=separate_async keeps the weights for its old log-probs as it computes them on "
            "every row, unless algorithm.rollout_correction.bypass_mode=True takes the rollout's own",
        ),
        (actor.strategy not in STRATEGIES, f"{ACTOR}.strategy={actor.strategy} has no engine of this project's"),
        (bool(OmegaConf.select(config, "critic.enable")), "critic.enable trains a critic on every row"),
        (bool(OmegaConf.select(config, "distillation.enabled")), "distillation.enabled trains on every row"),
        (bool(actor.entropy_coeff), f"{ACTOR}.entropy_coeff gives every row a gradient"),
        (
            bool(actor.use_kl_loss) and not run.keys.winners_kl,
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
