"""Every recipe's commands, recorded by a stand-in for Python, hold on veRL's real configuration. No GPU, no Ray.

What the recipes would do on a GPU is not tested, only that veRL and this project accept what they ask for.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import verl.trainer.config
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from support.hydra_runs import compose_run
from support.paths import ROOT

from retrieval_index import Document, build_index
from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.data.json_lines import read_json_lines
from wapo_verl.environments import registry
from wapo_verl.estimate.duration import DEVICES, Device, step_time
from wapo_verl.estimate.memory import Job, rollout_memory, trainer_memory
from wapo_verl.estimate.report import gib, problems
from wapo_verl.estimate.run import job_of, steps_of
from wapo_verl.rollout.settings import SearchAgentConfig
from wapo_verl.settings import run as run_settings

RECIPES = ROOT / "recipes"
SCRIPTS = [script for script in sorted(RECIPES.glob("*/run_*.sh")) if script.parent.name != "study"]  # has its own test
GPU_SCRIPTS = [script for script in SCRIPTS if "smoke" not in script.name]
SEARCHING = [script for script in SCRIPTS if script.parent.name in ("hotpotqa", "ottqa")]
PUBLISHED = {
    "hotpotqa": (8192, 1000, 8192),
    "ottqa": (8192, 1000, 8192),
    "math500": (4096, 500, 512 + 2048),
    "numinamath_lean": (8192, 500, 512 + 4096),
}
"""L, steps, longest sequence."""

KEY_ROW = re.compile(r"^\| `(?P<key>[\w.]+)` \| [^|]* \| (?P<ours>[^|]*) \| [^|]*\|$", re.MULTILINE)
"""A line of docs/paper.md's table of settings: the key, the authors' value, ours, why they differ."""

BASELINES = ("grpo_ref", "dapo", "gspo_ref", "raft_pp", "cpgd")
PACKAGED = str(Path(verl.trainer.config.__file__).parent)
TRAIN = ["-m", "verl.trainer.main_ppo"]
OPEN_KEYS = (
    "+wapo.trainer",
    "+wapo.search_agent.",
    "+reward.custom_reward_function.reward_kwargs.weights",
    "+ray_kwargs.ray_init.address",
    "+ray_kwargs.ray_init.runtime_env.env_vars.",
)
"""What a recipe may add to veRL's configuration; all other keys must be there already, or Hydra refuses them."""

RECORDER = """#!{python}
import json, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
"""


def name(script: Path) -> str:
    return f"{script.parent.name}/{script.stem}"


