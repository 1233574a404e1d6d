"""What a process finds that runs veRL's own examples, as JSON: run as a script, with the plugin and without it.

The examples are veRL's packaged configurations with the overrides of its published example scripts; what names a file,
a model on the hub or a project is left out, since nothing here depends on it.
"""

import contextlib
import importlib
import io
import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ACTOR, ROLLOUT, REF, MODEL = (f"actor_rollout_ref.{part}" for part in ("actor", "rollout", "ref", "model"))

_GSM8K = ["data.train_batch_size=1024", "data.max_prompt_length=512", "data.max_response_length=1024"]
_MATH = ["data.train_batch_size=1024", "data.max_prompt_length=1024", "data.max_response_length=1024"]
_VLLM = [f"{ROLLOUT}.name=vllm", f"{ROLLOUT}.tensor_model_parallel_size=2", f"{ROLLOUT}.gpu_memory_utilization=0.6"]
_KL_LOSS = [f"{ACTOR}.use_kl_loss=True", f"{ACTOR}.kl_loss_coef=0.001", f"{ACTOR}.kl_loss_type=low_var_kl"]


def _micro(actor: int, log_probs: int, mini_batch: int = 256) -> list[str]:
    return [
        f"{ACTOR}.ppo_mini_batch_size={mini_batch}",
        f"{ACTOR}.ppo_micro_batch_size_per_gpu={actor}",
        f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu={log_probs}",
        f"{REF}.log_prob_micro_batch_size_per_gpu={log_probs}",
    ]


EXAMPLES: dict[str, list[str]] = {
    "grpo": ["algorithm.adv_estimator=grpo", *_GSM8K, *_micro(32, 32), *_VLLM, *_KL_LOSS, f"{ROLLOUT}.n=5"],
    "grpo with LoRA": [
        "algorithm.adv_estimator=grpo",
        "data.train_batch_size=16",
        *_micro(40, 40, mini_batch=16),
        *_VLLM,
        *_KL_LOSS,
        f"{MODEL}.lora_rank=64",
        f"{MODEL}.lora_alpha=32",
        f"{ROLLOUT}.n=5",
        f"{ROLLOUT}.load_format=safetensors",
        f"{ROLLOUT}.layered_summon=True",
        "trainer.n_gpus_per_node=2",
    ],
    "ppo with a critic, sequence parallel": [
        "algorithm.adv_estimator=gae",
        *_GSM8K,
        *_micro(32, 64),
        *_VLLM,
        f"{ACTOR}.ulysses_sequence_parallel_size=2",
        "critic.optim.lr=1e-5",
        "critic.ulysses_sequence_parallel_size=2",
        "critic.ppo_micro_batch_size_per_gpu=64",
    ],
    "reinforce++ with a baseline, two nodes": [
        "algorithm.adv_estimator=reinforce_plus_plus_baseline",
        *_MATH,
        *_micro(16, 16, mini_batch=1024),
        *_VLLM,
        f"{ROLLOUT}.n=8",
        "algorithm.use_kl_in_reward=True",
        "trainer.nnodes=2",
    ],
    "remax, packed by tokens": [
        "algorithm.adv_estimator=remax",
        "data.train_batch_size=512",
        f"{ACTOR}.ppo_mini_batch_size=128",
        f"{ACTOR}.use_dynamic_bsz=True",
        f"{ACTOR}.ppo_max_token_len_per_gpu=30000",
        *_VLLM,
        f"{ROLLOUT}.n=4",
        "algorithm.use_kl_in_reward=True",
        "algorithm.kl_penalty=kl",
    ],
    "rloo": ["algorithm.adv_estimator=rloo", *_GSM8K, *_micro(80, 160), *_VLLM, f"{ROLLOUT}.n=5"],
    "gpg": [
        "algorithm.adv_estimator=gpg",
        *_MATH,
        *_micro(16, 16),
        *_VLLM,
        f"{ACTOR}.policy_loss.loss_mode=gpg",
        f"{ROLLOUT}.n=5",
    ],
    "gspo": [
        "algorithm.adv_estimator=grpo",
        f"{ACTOR}.policy_loss.loss_mode=gspo",
        f"{ACTOR}.loss_agg_mode=seq-mean-token-mean",
        f"{ACTOR}.clip_ratio_low=0.0003",
        f"{ACTOR}.clip_ratio_high=0.0004",
        "data.train_batch_size=512",
        *_micro(8, 8, mini_batch=128),
        f"{ROLLOUT}.name=vllm",
        f"{ROLLOUT}.n=16",
    ],
    "cispo on one GPU": [
        "algorithm.adv_estimator=grpo",
        f"{ACTOR}.policy_loss.loss_mode=cispo",
        f"{ACTOR}.clip_ratio_low=10",
        f"{ACTOR}.clip_ratio_high=0.2",
        "data.train_batch_size=256",
        *_micro(16, 16, mini_batch=128),
        *_KL_LOSS,
        f"{ROLLOUT}.name=vllm",
        f"{ROLLOUT}.n=5",
        "trainer.n_gpus_per_node=1",
    ],
    "tools over several turns, sglang": [
        "algorithm.adv_estimator=grpo",
        "data.train_batch_size=256",
        "data.return_raw_chat=True",
        *_micro(32, 32),
        *_KL_LOSS,
        f"{ROLLOUT}.name=sglang",
        f"{ROLLOUT}.n=16",
        f"{ROLLOUT}.multi_turn.enable=True",
        f"{ROLLOUT}.multi_turn.max_assistant_turns=5",
        f"{ROLLOUT}.multi_turn.format=hermes",
        f"{ROLLOUT}.agent.default_agent_loop=tool_agent",
    ],
    "rollout correction, bypass": [
        "algorithm.adv_estimator=rloo",
        "data.train_batch_size=128",
        *_micro(8, 8, mini_batch=32),
        "algorithm.rollout_correction.rollout_is=sequence",
        "algorithm.rollout_correction.rollout_is_threshold=2.0",
        "algorithm.rollout_correction.bypass_mode=True",
        f"{ROLLOUT}.calculate_log_probs=True",
        f"{ROLLOUT}.name=vllm",
    ],
    "megatron": [
        "model_engine=megatron",
        "algorithm.adv_estimator=grpo",
        *_MATH,
        *_micro(4, 4),
        *_VLLM,
        *_KL_LOSS,
        f"{ACTOR}.megatron.pipeline_model_parallel_size=2",
        f"{ACTOR}.megatron.tensor_model_parallel_size=2",
        f"{REF}.megatron.pipeline_model_parallel_size=2",
        f"{ROLLOUT}.n=5",
    ],
    "veomni": ["model_engine=veomni", "algorithm.adv_estimator=grpo", *_MATH, *_micro(4, 4), *_VLLM],
    "torchtitan": ["model_engine=torchtitan", "algorithm.adv_estimator=grpo", *_MATH, *_micro(4, 4), *_VLLM],
    "asynchronous, devices apart": [
        "algorithm.adv_estimator=grpo",
        *_GSM8K,
        *_micro(32, 32),
        *_VLLM,
        "trainer.v1.trainer_mode=separate_async",
        "trainer.n_gpus_per_node=4",
    ],
    "the trainer before V1": ["algorithm.adv_estimator=grpo", *_GSM8K, *_micro(32, 32), *_VLLM, "trainer.use_v1=False"],
    "a configuration without trainer.v1": ["algorithm.adv_estimator=grpo", *_GSM8K, *_micro(32, 32), "~trainer.v1"],
}


