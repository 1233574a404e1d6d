"""What a step is to do beyond the algorithm: the trainer makes a `StepPlan` of the run's settings, the engine obeys it.

The settings stand under `wapo.`: `taxonomy`, `negative_weights`, `clip_schedule`, `winners_kl`, all off by default.
Left out: obeying a plan, which is the engine's (`wapo_verl.engine`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from wapo_verl.algorithms import Algorithm, Batch
from wapo_verl.algorithms.schedules import CURVES, scheduled
from wapo_verl.settings.resolve import NAMESPACE, USER, ResolvedKey, SettingsError, chosen_algorithm
from wapo_verl.taxonomy.bins import bin_weights

PLAN_KEY = "wapo_plan"
"""Under this name the plan travels with a batch."""

STRATEGIES = ("fsdp", "fsdp2")
"""The values of `actor.strategy` whose engine obeys a plan."""

ACTOR = "actor_rollout_ref.actor"
UNCLIPPED_LOSSES = ("wapo_reinforce", "gpg", "sapo", "kl_cov", "dro")
"""Values of `policy_loss.loss_mode`, ours and veRL's, whose loss reads no `clip_ratio_high`."""

GROUPS = ("taxonomy", "negative_weights", "clip_schedule")
SWITCH = "winners_kl"
TAXONOMY_KEYS = ("log", "include_bins", "exclude_bins")
SCHEDULE_KEYS = ("kind", "final")


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step's orders to the engine; the default one asks for nothing but the update's statistics.

    Attributes:
        taxonomy: whether to measure the token taxonomy's diagnostics.
        weights: bin -> weight of its tokens' advantages, all of `BINS`; None where no token is weighted.
        clip_ratio_high: this step's upper clip; None keeps the actor's own.
        winners_kl: whether a KL loss leaves out the tokens without an advantage.
        hold_schedule: whether the learning rate's schedule stays where it is, since the batch's updates are not over.
    """

    taxonomy: bool = False
    weights: Mapping[str, float] | None = None
    clip_ratio_high: float | None = None
    winners_kl: bool = False
    hold_schedule: bool = False

    @property
    def needs_statistics(self) -> bool:
        """Whether the engine has to look at the whole next-token distribution."""
        return self.taxonomy or self.weights is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the plan in plain types, as it travels with a batch."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "StepPlan":
        """Read a plan that `to_dict` wrote."""
        return cls(**values)


@dataclass(frozen=True, slots=True)
class ClipSchedule:
    """How `clip_ratio_high` goes from `start` to `final`; `kind` is a name in `CURVES`."""

    kind: str
    start: float
    final: float

    @property
    def last(self) -> float:
        """The last step's value."""
        return self.start if self.kind == "constant" else self.final


class StepPlanner:
    """Makes each step's plan out of a run's settings.

    Raises:
        SettingsError: where a key is wrong, contradicts another, or asks for what this run's engine cannot do; the
            message names the key and the mend.
    """

    def __init__(self, config: DictConfig) -> None:
        taxonomy = _group(config, "taxonomy", TAXONOMY_KEYS)
        negative = _group(config, "negative_weights", None)
        schedule = _group(config, "clip_schedule", SCHEDULE_KEYS)
        self.taxonomy = _flag(taxonomy, "log")
        self.negatives = bool(negative)
        self.weights = _weights(taxonomy, negative)
        self.schedule = _clip_schedule(schedule, config)
        self.winners_kl = winners_kl(config)
        groups = dict(zip(GROUPS, (taxonomy, negative, schedule), strict=True))
        self._given = {
            f"{NAMESPACE}.{group}.{key}": value for group, keys in groups.items() for key, value in keys.items()
        }
        if self.winners_kl:
            self._given[f"{NAMESPACE}.{SWITCH}"] = True
        self._check(config)

    @property
    def asks(self) -> bool:
        """Whether any plan of this run asks the engine for more than the update's statistics."""
        return self.at(1, 1) != StepPlan()

    def at(self, step: int, total_steps: int) -> StepPlan:
        """Return the plan of one step, counted from 1, of a run of `total_steps`."""
        clip = self.schedule
        return StepPlan(
            taxonomy=self.taxonomy,
            weights=self.weights,
            clip_ratio_high=None if clip is None else scheduled(clip.start, clip.final, clip.kind, step, total_steps),
            winners_kl=self.winners_kl,
        )

    def resolved(self) -> list[ResolvedKey]:
        """Return the keys under `wapo.` that this run sets, and what they came to, for the printed table."""
        weights = ", ".join(f"{name} {weight:g}" for name, weight in (self.weights or {}).items())
        schedule = self.schedule
        notes = {
            "include_bins": f"weights: {weights}",
            "exclude_bins": f"weights: {weights}",
            "kind": "" if schedule is None else f"clip_ratio_high from {schedule.start:g} to {schedule.last:g}",
            SWITCH: "the KL loss acts on tokens with an advantage alone",
        }
        return [
            ResolvedKey(
                key, str(value), USER, f"weights: {weights}" if "negative" in key else notes.get(_leaf(key), "")
            )
            for key, value in self._given.items()
        ]

    def _check(self, config: DictConfig) -> None:
        """Raise SettingsError where the run's engine, loss or algorithm cannot do what is asked for."""
        if not self.asks:
            return
        actor, asked = config.actor_rollout_ref.actor, ", ".join(self._given)
        if actor.strategy not in STRATEGIES:
            raise SettingsError(f"{asked}: needs {ACTOR}.strategy={' or '.join(STRATEGIES)}, which is {actor.strategy}")
        fused = OmegaConf.select(config, "actor_rollout_ref.model.use_fused_kernels", default=False)
        if fused and self.at(1, 1).needs_statistics:
            raise SettingsError(
                f"{asked}: set actor_rollout_ref.model.use_fused_kernels=False, since fused kernels make no logits"
            )
        if self.schedule is not None and actor.policy_loss.loss_mode in UNCLIPPED_LOSSES:
            raise SettingsError(
                f"{NAMESPACE}.clip_schedule has nothing to move: {ACTOR}.policy_loss.loss_mode="
                f"{actor.policy_loss.loss_mode} has no upper clip; leave it out or choose another loss"
            )
        if self.winners_kl and not actor.use_kl_loss:
            raise SettingsError(
                f"{NAMESPACE}.{SWITCH} has no KL loss to act on: set {ACTOR}.use_kl_loss=True, or leave it out"
            )
        if self.negatives:
            _check_losers(chosen_algorithm(config))


