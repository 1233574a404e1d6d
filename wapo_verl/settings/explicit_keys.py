"""Tell which veRL keys the user set, and which still have veRL's packaged value.

Three sources: the command line's overrides; the user's own primary config file (`--config-path`, `--config-name`); and
every value that differs from veRL's packaged one, which covers files the primary one pulls in and configs made in
Python. A value in such a further file that equals veRL's own counts as the default: nothing tells them apart.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import verl.trainer.config
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

_GENERATED = {
    "verl.workers.config.McoreActorConfig": "_generated_ppo_megatron_trainer.yaml",
    "verl.workers.config.VeOmniActorConfig": "_generated_ppo_veomni_trainer.yaml",
    "verl.workers.config.TorchTitanActorConfig": "_generated_ppo_torchtitan_trainer.yaml",
}


def explicit_keys(config: DictConfig) -> set[str]:
    """Return the dotted keys the user set, leaves only, in a run's configuration.

    Args:
        config: veRL's whole configuration, before anything of ours was applied.
    """
    keys = _differing_keys(config)
    if HydraConfig.initialized():
        keys |= override_keys(list(HydraConfig.get().overrides.task)) | _primary_file_keys()
    return keys


def is_explicit(key: str, explicit: set[str]) -> bool:
    """Tell whether the user set `key`, something inside it, or what holds it."""
    return any(key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in explicit)


def override_keys(overrides: list[str]) -> set[str]:
    """Return the keys that Hydra overrides set, deleted ones included; a dict counts as its leaves.

    The choice of a config group ("actor=...", "model@critic.model=...") names no key and is left out.

    Raises:
        hydra.errors.OverrideParseException: where an override is malformed.
    """
    keys: set[str] = set()
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.package is not None or "/" in override.key_or_group:
            continue
        value = override.value()
        nested = isinstance(value, dict) and not override.is_delete()
        keys |= {key for key, _ in _leaves(value, f"{override.key_or_group}.")} if nested else {override.key_or_group}
    return keys


def _differing_keys(config: DictConfig) -> set[str]:
    target = OmegaConf.select(config, "actor_rollout_ref.actor._target_")
    defaults = _packaged_leaves(_GENERATED.get(str(target), "_generated_ppo_trainer.yaml"))
    ours = _leaves(OmegaConf.to_container(config, resolve=False))
    return {key for key, value in ours if value not in [leaves[key] for leaves in defaults if key in leaves]}


def packaged_keys() -> list[str]:
    """Return the dotted keys of veRL's own configuration, leaves only."""
    return list(_packaged_leaves("_generated_ppo_trainer.yaml")[0])


@cache
def _packaged_leaves(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the leaves of one of veRL's packaged configurations, as written and resolved."""
    loaded = OmegaConf.load(Path(verl.trainer.config.__file__).parent / name)
    written, resolved = (dict(_leaves(OmegaConf.to_container(loaded, resolve=resolve))) for resolve in (False, True))
    return written, resolved


def _primary_file_keys() -> set[str]:
    """Return the leaves of the file named by --config-path and --config-name, where that is not veRL's own."""
    hydra = HydraConfig.get()
    packaged = Path(verl.trainer.config.__file__).parent.resolve()
    name = str(hydra.job.config_name).removesuffix(".yaml")
    for source in hydra.runtime.config_sources:
        file = Path(source.path) / f"{name}.yaml"
        if source.schema == "file" and file.is_file() and file.parent.resolve() != packaged:
            written = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
            return {key for key, _ in _leaves(written) if key != "defaults" and not key.startswith("hydra.")}
    return set()


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every leaf of nested dicts; a list is a leaf, an empty dict has none."""
    for name, child in value.items():
        if isinstance(child, dict):
            yield from _leaves(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child
