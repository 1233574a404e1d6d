"""Set what an algorithm, a platform or a feature wants of veRL's keys, wherever the user set nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from wapo_verl.algorithms import Default, Value
from wapo_verl.settings.explicit_keys import is_explicit

USER = "user"


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
