"""Resolves a run's settings: `algorithm.adv_estimator=wapo` alone gives the whole objective.

An algorithm declares its values for veRL's keys. Each is set where the user set nothing; what the user set wins, and is
checked against the algorithm. What came out is printed once, as a short table. The same mechanism applies a platform's
values. Left out: the values themselves, which stand with the algorithm and the platform.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wapo_verl.algorithms import Algorithm, Default, Finding, Value, algorithm
from wapo_verl.settings.explicit_keys import explicit_keys, is_explicit

NAMESPACE = "wapo"
USER = "user"
TABLE_WIDTH = 150  # columns; a log file has no width of its own, and a cut key helps nobody


class SettingsError(ValueError):
    """Settings that contradict each other or the algorithm; the message names the keys and the mends."""


@dataclass(frozen=True, slots=True)
class ResolvedKey:
    """One key's outcome: its value, who set it ("user", or the origin whose default it is), and a few words on why."""

    key: str
    value: Value
    origin: str
    note: str = ""


def apply_defaults(
    config: DictConfig,
    defaults: Mapping[str, Default],
    explicit: set[str],
    origin: str,
    notes: Mapping[str, str] | None = None,
) -> list[ResolvedKey]:
    """Set each default where the user set nothing, in place, and tell what every key came to.

    Args:
        config: the whole configuration; in struct mode or not, missing keys and what holds them are added.
        defaults: dotted key -> value, or a function of `config` as it is when its turn comes.
        explicit: the keys the user set (`explicit_keys`), which are left as they are.
        origin: whose defaults these are, for the table.
        notes: dotted key -> a few words on why.
    """
    resolved = []
    for key, default in defaults.items():
        value = default(config) if callable(default) else default
        note = (notes or {}).get(key, "")
        if is_explicit(key, explicit):
            kept = OmegaConf.select(config, key)
            differs = f"{origin} would set {value}" if kept != value else note
            resolved.append(ResolvedKey(key, kept, USER, differs))
            continue
        OmegaConf.update(config, key, value, force_add=True)
        resolved.append(ResolvedKey(key, value, origin, note))
    return resolved


def resolve(config: DictConfig, explicit: set[str]) -> list[ResolvedKey]:
    """Apply the settings of the algorithm that `algorithm.adv_estimator` names; nothing where it is not one of ours."""
    found = chosen_algorithm(config)
    if found is None:
        return []
    return apply_defaults(config, found.defaults, explicit, found.name, found.notes)


def apply(
    config: DictConfig,
    further: Sequence[tuple[str, Mapping[str, Default]]] = (),
    console: Console | None = None,
    variants: Callable[[DictConfig], Sequence[ResolvedKey]] = lambda config: (),
) -> list[ResolvedKey]:
    """Resolve, check and print a run's settings, in place, before veRL validates them.

    Args:
        config: veRL's whole configuration.
        further: more defaults, as (origin, defaults), such as a platform's; an earlier one wins over a later one, and
            the algorithm's over all. The user's keys are found once, before any of them is applied.
        console: where to print; the terminal by default.
        variants: reads the resolved configuration for further keys under `wapo.`, which the table then shows.

    Raises:
        SettingsError: where a setting contradicts the algorithm, or an option under `wapo.` has no such value.
    """
    explicit = explicit_keys(config)
    resolved = resolve(config, explicit)
    for origin, defaults in further:
        done = {entry.key for entry in resolved}
        left = {key: default for key, default in defaults.items() if key not in done}
        resolved += apply_defaults(config, left, explicit, origin)
    found = chosen_algorithm(config)
    findings: list[Finding] = []
    if found is not None:
        resolved += [
            ResolvedKey(f"{NAMESPACE}.{name}", value, USER)
            for name, value in algorithm_options(config, found).items()
            if is_explicit(f"{NAMESPACE}.{name}", explicit)
        ]
        findings = found.check(config, explicit)
    resolved += variants(config)
    _report(resolved, findings, [origin for origin, _ in further], console or _wide_console())
    return resolved


def chosen_algorithm(config: DictConfig) -> Algorithm | None:
    """Return the algorithm of ours that the run uses, or None."""
    name = OmegaConf.select(config, "algorithm.adv_estimator")
    return algorithm(str(name))


def algorithm_options(config: DictConfig, found: Algorithm) -> dict[str, str]:
    """Return the value of each of the algorithm's own options, as `+wapo.NAME=VALUE` sets them.

    Raises:
        SettingsError: where a value is not allowed; the message names the allowed ones.
    """
    options = found.default_options()
    for name, allowed in found.options.items():
        value = OmegaConf.select(config, f"{NAMESPACE}.{name}", default=options[name])
        if value not in allowed:
            raise SettingsError(f"{NAMESPACE}.{name}={value} is not possible: choose {', '.join(allowed)}")
        options[name] = value
    return options


def _report(
    resolved: Sequence[ResolvedKey], findings: Sequence[Finding], origins: Sequence[str], console: Console
) -> None:
    """Print a table of the algorithm's keys, a line for each of the further origins, the warnings; raise the errors."""
    shown = [entry for entry in resolved if entry.origin not in origins]
    if shown:
        console.print(settings_table(shown))
    for origin in origins:
        settings = ", ".join(f"{entry.key}={entry.value}" for entry in resolved if entry.origin == origin)
        if settings:
            console.print(f"also set for {origin}: {settings}", markup=False, highlight=False, soft_wrap=True)
    for finding in findings:
        if finding.level == "warning":
            console.print(f"[yellow]warning[/]: {escape(finding.key)}: {escape(finding.message)}", soft_wrap=True)
    errors = [f"{finding.key}: {finding.message}" for finding in findings if finding.level == "error"]
    if errors:
        raise SettingsError("; ".join(errors))


def _wide_console() -> Console:
    return Console(width=max(Console().width, TABLE_WIDTH))


def settings_table(resolved: Sequence[ResolvedKey]) -> Table:
    """Lay out the resolved keys as a table, one line a key."""
    table = Table(title="settings resolved by wapo-verl", title_justify="left", box=None, pad_edge=False)
    for column in ("key", "value", "set by"):
        table.add_column(column, no_wrap=True)
    table.add_column("why")  # breaks its lines, where it would cut the other columns
    for entry in resolved:
        style = "bold" if entry.origin == USER else ""
        table.add_row(escape(entry.key), escape(str(entry.value)), entry.origin, escape(entry.note), style=style)
    return table
