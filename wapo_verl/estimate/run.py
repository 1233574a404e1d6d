"""Read what an estimate needs from a run's own settings: the overrides that `main_ppo` would get."""

from __future__ import annotations

import math
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.algorithms.objective import bypasses
from wapo_verl.algorithms.wapo import sequence_length
from wapo_verl.cpu.defaults import CPU_DEFAULTS
from wapo_verl.cpu.where import NAME as CPU
from wapo_verl.estimate.memory import Job
from wapo_verl.estimate.models import shape_of
from wapo_verl.settings.compose import compose
from wapo_verl.settings.defaults import apply_defaults
from wapo_verl.settings.explicit_keys import override_keys

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
        ValueError: where the model's shape is not known, the run has no FSDP actor, no GPU or no micro-batch size.
    """
    actor, rollout, model = (config.actor_rollout_ref[part] for part in ("actor", "rollout", "model"))
    if not str(actor.strategy).startswith("fsdp"):
        raise ValueError(f"actor_rollout_ref.actor.strategy={actor.strategy} is not estimated: fsdp and fsdp2 are")
    fsdp, devices = actor.fsdp_config, int(config.trainer.n_gpus_per_node) * int(config.trainer.nnodes)
    if devices < 1:
        raise ValueError("the run has no GPU: set trainer.n_gpus_per_node and trainer.nnodes to at least 1")
    length = sequence_length(config)
    on_cpu = OmegaConf.select(config, "trainer.device") == CPU
    precision = OmegaConf.select(fsdp, "mixed_precision.param_dtype") or fsdp.dtype
    refers = bool(actor.use_kl_loss or config.algorithm.use_kl_in_reward)
    return Job(
        shape=shape_of(str(model.path)),
        devices=devices,
        shards=devices if fsdp.fsdp_size in (-1, 0) else min(devices, int(fsdp.fsdp_size)),
        master=BYTES[str(fsdp.model_dtype)],
        compute=BYTES[str(precision)],
        lora_rank=int(model.lora_rank),
        checkpointing=bool(model.enable_gradient_checkpointing),
        tokens=_tokens(config, length) // int(fsdp.ulysses_sequence_parallel_size),
        packed=bool(model.use_remove_padding),
        entropy=bool(actor.calculate_entropy) or actor.entropy_coeff != 0,
        compiled=bool(fsdp.use_torch_compile),
        fused=bool(model.use_fused_kernels),
        offload_weights=bool(fsdp.param_offload or fsdp.offload_policy),
        offload_optimizer=bool(fsdp.optimizer_offload or fsdp.offload_policy),
        completions=int(config.data.train_batch_size) * int(rollout.n),
        prompt=int(rollout.prompt_length),
        response=int(rollout.response_length),
        extra_forwards=int(not bypasses(config)) + int(refers),
        tensor_parallel=int(rollout.tensor_model_parallel_size),
        rollout=BYTES[str(rollout.dtype)],
        max_sequences=int(rollout.max_num_seqs),
        utilization=None if on_cpu else float(rollout.gpu_memory_utilization),
        frees_cache=bool(rollout.free_cache_engine),
    )


def _tokens(config: DictConfig, length: int) -> int:
    """Return the tokens of a full micro-batch of one sequence-parallel group."""
    actor = config.actor_rollout_ref.actor
    if actor.use_dynamic_bsz:
        group = int(actor.fsdp_config.ulysses_sequence_parallel_size)
        return max(int(actor.ppo_max_token_len_per_gpu) * group, length)
    rows = actor.ppo_micro_batch_size_per_gpu
    if rows is None:
        raise ValueError("set actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu, or use_dynamic_bsz=True")
    return int(rows) * length


def steps_of(config: DictConfig) -> int | None:
    """Return the run's steps where it says how many."""
    steps = config.trainer.total_training_steps
    return None if steps is None else math.floor(steps)
