"""veRL's FSDP2 engines for the CPU, where its code runs as it is. FSDP1 refuses CPU modules, so it stays unknown."""

from wapo_verl.cpu.where import NAME


def register() -> None:
    """Name veRL's own engines for the CPU; calling it again changes nothing."""
    from verl.workers.engine.base import EngineRegistry
    from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead, FSDPEngineWithValueHead

    engines = EngineRegistry._engines
    engines["language_model"]["fsdp2"].setdefault(NAME, FSDPEngineWithLMHead)
    engines["value_model"]["fsdp2"].setdefault(NAME, FSDPEngineWithValueHead)
