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


def test_a_cluster_left_by_ray_start_is_joined_so_its_devices_count(tmp_path: Path) -> None:
    """`ray start --head` writes its address there, and `ray.init()` without one joins it."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")
    assert where.elsewhere(config()) == "a Ray cluster runs on this machine (10.0.0.1:6379)"
    assert not where.on_cpu(config())
    assert where.on_cpu(config(address="local")), "which starts a Ray of its own"


def test_so_do_those_of_a_cluster_that_this_process_has_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    assert not where.on_cpu(config())
