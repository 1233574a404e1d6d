"""Compute the bytes that training and rollout hold on one device.

Sources: mixed precision with AdamW as in ZeRO (arXiv 1910.02054), with what veRL 0.9.1's FSDP engine keeps (weights,
gradients and both moments in `fsdp_config.model_dtype`, the frozen weights of a LoRA run too); activations by counting
what autograd saves in transformers' modules, as arXiv 2205.05198 does for GPT. Tests hold the counts to autograd.
"""

from __future__ import annotations

from dataclasses import dataclass

from wapo_verl.estimate.models import Shape

FLOAT32 = 4


@dataclass(frozen=True, slots=True)
class Job:
    """What the memory and the time of a run depend on.

    Attributes:
        shape: the model's.
        devices: of the trainer; the rollout has the same.
        shards: devices that the weights are spread over.
        master: bytes of a kept weight.
        compute: bytes of a weight and of an activation in computation.
        lora_rank: 0 trains all weights.
        checkpointing: whether a layer's activations are computed again in the backward pass.
        tokens: of a micro-batch, padding included.
        packed: whether sequences are packed (else padded).
        entropy: whether the entropy is computed.
        compiled: whether the entropy's kernel is compiled.
        fused: whether log-probs are computed without logits.
        offload_weights: whether weights wait in the host's memory while they are not used.
        offload_optimizer: the same for the optimizer's moments.
        completions: of a step.
        prompt: longest prompt, tokens.
        response: longest response, tokens.
        extra_forwards: forward passes over the step's tokens beside those of the update (old and reference log-probs).
        tensor_parallel: devices of one rollout engine.
        rollout: bytes of a weight and of a cached key in the rollout.
        max_sequences: most sequences that an engine decodes at once.
        utilization: share of a device that the engine takes; None on a CPU.
        frees_cache: whether the engine gives its share back while the trainer works.
    """

    shape: Shape
    devices: int
    shards: int
    master: int
    compute: int
    lora_rank: int
    checkpointing: bool
    tokens: int
    packed: bool
    entropy: bool
    compiled: bool
    fused: bool
    offload_weights: bool
    offload_optimizer: bool
    completions: int
    prompt: int
    response: int
    extra_forwards: int
    tensor_parallel: int
    rollout: int
    max_sequences: int
    utilization: float | None
    frees_cache: bool

    @property
    def all_weights(self) -> int:
        """Weights with the adapters'."""
        return self.shape.weights + self.shape.lora_weights(self.lora_rank)

    @property
    def trained(self) -> int:
        """Weights that are trained."""
        return self.shape.lora_weights(self.lora_rank) if self.lora_rank else self.shape.weights


def layer_activations(shape: Shape, compute: int) -> int:
    """Return the bytes per token that autograd saves in one layer.

    Each RMS norm saves its input in float32, the normalised values and its result; attention saves q, k, v and its
    result; the feed-forward layer saves gate, silu(gate), up and their product.
    """
    norms = 2 * shape.hidden * (FLOAT32 + 2 * compute)
    query_norms = (shape.queries + shape.keys) * (FLOAT32 + compute) if shape.has_query_norm else 0
    attention = 2 * (shape.queries + shape.keys) * compute
    return norms + query_norms + attention + 4 * shape.intermediate * compute


def logits_bytes(job: Job) -> int:
    """Return the bytes per token of everything as wide as the vocabulary.

    Packed rows with flash attention's cross entropy: the logits and their gradient, and, where the entropy's kernel is
    not compiled, a softmax and a product in float32. Padded rows: the logits, their copy without padding, the rows'
    gradients, those stacked, and those of the copy; the entropy takes two more. Fused kernels keep none.
    """
    if job.fused:
        return 0
    if job.packed:
        entropy = 2 * FLOAT32 if job.entropy and not job.compiled else 0
        return job.shape.vocabulary * (2 * job.compute + entropy)
    return job.shape.vocabulary * job.compute * (7 if job.entropy else 5)


@dataclass(frozen=True, slots=True)
class TrainerMemory:
    """Bytes on one device of the trainer, at the worst moment of an update."""

    weights: int
    gradients: int
    moments: int
    gathered: int
    activations: int
    logits: int
    optimizer_step: int

    @property
    def update(self) -> int:
        """The most that an update holds: at the logits' gradient, or in the optimizer's step."""
        kept = self.weights + self.gradients + self.moments
        return kept + max(self.gathered + self.activations + self.logits, self.optimizer_step)


def trainer_memory(job: Job) -> TrainerMemory:
    """Compute what one device of the trainer holds.

    FSDP2 keeps the weights outside the layers together from the forward pass to the end of the backward pass, with
    their gradient, and gathers one layer beside the one that is computed. On one device without mixed precision nothing
    is gathered. On a GPU AdamW works on all weights at once and makes one more copy of the second moments.
    """
    shape, mixed = job.shape, job.master != job.compute or job.shards > 1
    outer = shape.outer_weights * (1 if job.lora_rank else 2)
    layer = layer_activations(shape, job.compute)
    inputs = shape.layers * shape.hidden * job.compute + layer
    last_norm = shape.hidden * (FLOAT32 + 2 * job.compute)
    saved = (inputs if job.checkpointing else shape.layers * layer) + last_norm
    return TrainerMemory(
        weights=job.all_weights * job.master // job.shards,
        gradients=job.trained * job.master // job.shards,
        moments=2 * job.trained * job.master // job.shards,
        gathered=(outer + 2 * shape.layer_weights) * job.compute if mixed else 0,
        activations=saved * job.tokens,
        logits=logits_bytes(job) * job.tokens,
        optimizer_step=job.trained * job.master // job.shards if job.utilization is not None else 0,
    )


def resident(job: Job, memory: TrainerMemory) -> int:
    """Return what the trainer leaves on a device while the rollout works, in bytes."""
    weights = 0 if job.offload_weights else memory.weights + memory.gradients
    return weights + (0 if job.offload_optimizer else memory.moments)


@dataclass(frozen=True, slots=True)
class RolloutMemory:
    """Bytes of one device of the rollout's engine, and what fits into its cache."""

    share: int
    weights: int
    cache: int
    token: int
    sequences: int


def rollout_memory(job: Job, device: int) -> RolloutMemory:
    """Compute the engine's part of a device of `device` bytes; what it needs for its own activations is not known.

    A token's keys and values are 2 x layers x k, spread over the devices of an engine (arXiv 2309.06180).
    """
    share = int(device * (job.utilization or 0))
    weights = job.shape.weights * job.rollout // job.tensor_parallel
    token = 2 * job.shape.layers * job.shape.keys * job.rollout // job.tensor_parallel
    cache = max(0, share - weights)
    fitting = cache // (token * (job.prompt + job.response))
    return RolloutMemory(share, weights, cache, token, min(job.max_sequences, fitting))
