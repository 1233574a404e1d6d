"""Every recipe's commands, recorded by a stand-in for Python, hold on veRL's real configuration. No GPU, no Ray.

What the recipes would do on a GPU is not tested, only that veRL and this project accept what they ask for.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import verl.trainer.config
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf, open_dict

from retrieval_index import Document, build_index
from wapo_verl import run_settings
from wapo_verl.agent_loop.settings import SearchAgentConfig

RECIPES = Path(__file__).parents[2] / "recipes"
SCRIPTS = sorted(RECIPES.glob("*/run_*.sh"))
GPU_SCRIPTS = [script for script in SCRIPTS if "smoke" not in script.name]
PACKAGED = str(Path(verl.trainer.config.__file__).parent)
TRAIN = ["-m", "verl.trainer.main_ppo"]
OPEN_KEYS = (
    "+wapo.trainer",
    "+wapo.search_agent.",
    "+reward.custom_reward_function.reward_kwargs.weights.",
    "+ray_kwargs.ray_init.address",
    "+ray_kwargs.ray_init.runtime_env.env_vars.",
)
"""What a recipe may add to veRL's configuration; all other keys must be there already, or Hydra refuses them."""

RECORDER = """#!{python}
import json, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
"""


@pytest.fixture(autouse=True)
def _no_hydra_left() -> Iterator[None]:
    yield
    HydraConfig.instance().cfg = None


def name(script: Path) -> str:
    return f"{script.parent.name}/{script.stem}"


