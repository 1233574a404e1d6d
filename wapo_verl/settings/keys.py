"""Read the keys under `wapo.` into frozen models, and say what is wrong with them in one sentence a key.

Each group's model lies beside the feature that it sets. An algorithm's own options are keys of `wapo.` as well.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from wapo_verl.algorithms import ALGORITHMS, Algorithm
from wapo_verl.engine.step_plan import ClipScheduleKeys, NegativeWeights, TaxonomyKeys
from wapo_verl.guard.settings import GuardSettings
from wapo_verl.rollout.failures import FailureKeys
from wapo_verl.rollout.settings import SearchAgentKeys
from wapo_verl.training.record import RecordKeys

NAMESPACE = "wapo"
RESOLVED = "resolved"
"""The key of `wapo.` under which the decisions are written back; nobody else's."""

_ELSEWHERE = {
    f"{NAMESPACE}.search_agent.max_turns": "set actor_rollout_ref.rollout.multi_turn.max_assistant_turns instead"
}
"""Keys that one may look for here, and where they are."""


class SettingsError(ValueError):
    """Settings that are wrong or contradict each other; the message names the keys and says what to do."""


class WapoKeys(BaseModel):
    """What the user set under `wapo.`, the algorithm's options left out.

    Attributes:
        trainer: whether this project's trainer runs; None leaves it to the algorithm and the other keys.
        winners_only: whether updates leave out the rows without an advantage; None leaves it to the algorithm.
        winners_kl: whether a KL loss leaves out the tokens without an advantage.
        outcome_gate: the reward part that a group's completions must differ in before any of them wins.
        taxonomy, negative_weights, clip_schedule: what a step's plan is made of.
        guard: the guard's settings; None leaves it out.
        record: what is written of each completion beside veRL's own dump.
        failures: how many episodes may fail; None leaves it to what the run does.
        seeded_sampling: whether each completion's random numbers are its own; None leaves it to the platform.
        search_agent: the agent loops' settings; None where no episode searches.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    trainer: bool | None = None
    winners_only: bool | None = None
    search_agent: SearchAgentKeys | None = None
    guard: GuardSettings | None = None
    record: RecordKeys | None = None
    failures: FailureKeys | None = None
    taxonomy: TaxonomyKeys | None = None
    negative_weights: NegativeWeights | None = None
    clip_schedule: ClipScheduleKeys | None = None
    winners_kl: bool = False
    outcome_gate: str | None = None
    seeded_sampling: bool | None = None

    @property
    def planned(self) -> list[str]:
        """The keys of a step's plan that are set."""
        groups = ("taxonomy", "negative_weights", "clip_schedule")
        return [name for name in groups if getattr(self, name) is not None] + ["winners_kl"] * self.winners_kl


def read(config: DictConfig, algorithm: Algorithm | None) -> tuple[WapoKeys, dict[str, str]]:
    """Read everything under `wapo.`, and the options of the run's algorithm, each with its default where it is not set.

    Args:
        config: veRL's whole configuration.
        algorithm: the algorithm of ours that the run uses, or None.

    Raises:
        SettingsError: for a key that nothing in this run reads, or a value that cannot be.
    """
    group = {} if config.get(NAMESPACE) is None else config[NAMESPACE]
    if not isinstance(group, dict | DictConfig):
        raise SettingsError(_no_group(NAMESPACE, group, WapoKeys))
    written = OmegaConf.to_container(group, resolve=True) if isinstance(group, DictConfig) else group
    given = {str(name): value for name, value in _without_nulls(written).items() if name != RESOLVED}
    names = {name for each in ALGORITHMS.values() for name in each.options}
    options = _options({name: given.pop(name) for name in names & set(given)}, algorithm, config)
    try:
        return WapoKeys.model_validate(given), options
    except ValidationError as error:
        raise SettingsError(explain(error, WapoKeys, NAMESPACE, also=sorted(names))) from error


def explain(error: ValidationError, model: type[BaseModel], prefix: str = "", also: Iterable[str] = ()) -> str:
    """Say what is wrong with each key, in one sentence a key.

    Args:
        error: what `model` raised.
        model: the model of the whole group.
        prefix: the group's own dotted name.
        also: further keys that the group has beside the model's.
    """
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")  # misspelt keys first
    return "; ".join(_sentence(problem, model, prefix, also) for problem in problems)


