"""Tokens a second of an evaluation beside those of vLLM alone on the same requests: are all rollout slots busy?

    wapo-verl eval math_rows=rows.jsonl --model MODEL --samples 8 --out evaluation
    python -m benchmarks.evaluation_throughput evaluation

vLLM gets the prompts, seeds and limits that the evaluation's samples had, all at once, in an engine with the
evaluation's settings, on a CPU with all cores, and nothing else runs. Both clocks start with the first request to a
new engine; the evaluation's ends when the last sample is scored. One-turn tasks only: an episode that searches waits
for its searches. One device only: an evaluation has an engine on each.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from omegaconf import DictConfig, OmegaConf

from wapo_verl.cpu.defaults import RAY_VARIABLES, cpu_defaults
from wapo_verl.cpu.where import on_cpu
from wapo_verl.evaluation.manifest import EvaluationManifest, read_manifest
from wapo_verl.rollout.seeds import SampleSeed, seed_the_turn
from wapo_verl.settings.defaults import apply_defaults
from wapo_verl.settings.explicit_keys import override_keys

WANTED = 0.8
"""The share of vLLM's own throughput that an evaluation is to reach."""

ENGINE = (
    "dtype",
    "enforce_eager",
    "enable_chunked_prefill",
    "enable_prefix_caching",
    "gpu_memory_utilization",
    "logprobs_mode",
    "max_model_len",
    "max_num_seqs",
)
"""The settings of `actor_rollout_ref.rollout` that both engines have."""

THREADS = "OMP_"
"""How the variables begin that say how many threads there are and how they wait: vLLM alone has its own way."""


def main(evaluation: Annotated[Path, typer.Argument(help="A folder of `wapo-verl eval`, of a one-turn task.")]) -> None:
    """Print both rates and their ratio."""
    manifest = read_manifest(evaluation)
    if manifest is None:
        raise typer.BadParameter(f"{evaluation} has no manifest")
    samples = [json.loads(line) for line in (evaluation / "samples.jsonl").read_text().splitlines()]
    sampled = [sample for sample in samples if sample["response_ids"]]
    if any(sample["searches"] for sample in sampled):
        raise typer.BadParameter(f"{evaluation} has episodes that searched; evaluate a one-turn task")
    settings = settings_of(evaluation)
    if settings.trainer.nnodes * settings.trainer.n_gpus_per_node > 1:
        raise typer.BadParameter(f"{evaluation} had several devices; evaluate with trainer.n_gpus_per_node=1")
    tokens = sum(len(sample["response_ids"]) for sample in sampled)
    seconds = max(sample["finished"] for sample in sampled) - min(sample["started"] for sample in sampled)
    responses, alone_seconds = offline(manifest, settings, sampled)
    alone_tokens = sum(map(len, responses))
    same = sum(sample["response_ids"] == ids for sample, ids in zip(sampled, responses, strict=True))
    ratio = (tokens / seconds) / (alone_tokens / alone_seconds)
    print(f"evaluation: {tokens:,} tokens in {seconds:.1f} s, {tokens / seconds:,.0f} a second")
    print(f"vLLM alone: {alone_tokens:,} tokens in {alone_seconds:.1f} s, {alone_tokens / alone_seconds:,.0f} a second")
    print(f"ratio {ratio:.2f}, wanted at least {WANTED}; {same} of {len(sampled)} responses are the same")


def settings_of(evaluation: Path) -> DictConfig:
    """Return the settings that veRL ran an evaluation with, the CPU's defaults included."""
    written = evaluation / "verl" / ".hydra"
    settings = cast(DictConfig, OmegaConf.load(written / "config.yaml"))
    if on_cpu(settings):
        overrides = [str(override) for override in OmegaConf.load(written / "overrides.yaml")]
        apply_defaults(settings, cpu_defaults(settings), override_keys(overrides), "the CPU")
    return settings


def offline(
    manifest: EvaluationManifest, settings: DictConfig, sampled: list[dict[str, Any]]
) -> tuple[list[list[int]], float]:
    """Return what vLLM alone makes of the same requests, token ids for each, and the seconds it takes."""
    variables = OmegaConf.select(settings, RAY_VARIABLES)
    os.environ |= {name: str(value) for name, value in variables.items() if not name.startswith(THREADS)}
    from vllm import LLM, SamplingParams

    rollout = settings.actor_rollout_ref.rollout
    engine = LLM(manifest.model.folder, **{name: rollout[name] for name in ENGINE})
    prompts = [{"prompt_token_ids": sample["prompt_ids"]} for sample in sampled]
    parameters = [
        SamplingParams(
            temperature=manifest.temperature,
            top_p=manifest.top_p,
            max_tokens=settings.data.max_response_length,
            seed=seed_the_turn({"seed": SampleSeed(sample["seed"])}, len(sample["prompt_ids"]))["seed"],
            logprobs=0 if rollout.calculate_log_probs else None,
        )
        for sample in sampled
    ]
    started = time.perf_counter()
    outputs = engine.generate(prompts, parameters, use_tqdm=False)
    seconds = time.perf_counter() - started
    return [list(output.outputs[0].token_ids) for output in outputs], seconds


if __name__ == "__main__":
    typer.run(main)