def plan_groups(config: DictConfig) -> list[str]:
    """Return the groups of keys and the switch, of those a plan is made of, that a run sets."""
    names = [f"{NAMESPACE}.{group}" for group in (*GROUPS, SWITCH)]
    return [name for name in names if OmegaConf.select(config, name, default=None) is not None]


def winners_kl(config: DictConfig) -> bool:
    """Tell whether a KL loss leaves out the tokens without an advantage; raises SettingsError for no true or false."""
    asked = OmegaConf.select(config, f"{NAMESPACE}.{SWITCH}", default=False)
    if not isinstance(asked, bool):
        raise SettingsError(f"{NAMESPACE}.{SWITCH}={asked} is not possible: choose true, false")
    return asked


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _group(config: DictConfig, name: str, known: tuple[str, ...] | None) -> dict[str, Any]:
    """Return the keys set under `wapo.<name>`, plain; empty where the group is missing."""
    found = OmegaConf.select(config, f"{NAMESPACE}.{name}", default=None)
    if found is None:
        return {}
    if not isinstance(found, DictConfig):
        keys = known or ("neg_peak", "neg_valley", "neg")
        raise SettingsError(f"{NAMESPACE}.{name}={found} is no group of keys: set {NAMESPACE}.{name}.{keys[0]}=...")
    values = OmegaConf.to_container(found, resolve=True)
    assert isinstance(values, dict)
    unknown = [str(key) for key in values if known is not None and key not in known]
    if unknown:
        raise SettingsError(f"{NAMESPACE}.{name}.{unknown[0]} is not a key: choose {', '.join(known or ())}")
    return {str(key): value for key, value in values.items() if value is not None}


def _flag(group: Mapping[str, Any], key: str) -> bool:
    value = group.get(key, False)
    if not isinstance(value, bool):
        raise SettingsError(f"{NAMESPACE}.taxonomy.{key}={value} is not possible: choose true, false")
    return value


def _weights(taxonomy: Mapping[str, Any], negative: Mapping[str, Any]) -> dict[str, float] | None:
    """Return each bin's weight, or None where no key weights any."""
    include, exclude = taxonomy.get("include_bins"), taxonomy.get("exclude_bins")
    if include is None and exclude is None and not negative:
        return None
    try:
        return bin_weights(include, exclude, negative or None)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{NAMESPACE}.taxonomy or {NAMESPACE}.negative_weights: {error}") from error


def _clip_schedule(group: Mapping[str, Any], config: DictConfig) -> ClipSchedule | None:
    """Read `wapo.clip_schedule`, which starts at the run's own upper clip; None where it is not set."""
    if not group:
        return None
    kind, key = str(group.get("kind")), f"{NAMESPACE}.clip_schedule"
    if kind not in CURVES:
        raise SettingsError(f"{key}.kind={kind} is not possible: choose {', '.join(CURVES)}")
    actor = config.actor_rollout_ref.actor
    start = float(actor.clip_ratio if actor.clip_ratio_high is None else actor.clip_ratio_high)
    final = group.get("final", start if kind == "constant" else None)
    if isinstance(final, bool) or not isinstance(final, int | float) or not final > 0:
        raise SettingsError(f"{key}.final={final} is not possible: give the last step's clip_ratio_high, above 0")
    return ClipSchedule(kind, start, float(final))


def _check_losers(found: Algorithm | None) -> None:
    """Raise SettingsError for an algorithm whose losers carry nothing that could be weighted (veRL's own all do)."""
    if found is None:
        return
    one = torch.ones(2, dtype=torch.int64)
    group = Batch(rewards=torch.tensor([1.0, 0.0]), group_ids=torch.zeros_like(one), lengths=one)
    made = found.advantages(group, found.default_options())
    losers = made.rows if made.loser_rows is None else made.rows + made.loser_rows
    if not bool((losers < 0).any()):
        raise SettingsError(
            f"{NAMESPACE}.negative_weights: a loser of {found.name} carries no negative advantage that could be "
            "weighted; leave it out or choose another algorithm.adv_estimator"
        )