def _options(given: Mapping[str, Any], algorithm: Algorithm | None, config: DictConfig) -> dict[str, str]:
    """Return the value of each of the algorithm's options; raises SettingsError for one that it does not have."""
    known = {} if algorithm is None else algorithm.options
    for name, value in given.items():
        takers = [each.name for each in ALGORITHMS.values() if name in each.options]
        if name not in known:
            raise SettingsError(
                f"{NAMESPACE}.{name} is an option of {', '.join(takers)}, and algorithm.adv_estimator is "
                f"{config.algorithm.adv_estimator}: leave it out or choose another estimator"
            )
        if value not in known[name]:
            raise SettingsError(f"{NAMESPACE}.{name}={value} is not possible: choose {', '.join(known[name])}")
    return {name: given.get(name, allowed[0]) for name, allowed in known.items()}


def _without_nulls(values: Any) -> Any:
    """Leave the nulls out: a null means the same as a key that is not there."""
    if not isinstance(values, dict):
        return values
    return {name: _without_nulls(value) for name, value in values.items() if value is not None}


def _sentence(problem: ErrorDetails, model: type[BaseModel], prefix: str, also: Iterable[str]) -> str:
    *groups, name = [str(part) for part in problem["loc"]] or [""]
    holder = model
    for group in groups:
        holder = _group_model(holder.model_fields.get(group)) or holder
    key = ".".join(filter(None, (prefix, *groups, name)))
    field = holder.model_fields.get(name)
    group_model = _group_model(field)
    match problem["type"]:
        case "extra_forbidden":
            return _unknown(key, name, [*holder.model_fields, *(() if groups else also)])
        case "value_error":
            return f"{key or prefix}: {problem['ctx']['error']}"
        case "missing" if field is not None:
            return f"{key} is not set: {field.description or 'choose ' + ', '.join(get_args(_kind(field.annotation)))}"
        case _ if group_model is not None:
            return _no_group(key, problem["input"], group_model)
        case _:
            assert field is not None
            return _wrong(key, problem["input"], field)


def _unknown(key: str, name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, 1)
    hint = f"did you mean {key.removesuffix(name)}{close[0]}?" if close else f"there are {', '.join(known)}"
    return f"{key} is not a key of this project: {_ELSEWHERE.get(key, hint)}"


def _no_group(key: str, value: Any, model: type[BaseModel]) -> str:
    fields = model.model_fields.items()
    first = next((name for name, field in fields if field.is_required()), next(iter(model.model_fields)))
    return f"{key}={value} is no group of keys: set +{key}.{first}=..."


def _wrong(key: str, value: Any, field: FieldInfo) -> str:
    """Say which values a plain key may have."""
    kind = _kind(field.annotation)
    if get_origin(kind) is Literal or kind is bool:
        choices = ("true", "false") if kind is bool else get_args(kind)
        return f"{key}={value} is not possible: choose {', '.join(choices)}"
    if kind not in (int, float):
        return f"{key} must be {'a text' if kind is str else 'a list such as [a,b]'}, not {value!r}"
    rules = [(word, getattr(rule, name, None)) for rule in _limits(field) for name, word in _BOUNDS]
    limits = [f"{word} {bound}" for word, bound in rules if bound is not None]
    return f"{key} must be a {'whole' if kind is int else 'finite'} number {' and '.join(limits)}, not {value!r}"


_BOUNDS = (("ge", "of at least"), ("gt", "above"), ("le", "of at most"))
"""A limit's name in pydantic -> how it is said."""


def _limits(field: FieldInfo) -> list[Any]:
    rules = [*field.metadata, *(rule for part in get_args(field.annotation) for rule in get_args(part)[1:])]
    found = [each for rule in rules for each in getattr(rule, "metadata", [rule])]
    return [rule for rule in found if any(hasattr(rule, name) for name, _ in _BOUNDS)]


def _kind(annotation: Any) -> Any:
    """Return the type without `| None` and without limits."""
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if type(None) in get_args(annotation):
        return _kind(parts[0])
    return parts[0] if hasattr(annotation, "__metadata__") else annotation


def _group_model(field: FieldInfo | None) -> type[BaseModel] | None:
    kind = None if field is None else _kind(field.annotation)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