def run(script: Path, folder: Path, *arguments: str, **knobs: str) -> subprocess.CompletedProcess[str]:
    """Run a recipe with a `PYTHON` that writes its arguments to `folder`/log and does nothing."""
    recorder = folder / "python"
    recorder.write_text(RECORDER.format(python=sys.executable, log=str(folder / "log")))
    recorder.chmod(0o755)
    for source in ("ottqa", "hotpotqa", "math", "math500", "numinamath"):
        (folder / source).mkdir(exist_ok=True)
    (folder / "abstracts").mkdir(exist_ok=True)
    (folder / "hotpotqa.json").touch()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHON": str(recorder),
        "OTTQA_DIR": str(folder / "ottqa"),
        "HOTPOTQA_DIR": str(folder / "hotpotqa"),
        "HOTPOTQA_FILE": str(folder / "hotpotqa.json"),
        "MATH_DIR": str(folder / "math"),
        "MATH500": str(folder / "math500"),
        "NUMINAMATH_LEAN": str(folder / "numinamath"),
        "ABSTRACTS": str(folder / "abstracts"),
        "OUT": str(folder / "out"),
        **knobs,
    }
    (folder / "log").unlink(missing_ok=True)
    command = ["bash", str(script), *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def commands(script: Path, folder: Path, *arguments: str, **knobs: str) -> list[list[str]]:
    """The Python commands of a recipe, without the interpreter."""
    finished = run(script, folder, *arguments, **knobs)
    assert finished.returncode == 0, finished.stderr
    return read_json_lines(folder / "log")


def validated(script: Path, folder: Path, *arguments: str, **knobs: str) -> DictConfig:
    """What a recipe's training run is configured to after resolution; veRL has validated it."""
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    recorded = commands(script, folder, *arguments, **knobs)
    if recorded[0][1] == "retrieval_index" and not Path(recorded[0][3]).exists():
        build_index([Document("1", "Fox", "A fox.")], recorded[0][3])  # where the recipe would have built its own
    (training,) = [command for command in recorded if command[:2] == TRAIN]
    config = compose_run(*training[2:], command_line=True)
    run_settings.apply(config)
    # veRL's own function, where the plugin has wrapped it: the settings were applied above.
    validate = getattr(validate_config, "__wrapped__", validate_config)
    validate(config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
    for part in ("actor_rollout_ref.rollout", "algorithm"):
        omega_conf_to_dataclass(OmegaConf.select(config, part))
    if script in SEARCHING:
        SearchAgentConfig.from_config(config)
    return config


def flat(config: DictConfig) -> dict[str, object]:
    """Dotted key -> value."""

    def walk(value: object, prefix: str) -> Iterator[tuple[str, object]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(inner, f"{prefix}{key}.")
        else:
            yield prefix.rstrip("."), value

    return dict(walk(OmegaConf.to_container(config, resolve=True), ""))


@pytest.fixture
def on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_settings, "on_cpu", lambda config: False)


def test_every_benchmark_has_its_published_model_and_a_smoke_run() -> None:
    assert {name(script) for script in SCRIPTS} == {
        "hotpotqa/run_smollm3_3b",
        "math500/run_qwen2.5_math_1.5b",
        "numinamath_lean/run_smollm3_3b",
        "ottqa/run_qwen3_4b",
        *(f"{benchmark}/run_cpu_smoke" for benchmark in ("hotpotqa", "math500", "numinamath_lean", "ottqa")),
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


@pytest.mark.parametrize("script", SEARCHING, ids=name)
def test_it_indexes_before_it_trains(script: Path, tmp_path: Path) -> None:
    recorded = commands(script, tmp_path)
    modules = [command[1] for command in recorded]
    assert modules[:2] == ["retrieval_index", "wapo_verl.cli"]
    assert "--skip-existing" in recorded[0]
    (index,) = [value for value in recorded[-1] if value.startswith("+wapo.search_agent.index=")]
    assert index.partition("=")[2] == recorded[0][3]
    assert Path(recorded[0][3]).is_absolute()


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_it_trains_and_tests_on_what_it_has_prepared(script: Path, tmp_path: Path) -> None:
    recorded = commands(script, tmp_path)
    assert recorded[-1][1] == "verl.trainer.main_ppo"
    preparing = [command for command in recorded if command[1:3] == ["wapo_verl.cli", "prepare"]]
    assert {command[3] for command in preparing} == {script.parent.name}, "the environment's name is the folder's"
    for files in ("data.train_files", "data.val_files"):
        (value,) = [value for value in recorded[-1] if value.startswith(f"{files}=")]
        file = Path(value.partition("=")[2])
        assert [
            command
            for command in preparing
            if command[command.index("--out") + 1] == str(file.parent) and file.stem in command
        ]


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
def test_knobs_reach_the_run(script: Path, tmp_path: Path) -> None:
    training = commands(script, tmp_path, STEPS="17", GROUP_SIZE="5", TOP_K="5")[-1]
    assert "trainer.total_training_steps=17" in training
    assert "actor_rollout_ref.rollout.n=5" in training
    assert ("+wapo.search_agent.top_k=5" in training) == (script in SEARCHING)


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_several_nodes_need_a_cluster(script: Path, tmp_path: Path) -> None:
    finished = run(script, tmp_path, NNODES="2")
    assert finished.returncode == 1
    assert "RAY_ADDRESS" in finished.stderr
    training = commands(script, tmp_path, NNODES="2", RAY_ADDRESS="auto")[-1]
    assert {"trainer.nnodes=2", "+ray_kwargs.ray_init.address=auto"} <= set(training)


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_missing_data_is_one_sentence_on_where_to_get_it(script: Path, tmp_path: Path) -> None:
    places = ("OTTQA_DIR", "HOTPOTQA_DIR", "HOTPOTQA_FILE", "MATH_DIR", "MATH500", "NUMINAMATH_LEAN")
    finished = run(script, tmp_path, **dict.fromkeys(places, "nowhere"))
    assert finished.returncode == 1
    assert re.fullmatch(r"error: .*nowhere is not there: .*https://.*\n", finished.stderr)


@pytest.mark.parametrize("script", GPU_SCRIPTS, ids=name)
@pytest.mark.usefixtures("on_gpus")
def test_the_published_numbers_arrive(script: Path, tmp_path: Path) -> None:
    config = validated(script, tmp_path)
    actor, rollout, model = (config.actor_rollout_ref[part] for part in ("actor", "rollout", "model"))
    normaliser, steps, longest = PUBLISHED[script.parent.name]
    assert rollout.n == 8
    assert config.data.train_batch_size * rollout.n == 256
    assert actor.ppo_mini_batch_size * rollout.n == 64
    assert actor.loss_scale_factor == normaliser
    assert rollout.max_model_len == config.data.max_prompt_length + config.data.max_response_length == longest
    assert (actor.policy_loss.loss_mode, actor.clip_ratio_high) == ("wapo", 9.0)
    assert actor.loss_agg_mode == "seq-mean-token-sum-norm"
    assert (actor.optim.lr, actor.optim.lr_warmup_steps, actor.optim.lr_scheduler_type) == (1e-5, 0, "constant")
    assert (actor.grad_clip, rollout.temperature) == (1.0, 1.0)
    assert (model.lora_rank, model.lora_alpha) == (8, 32)
    assert model.target_modules == "all-linear"
    assert config.trainer.total_training_steps == steps
    assert config.trainer.device == "cuda"
    if script in SEARCHING:
        agent = SearchAgentConfig.from_config(config)
        assert (agent.top_k, agent.max_turns, agent.max_turn_tokens) == (3, 10, 1024)


@pytest.mark.parametrize("script", [script for script in SEARCHING if script in GPU_SCRIPTS], ids=name)
def test_the_reward_is_the_published_one_or_exact_match(script: Path, tmp_path: Path) -> None:
    key = "+reward.custom_reward_function.reward_kwargs.weights"
    assert f"{key}=published" in commands(script, tmp_path)[-1]
    assert f"{key}=exact_match" in commands(script, tmp_path, REWARD="exact_match")[-1]
    finished = run(script, tmp_path, REWARD="f1")
    assert (finished.returncode, finished.stderr.strip()) == (
        1,
        "error: REWARD=f1 is no reward of these runs: choose published or exact_match",
    )


@pytest.mark.parametrize(("temperature", "samples"), [("0", "False"), ("0.0", "False"), ("0.6", "True"), ("1", "True")])
def test_a_validation_is_greedy_where_its_temperature_is_zero(temperature: str, samples: str, tmp_path: Path) -> None:
    training = commands(GPU_SCRIPTS[0], tmp_path, VAL_TEMPERATURE=temperature)[-1]
    assert f"actor_rollout_ref.rollout.val_kwargs.temperature={temperature}" in training
    assert f"actor_rollout_ref.rollout.val_kwargs.do_sample={samples}" in training


def told_by_the_paper_page() -> dict[str, dict[str, str]]:
    """Return each key of docs/paper.md's table of settings with our value for each benchmark that has one."""
    table = (ROOT / "docs" / "paper.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    benchmarks = [script.parent.name for script in GPU_SCRIPTS]
    told: dict[str, dict[str, str]] = {}
    for row in KEY_ROW.finditer(table):
        assert row["key"] not in told
        values = re.findall(r"`([^`]+)`(?: \(([\w, ]+)\))?", row["ours"])
        told[row["key"]] = {
            benchmark: value for value, named in values for benchmark in (named.split(", ") if named else benchmarks)
        }
        assert told[row["key"]].keys() <= set(benchmarks)
    assert len(told) > 30
    return told


@pytest.mark.parametrize("script", GPU_SCRIPTS, ids=name)
@pytest.mark.usefixtures("on_gpus")
def test_the_recipe_sets_what_the_papers_page_says(script: Path, tmp_path: Path) -> None:
    config, benchmark = validated(script, tmp_path), script.parent.name
    told = {key: values[benchmark] for key, values in told_by_the_paper_page().items() if benchmark in values}
    assert {key: str(OmegaConf.select(config, key)) for key in told} == told


ONE_GPU_ROWS = {"24": "rtx4090", "80": "h100"}
"""ONE_GPU -> a GPU of that size."""


def headline(job: Job, device: Device, steps: int) -> str:
    """Return a recipe's line: the memory of an update and of the rollout, and the time at full length."""
    hours = steps * step_time(job, device).step / 3600
    update, share = trainer_memory(job).update, rollout_memory(job, device.memory).share
    fits = "does not fit: " if problems(job, device) else ""
    return f"{fits}{gib(update)} in an update, {gib(share)} in the rollout, {hours:,.0f} h for {steps:,} steps"


@pytest.mark.parametrize("script", GPU_SCRIPTS, ids=name)
@pytest.mark.usefixtures("on_gpus")
def test_the_head_of_a_recipe_says_what_is_computed(script: Path, tmp_path: Path) -> None:
    """Memory and time, on the published number of GPUs and on one."""
    head = script.read_text().partition("\nsource ")[0]
    config = validated(script, tmp_path)
    assert f"#   8 h100: {headline(job_of(config), DEVICES['h100'], steps_of(config) or 0)}\n" in head
    for size, gpu in ONE_GPU_ROWS.items():
        config = validated(script, tmp_path, ONE_GPU=size)
        job = job_of(config)
        wanted = f"#   ONE_GPU={size}, {gpu}: {headline(job, DEVICES[gpu], steps_of(config) or 0)}\n"
        assert wanted in head
        assert job.devices == 1
        assert (problems(job, DEVICES[gpu]) == []) == ((script.parent.name, size) != ("ottqa", "24")), "4B on 24 GiB"


def test_a_gpu_of_another_size_is_refused(tmp_path: Path) -> None:
    finished = run(GPU_SCRIPTS[0], tmp_path, ONE_GPU="16")
    assert (finished.returncode, finished.stderr) == (1, "error: ONE_GPU=16 has no settings: choose 24 or 80 (GiB)\n")


def test_a_recipe_can_be_asked_for_its_estimate_alone(tmp_path: Path) -> None:
    (recorded,) = commands(GPU_SCRIPTS[0], tmp_path, "trainer.total_epochs=7", ESTIMATE="a100")
    assert recorded[:6] == ["-m", "wapo_verl.cli", "estimate", "--gpu", "a100", "--"]
    assert recorded[-1] == "trainer.total_epochs=7"


@pytest.mark.parametrize("script", GPU_SCRIPTS, ids=name)
def test_an_estimate_needs_no_data(script: Path, tmp_path: Path) -> None:
    data = ("HOTPOTQA_DIR", "ABSTRACTS", "OTTQA_DIR", "MATH_DIR", "MATH500", "NUMINAMATH_LEAN")
    finished = run(script, tmp_path, ESTIMATE="a100", **dict.fromkeys(data, "none"))
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


@pytest.mark.parametrize("script", [script for script in SCRIPTS if "smoke" in script.name], ids=name)
def test_a_smoke_run_of_the_packages_own_rows_has_a_batch_of_them(script: Path, tmp_path: Path) -> None:
    own = dict.fromkeys(("HOTPOTQA_FILE", "OTTQA_DIR", "MATH500", "NUMINAMATH_LEAN"), "")
    settings = dict(setting.split("=", 1) for setting in commands(script, tmp_path, **own)[-1][2:])
    env = registry.environment(script.parent.name)
    rows = list(env.examples(Path(settings["data.train_files"]).stem, env.sample_source()))
    assert 2 <= int(settings["data.train_batch_size"]) <= len(rows)
    assert int(settings["data.train_batch_size"]) * int(settings["actor_rollout_ref.rollout.n"]) == 128


def test_qwens_mathematics_model_is_asked_for_a_box(tmp_path: Path) -> None:
    (script,) = (script for script in GPU_SCRIPTS if script.parent.name == "math500")
    for preparing in commands(script, tmp_path)[:2]:
        assert preparing[-2:] == ["--set", "answer_format=boxed"]


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
def test_verls_grpo_is_the_same_run_with_another_objective(script: Path, tmp_path: Path) -> None:
    config = validated(script, tmp_path, ADV_ESTIMATOR="grpo")
    actor = config.actor_rollout_ref.actor
    assert config.algorithm.adv_estimator == "grpo"
    assert (actor.policy_loss.loss_mode, actor.loss_agg_mode) == ("vanilla", "seq-mean-token-mean")
    assert (actor.clip_ratio_low, actor.clip_ratio_high) == (0.2, 0.2)
    assert config.algorithm.norm_adv_by_std_in_grpo
    assert config.algorithm.rollout_correction.bypass_mode
    assert config.actor_rollout_ref.rollout.n == 8
    assert config.trainer.v1.trainer_mode == "wapo_sync"


@pytest.mark.parametrize(
    ("script", "estimator"),
    [(GPU_SCRIPTS[place % len(GPU_SCRIPTS)], estimator) for place, estimator in enumerate(BASELINES)],
    ids=lambda value: name(value) if isinstance(value, Path) else value,
)
@pytest.mark.usefixtures("on_gpus")
def test_one_knob_changes_the_algorithm_and_nothing_else(script: Path, estimator: str, tmp_path: Path) -> None:
    """What differs from the WAPO run is the objective and names: batches, lengths, optimizer and data are the same.

    The knob is in one file that all recipes share, so each algorithm is tried in one of them.
    """
    objective = (
        "algorithm.",
        "actor_rollout_ref.actor.policy_loss.",
        "actor_rollout_ref.actor.clip_",
        "wapo.",
        "critic.",
    )
    averaging = {f"actor_rollout_ref.actor.{key}" for key in ("loss_agg_mode", "loss_scale_factor")}
    named = {"trainer.experiment_name", "actor_rollout_ref.rollout.trace.experiment_name"}
    reference, compared = (flat(validated(script, tmp_path, ADV_ESTIMATOR=some)) for some in ("wapo", estimator))
    assert compared["algorithm.adv_estimator"] == estimator
    differing = {key for key in {*reference, *compared} if reference.get(key) != compared.get(key)}
    assert {key for key in differing if not key.startswith(objective)} <= averaging | named


def test_an_algorithm_without_a_recipe_is_refused(tmp_path: Path) -> None:
    finished = run(GPU_SCRIPTS[0], tmp_path, ADV_ESTIMATOR="ppo")
    assert finished.returncode == 1
    assert "choose wapo, grpo_ref" in finished.stderr


def test_the_recipes_know_every_algorithm() -> None:
    text = (RECIPES / "published.sh").read_text()
    (listed,) = re.findall(r"^    (wapo \| .*)\) ;;$", text, re.MULTILINE)
    assert set(listed.split(" | ")) == set(ALGORITHMS)


@pytest.mark.parametrize("script", [script for script in SEARCHING if script in GPU_SCRIPTS], ids=name)
def test_an_index_elsewhere_is_not_built(script: Path, tmp_path: Path) -> None:
    recorded = commands(script, tmp_path, INDEX="http://retrieval:8000")
    assert "retrieval_index" not in {command[1] for command in recorded}
    assert "+wapo.search_agent.index=http://retrieval:8000" in recorded[-1]


@pytest.mark.parametrize("script", [script for script in GPU_SCRIPTS if "hotpotqa" in str(script)], ids=name)
def test_rows_from_the_hub_need_no_folder(script: Path, tmp_path: Path) -> None:
    recorded = commands(script, tmp_path, HOTPOTQA_DIR="hub@main")
    prepared = recorded[1]
    assert prepared[prepared.index("--source") + 1] == "hub@main"


def test_the_smoke_run_is_for_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_settings, "on_cpu", lambda config: True)
    config = validated(RECIPES / "ottqa" / "run_cpu_smoke.sh", tmp_path)
    assert config.trainer.device == "cpu"
    assert config.actor_rollout_ref.actor.policy_loss.loss_mode == "wapo"
    assert config.trainer.total_training_steps == 3
    assert dict(config.reward.custom_reward_function.reward_kwargs.weights) == {"exact_match": 1.0, "format": 0.1}
    assert SearchAgentConfig.from_config(config).max_turns == 10
