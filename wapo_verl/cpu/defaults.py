"""The settings a veRL run needs on a CPU, applied where the user set nothing.

Each entry is a veRL key and the value found to work with vLLM's CPU build (float32 on both sides, so that the rollout's
log-probs are the actor's; FSDP2, since FSDP1 refuses CPU modules; no kernels that need a compiler or a GPU). FSDP's
mixed precision has to be named: without it veRL computes in bfloat16 whatever the weights' dtype.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from wapo_verl.algorithms import Default
from wapo_verl.algorithms.objective import ACTOR, ROLLOUT
from wapo_verl.cpu.where import NAME, PLATFORM_VARIABLE, joined_cluster

LEAST_BUCKET_MEGABYTES, VERL_BUCKET_MEGABYTES = 16, 2048
"""Shared memory in which weights go to vLLM, in 2^20 bytes: for tiny models, and veRL's own default."""


def threads_per_process() -> int:
    """Return the threads each process computes with: half the cores, since the actor and vLLM share them.

    On two busy cores one thread a process was 4 to 7 times faster than two.
    """
    return max(1, cores() // 2)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _devices(config: DictConfig) -> int:
    """Return the logical devices of a run that starts its own Ray: the trainer's, and a separate rollout's."""
    trainers, rollout = int(config.trainer.n_gpus_per_node), config.actor_rollout_ref.rollout
    return trainers + int(rollout.nnodes) * int(rollout.n_gpus_per_node) * _is_separate(config)


def _is_separate(config: DictConfig) -> bool:
    """Tell whether trainer and rollout have devices of their own, in veRL's trainer or in ours."""
    return str(OmegaConf.select(config, "trainer.v1.trainer_mode")).endswith("separate_async")


def _bucket_megabytes(config: DictConfig) -> int:
    """Return a bucket that holds the largest weight, the embedding in float32: a CPU's veRL cuts no weight in two.

    A model that is no folder here, such as one on the hub, gets veRL's own size.
    """
    file = Path(str(config.actor_rollout_ref.model.path)).expanduser() / "config.json"
    sizes = json.loads(file.read_text()) if file.is_file() else {}
    sizes = sizes.get("text_config", sizes)
    if not {"vocab_size", "hidden_size"} <= sizes.keys():
        return VERL_BUCKET_MEGABYTES
    return max(LEAST_BUCKET_MEGABYTES, math.ceil(sizes["vocab_size"] * sizes["hidden_size"] * 4 / 2**20))


_MODEL = "actor_rollout_ref.model"
RAY_VARIABLES = "ray_kwargs.ray_init.runtime_env.env_vars"
"""What Ray's processes get as variables, on whichever node they are."""

CPU_DEFAULTS: Mapping[str, Default] = {
    "trainer.device": NAME,
    "trainer.n_gpus_per_node": 1,
    f"{ACTOR}.strategy": "fsdp2",
    f"{ACTOR}.use_torch_compile": False,
    f"{ACTOR}.fsdp_config.use_torch_compile": False,
    f"{ACTOR}.fsdp_config.dtype": "float32",
    f"{ACTOR}.fsdp_config.model_dtype": "float32",
    f"{ACTOR}.fsdp_config.mixed_precision.param_dtype": "fp32",
    f"{ACTOR}.fsdp_config.mixed_precision.reduce_dtype": "fp32",
    f"{ACTOR}.fsdp_config.mixed_precision.buffer_dtype": "fp32",
    "actor_rollout_ref.ref.strategy": "fsdp2",
    "actor_rollout_ref.ref.use_torch_compile": False,
    "actor_rollout_ref.ref.fsdp_config.use_torch_compile": False,
    "actor_rollout_ref.ref.fsdp_config.dtype": "float32",
    "actor_rollout_ref.ref.fsdp_config.model_dtype": "float32",
    "actor_rollout_ref.ref.fsdp_config.mixed_precision.param_dtype": "fp32",
    "actor_rollout_ref.ref.fsdp_config.mixed_precision.reduce_dtype": "fp32",
    "actor_rollout_ref.ref.fsdp_config.mixed_precision.buffer_dtype": "fp32",
    f"{_MODEL}.use_remove_padding": False,
    f"{_MODEL}.enable_gradient_checkpointing": False,
    f"{_MODEL}.override_config.attn_implementation": "sdpa",
    f"{ROLLOUT}.name": "vllm",
    f"{ROLLOUT}.tensor_model_parallel_size": 1,
    f"{ROLLOUT}.dtype": "float32",
    f"{ROLLOUT}.enforce_eager": True,
    f"{ROLLOUT}.free_cache_engine": False,
    # vLLM takes a seeded request's random number back where it has read a part of the prompt alone; on a CPU it cannot.
    f"{ROLLOUT}.enable_chunked_prefill": False,
    f"{ROLLOUT}.enable_sleep_mode": False,
    f"{ROLLOUT}.checkpoint_engine.update_weights_bucket_megabytes": _bucket_megabytes,
    f"{ROLLOUT}.agent.num_workers": 1,
    f"{ROLLOUT}.engine_kwargs.vllm.worker_extension_cls": "wapo_verl.cpu.vllm_worker.CPUWorkerExtension",
    # By its name: for "uni" vLLM's CPU platform takes "mp", one more process, since it wants to set its threads.
    f"{ROLLOUT}.engine_kwargs.vllm.distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor",
    "reward.num_workers": 1,
    "data.dataloader_num_workers": 0,
    # Every process costs seconds of imports at the start: one storage unit instead of eight, no dashboard.
    "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    "ray_kwargs.ray_init.include_dashboard": False,
    "ray_kwargs.ray_init.num_cpus": 16,
    "ray_kwargs.ray_init.num_gpus": _devices,
    f"{RAY_VARIABLES}.{PLATFORM_VARIABLE}": NAME,
    f"{RAY_VARIABLES}.VLLM_CPU_KVCACHE_SPACE": "1",
    f"{RAY_VARIABLES}.VLLM_CPU_OMP_THREADS_BIND": "nobind",
    f"{RAY_VARIABLES}.OMP_NUM_THREADS": lambda _: str(threads_per_process()),
    f"{RAY_VARIABLES}.TORCH_COMPILE_DISABLE": "1",
}

SEPARATE_DEFAULTS: Mapping[str, Default] = {
    f"{ROLLOUT}.nnodes": 1,
    f"{ROLLOUT}.n_gpus_per_node": 1,
    f"{ROLLOUT}.checkpoint_engine.backend": "gloo",
    f"{ROLLOUT}.checkpoint_engine.custom_backend_module": "wapo_verl.cpu.checkpoint_engine",
}
"""What `separate_async` needs beside them: a rollout of its own, and a way for the weights to get there."""

VALIDATION_DEFAULTS: Mapping[str, Default] = {
    f"{RAY_VARIABLES}.OMP_NUM_THREADS": lambda _: str(cores()),
    f"{RAY_VARIABLES}.OMP_WAIT_POLICY": "PASSIVE",
}
"""What `trainer.val_only` gets instead: all cores for vLLM, since nothing is trained beside it.

Threads that wait for another one sleep. By default they spin, and beside other work two threads on two cores took more
than 3 times as long as one; where they sleep, about as long.
"""

_OF_A_NEW_RAY = (
    "ray_kwargs.ray_init.include_dashboard",
    "ray_kwargs.ray_init.num_cpus",
    "ray_kwargs.ray_init.num_gpus",
)


def cpu_defaults(config: DictConfig) -> Mapping[str, Default]:
    """Return the settings for a run on the CPU: without those of Ray's start where a running cluster is joined."""
    joined = joined_cluster(config) is not None
    wanted = {
        **(SEPARATE_DEFAULTS if _is_separate(config) else {}),
        **CPU_DEFAULTS,
        **(VALIDATION_DEFAULTS if config.trainer.get("val_only") else {}),
    }
    return {key: value for key, value in wanted.items() if not joined or key not in _OF_A_NEW_RAY}