def run(script: Path, folder: Path, *arguments: str, **knobs: str) -> subprocess.CompletedProcess[str]:
    """Run a recipe with a `PYTHON` that writes its arguments to `folder`/log and does nothing."""
    recorder = folder / "python"
    recorder.write_text(RECORDER.format(python=sys.executable, log=str(folder / "log")))
    recorder.chmod(0o755)
    for source in ("ottqa", "hotpotqa"):
        (folder / source).mkdir(exist_ok=True)
    (folder / "abstracts").mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHON": str(recorder),
        "OTTQA_DIR": str(folder / "ottqa"),
        "HOTPOTQA_DIR": str(folder / "hotpotqa"),
        "ABSTRACTS": str(folder / "abstracts"),
        "OUT": str(folder / "out"),
        **knobs,
    }
    command = ["bash", str(script), *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def commands(script: Path, folder: Path, *arguments: str, **knobs: str) -> list[list[str]]:
    """The Python commands of a recipe, without the interpreter."""
    finished = run(script, folder, *arguments, **knobs)
    assert finished.returncode == 0, finished.stderr
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def validated(script: Path, folder: Path, *arguments: str, **knobs: str) -> DictConfig:
    """What a recipe's training run is configured to after resolution; veRL has validated it."""
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    recorded = commands(script, folder, *arguments, **knobs)
    build_index([Document("1", "Fox", "A fox.")], recorded[0][3])  # where the recipe would have built its own
    (training,) = [command for command in recorded if command[:2] == TRAIN]
    with initialize_config_dir(PACKAGED, version_base=None):
        config = compose("ppo_trainer", overrides=training[2:], return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    run_settings.apply(config)
    # veRL's own function, where the plugin has wrapped it: the settings were applied above.
    validate = getattr(validate_config, "__wrapped__", validate_config)
    validate(config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
    for part in ("actor_rollout_ref.rollout", "algorithm"):
        omega_conf_to_dataclass(OmegaConf.select(config, part))
    SearchAgentConfig.from_config(config)
    return config


@pytest.fixture
def on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_settings, "on_cpu", lambda config: False)


def test_there_are_recipes() -> None:
    assert {name(script) for script in SCRIPTS} >= {
        "ottqa/run_cpu_smoke",
        "ottqa/run_qwen3_4b",
        "hotpotqa/run_smollm3_3b",
    }


@pytest.mark.parametrize("script", sorted(RECIPES.rglob("*.sh")), ids=lambda script: script.name)
def test_bash_can_read_it(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


@pytest.mark.parametrize("script", sorted(RECIPES.rglob("*.sh")), ids=lambda script: script.name)
def test_no_machine_is_named_in_it(script: Path) -> None:
    text = script.read_text().removeprefix("#!/usr/bin/env bash")
    assert not re.search(r"""(?:^|[\s"'=(])/(?:work|home|root|tmp|mnt|data|usr|opt)\b""", text)


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_it_can_be_run_and_hands_its_arguments_on_last(script: Path, tmp_path: Path) -> None:
    assert os.access(script, os.X_OK)
    assert re.search(r'main_ppo \\\n(?:    .*\\\n)+    "\$@"\n', script.read_text())
    recorded = commands(script, tmp_path, "trainer.total_epochs=7", "data.seed=1")
    assert recorded[-1][-2:] == ["trainer.total_epochs=7", "data.seed=1"]


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_it_indexes_and_prepares_before_it_trains(script: Path, tmp_path: Path) -> None:
    recorded = commands(script, tmp_path)
    modules = [command[1] for command in recorded]
    assert modules[:2] == ["retrieval_index", "wapo_verl.cli"]
    assert modules[-1] == "verl.trainer.main_ppo"
    assert "--skip-existing" in recorded[0]
    (index,) = [value for value in recorded[-1] if value.startswith("+wapo.search_agent.index=")]
    assert index.partition("=")[2] == recorded[0][3]
    assert Path(recorded[0][3]).is_absolute()
    prepared = recorded[1][recorded[1].index("--out") + 1]
    for files in ("data.train_files", "data.val_files"):
        (value,) = [value for value in recorded[-1] if value.startswith(f"{files}=")]
        file = Path(value.partition("=")[2])
        assert str(file.parent) == prepared
        assert file.stem in recorded[1], "the split is among those prepared"


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_it_adds_no_key_that_nobody_reads(script: Path, tmp_path: Path) -> None:
    training = commands(script, tmp_path, RAY_ADDRESS="auto")[-1]
    added = [value.partition("=")[0] for value in training if value.startswith("+")]
    assert [key for key in added if not key.startswith(OPEN_KEYS)] == []


@pytest.mark.parametrize("key", ["actor_rollout_ref.actor.clip_ratio_hihg=9", "+wapo.search_agent.topk=3"])
@pytest.mark.usefixtures("on_gpus")
def test_an_unknown_key_is_noticed(key: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigCompositionException, ValueError), match=r"hihg|topk"):
        validated(GPU_SCRIPTS[0], tmp_path, key)


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_two_knobs_reach_the_run(script: Path, tmp_path: Path) -> None:
    training = commands(script, tmp_path, STEPS="17", TOP_K="5")[-1]
    assert "trainer.total_training_steps=17" in training
    assert "+wapo.search_agent.top_k=5" in training


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_several_nodes_need_a_cluster(script: Path, tmp_path: Path) -> None:
    finished = run(script, tmp_path, NNODES="2")
    assert finished.returncode == 1
    assert "RAY_ADDRESS" in finished.stderr
    training = commands(script, tmp_path, NNODES="2", RAY_ADDRESS="auto")[-1]
    assert {"trainer.nnodes=2", "+ray_kwargs.ray_init.address=auto"} <= set(training)


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_missing_data_is_one_sentence_on_where_to_get_it(script: Path, tmp_path: Path) -> None:
    finished = run(script, tmp_path, OTTQA_DIR="nowhere", HOTPOTQA_DIR="nowhere")
    assert finished.returncode == 1
    assert re.fullmatch(r"error: .*nowhere is not there: .*https://.*\n", finished.stderr)


@pytest.mark.parametrize("script", GPU_SCRIPTS, ids=name)
@pytest.mark.usefixtures("on_gpus")
def test_the_published_numbers_arrive(script: Path, tmp_path: Path) -> None:
    config = validated(script, tmp_path)
    actor, rollout, model = (config.actor_rollout_ref[part] for part in ("actor", "rollout", "model"))
    assert rollout.n == 8
    assert config.data.train_batch_size * rollout.n == 256
    assert actor.ppo_mini_batch_size * rollout.n == 64
    assert actor.loss_scale_factor == 8192
    assert (actor.policy_loss.loss_mode, actor.clip_ratio_high) == ("wapo", 9.0)
    assert actor.loss_agg_mode == "seq-mean-token-sum-norm"
    assert (actor.optim.lr, actor.optim.lr_warmup_steps, actor.optim.lr_scheduler_type) == (1e-5, 10, "constant")
    assert (actor.grad_clip, rollout.temperature) == (1.0, 1.0)
    assert model.lora_rank > 0
    assert model.target_modules == "all-linear"
    assert config.trainer.total_training_steps == 1000
    agent = SearchAgentConfig.from_config(config)
    assert (agent.top_k, agent.max_turns, agent.max_turn_tokens) == (3, 10, 1024)
    assert config.trainer.device == "cuda"


@pytest.mark.parametrize("script", GPU_SCRIPTS, ids=name)
@pytest.mark.usefixtures("on_gpus")
def test_checkpoints_resume_validation_and_loggers_are_on(script: Path, tmp_path: Path) -> None:
    config = validated(script, tmp_path, LOGGER="[console,tensorboard]")
    assert config.trainer.save_freq > 0
    assert config.trainer.resume_mode == "auto"
    assert config.trainer.test_freq > 0
    assert config.trainer.val_before_train
    assert config.trainer.logger == ["console", "tensorboard"]
    assert "not yet run on a gpu" in script.read_text().lower()


@pytest.mark.parametrize("script", GPU_SCRIPTS, ids=name)
@pytest.mark.usefixtures("on_gpus")
def test_grpo_is_the_same_run_with_another_objective(script: Path, tmp_path: Path) -> None:
    config = validated(script, tmp_path, ADV_ESTIMATOR="grpo")
    actor = config.actor_rollout_ref.actor
    assert config.algorithm.adv_estimator == "grpo"
    assert (actor.policy_loss.loss_mode, actor.loss_agg_mode) == ("vanilla", "seq-mean-token-mean")
    assert (actor.clip_ratio_low, actor.clip_ratio_high) == (0.2, 0.2)
    assert config.algorithm.norm_adv_by_std_in_grpo
    assert config.algorithm.rollout_correction.bypass_mode
    assert config.actor_rollout_ref.rollout.n == 8
    assert config.trainer.v1.trainer_mode == "wapo_sync"


def test_another_estimator_has_no_recipe(tmp_path: Path) -> None:
    finished = run(GPU_SCRIPTS[0], tmp_path, ADV_ESTIMATOR="ppo")
    assert finished.returncode == 1
    assert "choose wapo or grpo" in finished.stderr


def test_the_smoke_run_is_for_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_settings, "on_cpu", lambda config: True)
    config = validated(RECIPES / "ottqa" / "run_cpu_smoke.sh", tmp_path)
    assert config.trainer.device == "cpu"
    assert config.actor_rollout_ref.actor.policy_loss.loss_mode == "wapo"
    assert config.trainer.total_training_steps == 3
    assert dict(config.reward.custom_reward_function.reward_kwargs.weights) == {"exact_match": 1.0, "format": 0.1}
    assert SearchAgentConfig.from_config(config).max_turns == 10
