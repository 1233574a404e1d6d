"""veRL's vLLM worker extension, for vLLM's CPU build.

Three things differ from a GPU. Weights arrive as views of a shared-memory buffer that is closed afterwards, and moving
them "to the device" copies nothing, so they are cloned. Linear layers keep their weights packed for the CPU's matrix
kernels, without a loader, so each sync goes through vLLM's layer-wise reload, which unpacks, loads and packs. And an
output layer tied to the embeddings has a packed copy of its own that this reload leaves alone (`pack_output_layers`).

The engine picks this class up from `rollout.engine_kwargs.vllm.worker_extension_cls`; veRL itself is not patched.
"""

from collections.abc import Iterator
from typing import Any

import torch
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.model_executor.model_loader.reload.layerwise import finalize_layerwise_reload, initialize_layerwise_reload


def pack_output_layers(model: torch.nn.Module) -> None:
    """Pack each output layer's weights anew.

    The reload packs what it loads. An output layer tied to the embeddings is not loaded itself, so it would keep
    the packed copy of the weights it was built with, while the embeddings, and the actor, have moved on.
    """
    for layer in model.modules():
        if isinstance(layer, ParallelLMHead):
            layer.quant_method.process_weights_after_loading(layer)


class CPUWorkerExtension(vLLMColocateWorkerExtension):
    """Loads the actor's weights into a vLLM worker that runs on the CPU."""

    def update_weights_from_ipc(
        self, peft_config: dict | None = None, base_sync_done: bool = False, use_shm: bool = False
    ) -> None:
        """Receive one set of weights and load it; the arguments are veRL's.

        Raises whatever stopped the load itself: closing the shared buffer while an error holds views of it raises a
        BufferError on top, which would hide the reason.
        """
        adapter_only = bool(peft_config) and base_sync_done
        models = [] if adapter_only else list(super()._iter_all_models_with_config())
        for model, _ in models:
            initialize_layerwise_reload(model)
        try:
            super().update_weights_from_ipc(peft_config=peft_config, base_sync_done=base_sync_done, use_shm=use_shm)
        except BufferError as error:
            raise (error.__context__ or error) from None
        for model, model_config in models:
            finalize_layerwise_reload(model, model_config)
            pack_output_layers(model)

    def _iter_all_models_with_config(self) -> Iterator[tuple[torch.nn.Module, Any]]:
        """Name no model: veRL asks for them only to post-process their weights, which the reload has done by then."""
        return iter(())

    def _update_weights(self, weights: list[tuple[str, torch.Tensor]], *args: Any, **kwargs: Any) -> None:
        super()._update_weights([(name, tensor.clone()) for name, tensor in weights], *args, **kwargs)