def outcome(name: str, model: str) -> dict[str, Any]:
    """Compose one example, have veRL validate it, and return the configuration, what was raised and what was printed.

    Args:
        name: a key of `EXAMPLES`.
        model: folder of a model that is there.
    """
    import verl.trainer
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf
    from verl.trainer import main_ppo

    overrides = [*EXAMPLES[name], f"{MODEL}.path={model}", f"critic.model.path={model}"]
    printed, raised = io.StringIO(), None
    with initialize_config_dir(str(Path(verl.trainer.__file__).parent / "config"), version_base=None):
        config = compose("ppo_trainer", overrides)
    with contextlib.redirect_stdout(printed):
        try:
            main_ppo.auto_set_device(config)
            main_ppo.validate_config(config, main_ppo.need_reference_policy(config), main_ppo.need_critic(config))
        except Exception as error:  # noqa: BLE001  compared with what is raised without the plugin
            raised = f"{type(error).__name__}: {error}"
    return {
        "config": OmegaConf.to_container(config, resolve=False),
        "raised": raised,
        "printed": printed.getvalue(),
    }


def surroundings() -> dict[str, Any]:
    """Return what a plain run's processes would use beside their configuration."""
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry
    from verl.plugin.platform import get_platform
    from verl.plugin.platform.platform_manager import PlatformRegistry, _detect_platform_name
    from verl.trainer.ppo.v1 import replay_buffer
    from verl.utils.metric import Metric
    from verl.workers.engine.base import EngineRegistry

    importlib.import_module("verl.workers.engine.fsdp.transformer_impl")
    importlib.import_module("verl.experimental.agent_loop.tool_agent_loop")
    tokens = importlib.import_module("verl.utils.tokenizer.continuous_token_wiring")
    try:
        vllm = version("vllm")
    except PackageNotFoundError:
        vllm = "not installed"
    return {
        "platform": type(get_platform()).__name__,
        "detected": _detect_platform_name(),
        "platforms": sorted(PlatformRegistry.registered_names()),
        "vllm": vllm,
        "engines": {
            f"{model} {backend} {device}": f"{engine.__module__}.{engine.__qualname__}"
            for model, backends in EngineRegistry._engines.items()
            for backend, devices in backends.items()
            for device, engine in devices.items()
        },
        "tool_agent": _agent_loop_registry["tool_agent"],
        "builders": {
            family: _source(tokens.get_continuous_token_builder_class(family)) for family in ("default", "qwen3")
        },
        "functions": {
            "call_tool": _source(sys.modules["verl.experimental.agent_loop.tool_agent_loop"].ToolAgentLoop._call_tool),
            "builder_class": _source(tokens.get_continuous_token_builder_class),
            "sync": _source(replay_buffer.ReplayBuffer._sync_metadata_from_transfer_queue),
            "from_dict": _source(Metric.from_dict.__func__),
        },
    }


def _source(thing: Any) -> str:
    """Return where a class's or a function's own code is, wrappers not followed."""
    code = getattr(thing, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else f"{thing.__module__}.{thing.__qualname__}"


def main(model: str, examples: str = "") -> None:
    """Print everything as one line of JSON.

    Args:
        model: Folder of a model that is there.
        examples: How many of the examples, all by default.
    """
    import verl

    names = list(EXAMPLES)[: int(examples) if examples else None]

    found = {
        "verl": [verl.__version__, str(Path(verl.__file__).parent)],
        "examples": {name: outcome(name, model) for name in names},
        "imported": sorted(
            name for name in sys.modules if name.split(".")[0] in ("wapo_verl", "retrieval_index", "envs")
        ),
        "surroundings": surroundings(),
        "imported at the end": sorted(name for name in sys.modules if name.startswith(("wapo_verl", "retrieval_"))),
    }
    print("FOUND " + json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
