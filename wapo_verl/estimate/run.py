"""Read what an estimate needs from a run's own settings: the overrides that `main_ppo` would get."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.algorithms.objective import bypasses
from wapo_verl.cpu.defaults import CPU_DEFAULTS
from wapo_verl.cpu.where import NAME as CPU
from wapo_verl.estimate.memory import Job
from wapo_verl.estimate.models import shape_of
from wapo_verl.settings.compose import compose
from wapo_verl.settings.defaults import apply_defaults
from wapo_verl.settings.explicit_keys import override_keys

ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
FSDP = f"{ACTOR}.fsdp_config"
SEQUENCE_PARALLEL = f"{FSDP}.ulysses_sequence_parallel_size"
PARAMETERS = "mixed_precision.param_dtype"

BYTES = {"fp32": 4, "float32": 4, "float": 4, "bf16": 2, "bfloat16": 2, "fp16": 2, "float16": 2, "half": 2}


def config_of(overrides: Sequence[str]) -> DictConfig:
    """Compose veRL's configuration with the defaults of the algorithm and of a CPU run.

    Raises:
        ValueError: as `wapo_verl.settings.compose`.
    """
    config, explicit = compose(overrides), override_keys(list(overrides))
    algorithm = ALGORITHMS.get(str(config.algorithm.adv_estimator))
    if algorithm is not None:
        apply_defaults(config, algorithm.defaults, explicit, algorithm.name)
    if OmegaConf.select(config, "trainer.device") == CPU:
        apply_defaults(config, {key: CPU_DEFAULTS[key] for key in CPU_DEFAULTS if "ray" not in key}, explicit, CPU)
    return config


def job_of(config: DictConfig) -> Job:
    """Return what the estimate depends on.

    Raises:
        ValueError: where the model's shape is not known, the run has no FSDP actor, no GPU or no micro-batch size, or a
            value cannot be; the message names the key.
    """
    actor, rollout, model = (config.actor_rollout_ref[part] for part in ("actor", "rollout", "model"))
    if not str(actor.strategy).startswith("fsdp"):
        raise ValueError(f"actor_rollout_ref.actor.strategy={actor.strategy} is not estimated: fsdp and fsdp2 are")
    fsdp = actor.fsdp_config
    devices = _whole(config, "trainer.n_gpus_per_node", 0) * _whole(config, "trainer.nnodes", 0)
    if devices < 1:
        raise ValueError("the run has no GPU: set trainer.n_gpus_per_node and trainer.nnodes to at least 1")
    prompt, response = (_whole(config, f"{ROLLOUT}.{part}_length") for part in ("prompt", "response"))
    shards = _whole(config, f"{FSDP}.fsdp_size", -1)
    precision = "dtype" if OmegaConf.select(fsdp, PARAMETERS) is None else PARAMETERS
    refers = bool(actor.use_kl_loss or config.algorithm.use_kl_in_reward)
    return Job(
        shape=shape_of(str(model.path)),
        devices=devices,
        shards=devices if shards in (-1, 0) else min(devices, shards),
        master=_bytes(config, f"{FSDP}.model_dtype"),
        compute=_bytes(config, f"{FSDP}.{precision}"),
        lora_rank=_whole(config, "actor_rollout_ref.model.lora_rank", 0),
        checkpointing=bool(model.enable_gradient_checkpointing),
        tokens=_tokens(config, prompt + response) // _whole(config, SEQUENCE_PARALLEL),
        packed=bool(model.use_remove_padding),
        entropy=bool(actor.calculate_entropy) or actor.entropy_coeff != 0,
        compiled=bool(fsdp.use_torch_compile),
        fused=bool(model.use_fused_kernels),
        offload_weights=bool(fsdp.param_offload or fsdp.offload_policy),
        offload_optimizer=bool(fsdp.optimizer_offload or fsdp.offload_policy),
        completions=_whole(config, "data.train_batch_size") * _whole(config, f"{ROLLOUT}.n"),
        prompt=prompt,
        response=response,
        extra_forwards=int(not bypasses(config)) + int(refers),
        tensor_parallel=_whole(config, f"{ROLLOUT}.tensor_model_parallel_size"),
        rollout=_bytes(config, f"{ROLLOUT}.dtype"),
        max_sequences=_whole(config, f"{ROLLOUT}.max_num_seqs"),
        utilization=_utilization(config),
        frees_cache=bool(rollout.free_cache_engine),
    )


def _tokens(config: DictConfig, length: int) -> int:
    """Return the tokens of a full micro-batch of one sequence-parallel group."""
    actor = config.actor_rollout_ref.actor
    if actor.use_dynamic_bsz:
        group = _whole(config, SEQUENCE_PARALLEL)
        return max(_whole(config, f"{ACTOR}.ppo_max_token_len_per_gpu") * group, length)
    if actor.ppo_micro_batch_size_per_gpu is None:
        raise ValueError("set actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu, or use_dynamic_bsz=True")
    return _whole(config, f"{ACTOR}.ppo_micro_batch_size_per_gpu") * length


def _utilization(config: DictConfig) -> float | None:
    """Return the share of a GPU's memory that the rollout engine takes; None on a CPU."""
    if OmegaConf.select(config, "trainer.device") == CPU:
        return None
    share = config.actor_rollout_ref.rollout.gpu_memory_utilization
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise ValueError(f"{ROLLOUT}.gpu_memory_utilization must be above 0 and at most 1, not {share!r}")
    return float(share)


def _whole(config: DictConfig, key: str, least: int = 1) -> int:
    value = OmegaConf.select(config, key)
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{key} must be a whole number of at least {least}, not {value!r}")
    return value


def _bytes(config: DictConfig, key: str) -> int:
    value = str(OmegaConf.select(config, key))
    if value not in BYTES:
        raise ValueError(f"{key}={value} is not known: choose {', '.join(BYTES)}")
    return BYTES[value]


def steps_of(config: DictConfig) -> int | None:
    """Return the run's steps where it says how many."""
    return None if config.trainer.total_training_steps is None else _whole(config, "trainer.total_training_steps")
