"""`wapo-verl estimate`: the run's own overrides, composed on veRL's real configuration."""

from copy import deepcopy

import pytest
from omegaconf import DictConfig, OmegaConf
from typer.testing import CliRunner

from wapo_verl.cli.app import app
from wapo_verl.estimate.run import config_of, job_of, steps_of

RUN = (
    "algorithm.adv_estimator=wapo",
    "actor_rollout_ref.model.path=Qwen/Qwen2.5-1.5B",
    "actor_rollout_ref.rollout.name=vllm",
    "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=2",
    "actor_rollout_ref.actor.strategy=fsdp2",
    "data.train_batch_size=32",
    "data.max_response_length=2048",
    "trainer.n_gpus_per_node=2",
    "trainer.total_training_steps=100",
    "+wapo.trainer=true",
)
runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_the_runs_settings_arrive() -> None:
    job = job_of(config_of(RUN))
    assert (job.devices, job.shards, job.tokens, job.completions) == (2, 2, 2 * 2560, 256)
    assert (job.master, job.compute, job.rollout) == (4, 2, 2)
    assert job.packed
    assert job.entropy, "the algorithm's default"
    assert job.extra_forwards == 0, "old log-probs are the rollout's own"


def test_a_run_on_the_cpu_has_its_defaults() -> None:
    job = job_of(config_of([*RUN[:-3], "trainer.device=cpu"]))
    assert (job.devices, job.compute, job.packed, job.checkpointing, job.utilization) == (1, 4, False, False, None)


@pytest.fixture(scope="module")
def config() -> DictConfig:
    return config_of(RUN)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("trainer.nnodes", "x", "trainer.nnodes must be a whole number of at least 0, not 'x'"),
        ("trainer.n_gpus_per_node", None, "trainer.n_gpus_per_node must be a whole number of at least 0, not None"),
        ("data.train_batch_size", 0, "data.train_batch_size must be a whole number of at least 1, not 0"),
        ("actor_rollout_ref.rollout.tensor_model_parallel_size", 0, "at least 1, not 0"),
        ("actor_rollout_ref.actor.fsdp_config.ulysses_sequence_parallel_size", 0, "at least 1, not 0"),
        ("data.max_prompt_length", -5, "actor_rollout_ref.rollout.prompt_length must be a whole number"),
        ("actor_rollout_ref.rollout.dtype", "int3", "actor_rollout_ref.rollout.dtype=int3 is not known: choose fp32"),
        ("actor_rollout_ref.actor.fsdp_config.model_dtype", "x", "fsdp_config.model_dtype=x is not known"),
        ("actor_rollout_ref.rollout.gpu_memory_utilization", 7, "must be above 0 and at most 1, not 7"),
        ("trainer.total_training_steps", "x", "trainer.total_training_steps must be a whole number"),
    ],
)
def test_a_value_that_cannot_be_is_named(config: DictConfig, key: str, value: object, said: str) -> None:
    wrong = deepcopy(config)
    OmegaConf.update(wrong, key, value)
    with pytest.raises(ValueError, match=said):
        assert steps_of(wrong) != job_of(wrong)


def test_verls_own_grpo_computes_old_log_probs() -> None:
    job = job_of(config_of(["algorithm.adv_estimator=grpo", *RUN[1:], "actor_rollout_ref.actor.use_kl_loss=True"]))
    assert job.extra_forwards == 2


def test_the_command_prints_and_says_what_does_not_fit() -> None:
    done = runner.invoke(app, ["estimate", "--gpu", "h100", "--", *RUN])
    assert done.exit_code == 0, done.output
    assert "1,543.7 M weights" in done.output
    assert "100 steps" in done.output
    done = runner.invoke(app, ["estimate", "--gpu", "l4", "--", *RUN, "trainer.n_gpus_per_node=1"])
    assert done.exit_code == 1
    assert "an update needs" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpu", "tpu"], "choose rtx4090"),
        (["--", *RUN, "actor_rollout_ref.model.path=who/knows"], "config.json"),
        (["--", *RUN, "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=null"], "use_dynamic_bsz"),
        (["--", "data.nothing=1"], "data.nothing is not a key of veRL: +data.nothing=... adds one"),
        (["--", "wapo.trainer=true"], "wapo.trainer is not a key of veRL: +wapo.trainer=... adds one"),
        (["--", "data.seed"], "Error parsing override 'data.seed'; missing EQUAL"),
        (["--", *RUN, "actor_rollout_ref.actor.strategy=megatron"], "megatron"),
        (["--", *RUN, "algorithm.adv_estimator=wappo"], "no algorithm.adv_estimator=wappo: did you mean wapo?"),
        (["--", *RUN, "+wapo.guard.acton=warn"], "did you mean wapo.guard.action?"),
        (["--", *RUN, "trainer.n_gpus_per_node=0"], "no GPU"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], said: str) -> None:
    done = runner.invoke(app, ["estimate", *arguments] if "--" in arguments else ["estimate", *arguments, "--", *RUN])
    assert done.exit_code == 1
    assert done.output.startswith("error: ")
    assert said in done.output
