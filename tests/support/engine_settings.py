"""veRL's settings of a model and of an FSDP2 engine in float32 on the CPU, as the plugin's defaults are."""

from typing import Any


def model_config(path: str, **settings: Any) -> Any:
    """veRL's HFModelConfig: dense rows, no kernels that need a GPU, and our engine as a run of ours asks for it."""
    from verl.workers.config import HFModelConfig

    from wapo_verl.verl_plugin.start import ENGINE

    return HFModelConfig(
        path=path,
        external_lib=[ENGINE],
        use_remove_padding=False,
        enable_gradient_checkpointing=False,
        override_config={"attn_implementation": "sdpa"},
        **settings,
    )


def engine_config(**settings: Any) -> Any:
    """veRL's FSDPEngineConfig."""
    from verl.workers.config import FSDPEngineConfig

    return FSDPEngineConfig(
        strategy="fsdp2",
        dtype="float32",
        model_dtype="float32",
        mixed_precision={"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"},
        use_torch_compile=False,
        **settings,
    )


def wapo_actor(length: int, **settings: Any) -> Any:
    """veRL's FSDPActorConfig with WAPO's loss and normaliser; `length` is L."""
    from verl.workers.config import FSDPActorConfig, PolicyLossConfig

    return FSDPActorConfig(
        strategy="fsdp2",
        clip_ratio_high=9.0,
        loss_agg_mode="seq-mean-token-sum-norm",
        loss_scale_factor=length,
        calculate_entropy=True,
        policy_loss=PolicyLossConfig(loss_mode="wapo"),
        **settings,
    )
