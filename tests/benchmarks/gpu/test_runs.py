"""What the GPU suite's runs ask for holds on veRL's real configuration, resolved as on a machine with a GPU. No Ray."""

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from support.hydra_runs import compose_run

from benchmarks.gpu import asynchronous, checkpoints, quickstart, smollm2
from benchmarks.gpu.cases import Setting
from benchmarks.gpu.pieces import PIECES
from benchmarks.gpu.runs import STALENESS, checked, command, device_settings
from examples.quickstart.command import Folders, command_of, run_values
from examples.quickstart.metrics import Row
from examples.smollm2.run import micro_batches
from examples.smollm2.settings import SmolLM2Settings
from retrieval_index import Document, build_index
from wapo_verl.settings import run as run_settings
from wapo_verl.training.decisions import Decisions

RUNS: dict[str, list[str]] = {
    "quickstart": quickstart.overrides(10),
    "guard": [*checkpoints.COLLAPSING, *checkpoints.GUARD],
    "resume": checkpoints.resuming(8),
    "colocate_async": asynchronous.COLOCATED,
    "separate_async": asynchronous.apart("cuda"),
}
STEP = {
    "actor/skipped_steps": 0.0,
    "actor/trained_rows/fraction": 0.4,
    "actor/grad_norm": 1.0,
    "training/rollout_probs_diff_mean": 1e-3,
    "timing_s/step": 3.0,
    "timing_s/gen": 2.0,
}


@pytest.fixture
def resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], DictConfig]:
    """Compose a run's command, resolve it as on a GPU, and have veRL validate it."""
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    monkeypatch.setenv("VERL_PLATFORM", "nvidia")

    def resolve(overrides: list[str]) -> DictConfig:
        config = compose_run(*overrides, command_line=True)
        run_settings.apply(config)
        validate = getattr(validate_config, "__wrapped__", validate_config)
        validate(config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
        return config

    return resolve


@pytest.mark.parametrize("name", RUNS)
def test_veRL_accepts_a_run(name: str, tmp_path: Path, resolved: Callable[[list[str]], DictConfig]) -> None:
    for split in ("train", "test"):
        build_index([Document("1", "Fox", "A fox.")], tmp_path / "index" / split)
    config = resolved(command(Folders(tmp_path), "cuda", RUNS[name])[3:])
    assert config.trainer.device == "cuda"
    assert config.trainer.n_gpus_per_node == 1
    assert Decisions.of(config).winners_only
    assert config.actor_rollout_ref.rollout.name == "vllm"
    assert config.actor_rollout_ref.model.override_config.attn_implementation == "sdpa"
    assert config.trainer.val_before_train is False


def test_veRL_accepts_the_pretrained_models_run(tmp_path: Path, resolved: Callable[[list[str]], DictConfig]) -> None:
    settings = SmolLM2Settings()
    values = {**run_values("smollm2", Folders(tmp_path), settings, 0), **micro_batches(settings)}
    config = resolved(command_of(values, smollm2.overrides("cuda", 10))[3:])
    assert config.trainer.total_training_steps == 10
    assert config.trainer.device == "cuda"


def test_a_cpu_gets_its_settings_from_the_plugin() -> None:
    assert device_settings("cpu") == []


def test_steps_that_did_not_train_or_sample_with_the_actors_weights_fail() -> None:
    good = [Row(1, STEP), Row(2, {**STEP, "actor/skipped_steps": 1.0})]
    assert checked(good, 2, "cuda")["gap"] == 1e-3
    stale = {**STEP, "training/rollout_probs_diff_mean": 0.5, STALENESS: 1.0}
    assert checked([*good, Row(3, stale)], 3, "cuda")["gap"] == 0.5, "the policy has moved since it sampled these"
    for change, reason in (
        ({"actor/grad_norm": 0.0}, "gradient is zero"),
        ({"actor/trained_rows/fraction": 1.0}, "winners alone"),
        ({"training/rollout_probs_diff_mean": 0.5}, "rollout gap is 0.5"),
        ({"actor/skipped_steps": 1.0}, "no step had a winner"),
    ):
        with pytest.raises(AssertionError, match=reason):
            checked([Row(1, {**STEP, **change})], 1, "cuda")
    with pytest.raises(AssertionError, match="2 steps were made, not 3"):
        checked(good, 3, "cuda")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.nightly
def test_the_quickstarts_piece_runs_on_a_cpu(tmp_path: Path) -> None:
    from dataclasses import replace

    from benchmarks.gpu.runner import run_piece

    (piece,) = [piece for piece in PIECES if piece.name == "quickstart"]
    outcome = run_piece(replace(piece, limit=900), Setting("cpu", True, tmp_path), 900)
    assert outcome.result == "passed", "\n".join(outcome.last_lines)
