"""Tokens a second of an evaluation beside those of vLLM alone on the same requests: are all rollout slots busy?

    wapo-verl eval math_rows=rows.jsonl --model MODEL --samples 8 --out evaluation
    python -m benchmarks.evaluation_throughput evaluation

vLLM gets the prompts, seeds and limits that the evaluation's samples had, all at once, and nothing else runs. One-turn
tasks only: an episode that searches waits for its searches. On a CPU the seeds are left out: vLLM's sampler refuses
them there once its compilation is off.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from wapo_verl.evaluation.manifest import read_manifest

WANTED = 0.8
"""The share of vLLM's own throughput that an evaluation is to reach."""

CPU_VARIABLES = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "TORCH_COMPILE_DISABLE": "1"}
ON_CPU = {"dtype": "float32", "enforce_eager": True, "gpu_memory_utilization": 0.3}
"""What an evaluation asks of vLLM on a CPU too; there the last one is a share of the machine's memory."""


def main(
    evaluation: Annotated[Path, typer.Argument(help="A folder of `wapo-verl eval`, of a one-turn task.")],
    response_tokens: Annotated[int, typer.Option(help="The evaluation's data.max_response_length.")] = 8192,
) -> None:
    """Print both rates and their ratio."""
    manifest = read_manifest(evaluation)
    if manifest is None:
        raise typer.BadParameter(f"{evaluation} has no manifest")
    samples = [json.loads(line) for line in (evaluation / "samples.jsonl").read_text().splitlines()]
    sampled = [sample for sample in samples if sample["response_ids"]]
    if any(sample["searches"] for sample in sampled):
        raise typer.BadParameter(f"{evaluation} has episodes that searched; evaluate a one-turn task")
    tokens = sum(len(sample["response_ids"]) for sample in sampled)
    seconds = max(sample["finished"] for sample in sampled) - min(sample["started"] for sample in sampled)
    alone_tokens, alone_seconds = offline(manifest.model.folder, sampled, manifest.temperature, response_tokens)
    ratio = (tokens / seconds) / (alone_tokens / alone_seconds)
    print(f"evaluation: {tokens:,} tokens in {seconds:.1f} s, {tokens / seconds:,.0f} a second")
    print(f"vLLM alone: {alone_tokens:,} tokens in {alone_seconds:.1f} s, {alone_tokens / alone_seconds:,.0f} a second")
    print(f"ratio {ratio:.2f}, wanted at least {WANTED}")


def offline(model: str, sampled: list[dict[str, Any]], temperature: float, limit: int) -> tuple[int, float]:
    """Return how many tokens vLLM alone makes of the same requests, and the seconds it takes after a warm-up."""
    import torch

    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        os.environ |= CPU_VARIABLES
    from vllm import LLM, SamplingParams

    longest = max(len(sample["prompt_ids"]) for sample in sampled) + limit
    engine = LLM(model, max_model_len=longest, **(ON_CPU if on_cpu else {}))
    prompts = [{"prompt_token_ids": sample["prompt_ids"]} for sample in sampled]
    parameters = [
        SamplingParams(temperature=temperature, max_tokens=limit, seed=seed, detokenize=False)
        for seed in ([None] * len(sampled) if on_cpu else [sample["seed"] for sample in sampled])
    ]
    engine.generate(prompts[:8], parameters[:8], use_tqdm=False)
    started = time.perf_counter()
    outputs = engine.generate(prompts, parameters, use_tqdm=False)
    seconds = time.perf_counter() - started
    return sum(len(output.outputs[0].token_ids) for output in outputs), seconds


if __name__ == "__main__":
    typer.run(main)
