"""Whether a run computes on this machine's CPU. No GPU, no Ray started."""

from pathlib import Path
from typing import Any

import pytest
import ray
from omegaconf import DictConfig, OmegaConf

from wapo_verl.cpu import where


def config(device: str = "cuda", nnodes: int = 1, **ray_init: Any) -> DictConfig:
    return OmegaConf.create(
        {"trainer": {"device": device, "nnodes": nnodes}, "ray_kwargs": {"ray_init": {"num_cpus": None, **ray_init}}}
    )


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without an accelerator, of which nothing says that its devices are elsewhere."""
    monkeypatch.setattr("wapo_verl.cpu.where.accelerator", lambda: None)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    for variable in ("RAY_ADDRESS", "VERL_PLATFORM"):
        monkeypatch.delenv(variable, raising=False)


def test_a_machine_without_an_accelerator_computes_on_its_cpu() -> None:
    assert where.on_cpu(config())
    assert where.on_cpu(config(address="local"))


def test_one_with_an_accelerator_does_where_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wapo_verl.cpu.where.accelerator", lambda: "nvidia")
    assert not where.on_cpu(config())
    assert where.on_cpu(config("cpu"))
    monkeypatch.setenv("VERL_PLATFORM", "CPU")
    assert where.on_cpu(config())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (config(address="10.0.0.1:6379"), "ray_kwargs.ray_init.address=10.0.0.1:6379"),
        (config(nnodes=2), "trainer.nnodes=2"),
    ],
)
def test_devices_elsewhere_make_no_cpu_run_unless_it_is_asked_for(given: DictConfig, said: str) -> None:
    assert where.elsewhere(given) == said
    assert not where.on_cpu(given)
    given.trainer.device = "cpu"
    assert where.on_cpu(given)


@pytest.mark.parametrize(("name", "value"), [("RAY_ADDRESS", "10.0.0.1:6379"), ("VERL_PLATFORM", "nvidia")])
def test_a_variable_says_so_too(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert where.elsewhere(config()) == f"{name}={value}"
    assert not where.on_cpu(config())


HEAD = {"Alive": True, "Resources": {"CPU": 8.0}}
LOGICAL = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}
REAL = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 8.0, "accelerator_type:H100": 1.0}}
GPU_CLUSTERS = {
    "a head beside GPU nodes": [HEAD, REAL],
    "a head whose GPU nodes are still to come": [HEAD],
    "a node that only declares GPUs beside one that has them": [LOGICAL, REAL],
    "one whose CPU node is gone": [REAL, {**LOGICAL, "Alive": False}],
}


@pytest.fixture
def cluster_here(tmp_path: Path) -> str:
    """A cluster as `ray start` leaves it: its address in the file that `ray.init()` reads."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")
    return "10.0.0.1:6379"


@pytest.mark.parametrize("name", GPU_CLUSTERS)
def test_a_cluster_left_by_ray_start_is_joined_so_its_devices_count(
    name: str, cluster_here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, "_nodes", lambda address: GPU_CLUSTERS[name])
    assert where.elsewhere(config()) == "a Ray cluster runs on this machine (10.0.0.1:6379)"
    assert not where.on_cpu(config(nnodes=2))
    assert where.on_cpu(config(address="local")), "which starts a Ray of its own"


def test_a_cluster_of_logical_devices_computes_on_cpus(cluster_here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However its address is given; one elsewhere is not asked."""
    monkeypatch.setattr(where, "_nodes", lambda address: {cluster_here: [LOGICAL, LOGICAL]}[address])
    for address in (None, "auto", cluster_here):
        assert where.on_cpu(config(nnodes=2, address=address))
    monkeypatch.setenv("RAY_ADDRESS", cluster_here)
    assert where.on_cpu(config(nnodes=2))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    assert not where.on_cpu(config(nnodes=2))
    assert not where.on_cpu(config(address="ray://10.0.0.1:10001"))


def test_so_do_those_of_a_cluster_that_this_process_has_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", lambda: [HEAD, REAL])
    assert not where.on_cpu(config())
    monkeypatch.setattr(ray, "nodes", lambda: [LOGICAL])
    assert where.on_cpu(config())
