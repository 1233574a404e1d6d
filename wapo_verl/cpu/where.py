"""Whether a run computes on CPUs: it says so, or it uses this package where there is nothing else."""

import logging
import os
import socket
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

NAME = "cpu"
"""The platform's name, and its device's."""

PLATFORM_VARIABLE = "VERL_PLATFORM"
"""veRL's own variable: the name of the platform that a process takes, in place of looking for one."""

RAY_ADDRESS_VARIABLE = "RAY_ADDRESS"


def on_cpu(config: DictConfig) -> bool:
    """Tell whether a run that uses this package computes on this machine's CPU, or those of its cluster.

    It does where it asks for that, and where this machine has no accelerator and nothing says that the devices are
    elsewhere: a driver without a GPU may be a cluster's head, or a pod beside one.
    """
    return asks_for_cpu(config) or (elsewhere(config) is None and accelerator() is None)


def asks_for_cpu(config: DictConfig) -> bool:
    """Tell whether a run asks for the CPU: `trainer.device=cpu`, or VERL_PLATFORM=cpu for this process."""
    return OmegaConf.select(config, "trainer.device", default=None) == NAME or _chosen_platform() == NAME


def elsewhere(config: DictConfig) -> str | None:
    """Return what says that the run's devices are not this machine's own, or None."""
    if _chosen_platform() not in ("", NAME):
        return f"{PLATFORM_VARIABLE}={_chosen_platform()}"
    joined = joined_cluster(config)
    if joined is not None:
        return None if joins_cpus(config) else joined
    if int(OmegaConf.select(config, "trainer.nnodes", default=1)) > 1:
        return f"trainer.nnodes={config.trainer.nnodes}"
    return None


def joins_cpus(config: DictConfig) -> bool:
    """Tell whether veRL joins the cluster that this machine is a node of, and that has logical devices alone."""
    import ray

    if ray.is_initialized():
        return has_logical_devices(ray.nodes())
    here = running_ray()
    given = OmegaConf.select(config, "ray_kwargs.ray_init.address", default=None)
    joined = given if given not in (None, "auto") else os.environ.get(RAY_ADDRESS_VARIABLE) or "auto"
    return here is not None and joined in ("auto", here) and has_logical_devices(_nodes(here))


def has_logical_devices(nodes: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether a cluster's nodes were started with logical GPUs, `ray start --num-gpus=1`, and have no real ones.

    Ray notes the kind of an accelerator that it sees on a node as a resource, such as `accelerator_type:H100`. A
    cluster whose GPU nodes are still to come has no GPUs yet, logical ones neither.

    Args:
        nodes: as `ray.nodes()` returns them.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    seen = any(name.startswith("accelerator_type:") for each in resources for name in each)
    return not seen and any(each.get("GPU", 0) > 0 for each in resources)


@cache
def _nodes(address: str) -> list[dict[str, Any]]:
    """Return the nodes of this machine's cluster, which is joined for that moment; none of one that has ended."""
    import ray

    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except OSError:
        return []
    # By "auto" and not by its address, for which Ray would not take the token that `ray start` has taken.
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError:
        return []  # what answers there is no Ray
    try:
        is_that_one = ray.get_runtime_context().gcs_address == address  # "auto" may find another one on this machine
        return list(ray.nodes()) if is_that_one else []
    finally:
        ray.shutdown()


def joined_cluster(config: DictConfig) -> str | None:
    """Return what says that veRL joins a Ray cluster that is there already, or None where it starts one here."""
    import ray

    if ray.is_initialized():
        return "this process has already joined a Ray cluster"
    given = OmegaConf.select(config, "ray_kwargs.ray_init.address", default=None)
    if given is not None and given != "auto":
        return None if given == "local" else f"ray_kwargs.ray_init.address={given}"
    if address := os.environ.get(RAY_ADDRESS_VARIABLE):
        return f"{RAY_ADDRESS_VARIABLE}={address}"
    if address := running_ray():
        return f"a Ray cluster runs on this machine ({address})"
    return None


def running_ray() -> str | None:
    """Return the address of the cluster that `ray start` left on this machine, which `ray.init()` joins, or None."""
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    left = Path(temporary) / "ray" / "ray_current_cluster"
    return left.read_text().strip() or None if left.is_file() else None


def _chosen_platform() -> str:
    return os.environ.get(PLATFORM_VARIABLE, "").strip().lower()


def accelerator() -> str | None:
    """Return the name of a registered platform, other than the CPU, whose accelerator this host has, else None."""
    from verl.plugin.platform import PlatformRegistry

    for name in PlatformRegistry.registered_names():
        if name == NAME:
            continue
        platform_class = PlatformRegistry.get(name)
        if platform_class is not None and platform_class().is_platform_available(use_smi_check=True):
            return name
    return None
