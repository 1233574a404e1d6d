"""veRL's FSDP engines, registered for the CPU.

veRL registers them for CUDA and NPU alone; their code runs on the CPU as it is with `actor.strategy=fsdp2` (FSDP1
refuses CPU modules, so it is not registered here and veRL names it as unknown for this device).
"""

from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead, FSDPEngineWithValueHead


@EngineRegistry.register(model_type="language_model", backend="fsdp2", device="cpu")
class CPUEngineWithLMHead(FSDPEngineWithLMHead):
    """The actor's FSDP2 engine over gloo."""


@EngineRegistry.register(model_type="value_model", backend="fsdp2", device="cpu")
class CPUEngineWithValueHead(FSDPEngineWithValueHead):
    """The critic's FSDP2 engine over gloo."""
