"""Whole episodes of our two agent loops and of veRL's `tool_agent` against an engine that returns scripted token ids.

Loops, builders, tokenizers, index and tool dispatch are the real ones; only the engine's choice of tokens is a script.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from omegaconf import OmegaConf
from support.chat_families import Family, tokenizer_of
from support.runs import decide_search_agent
from transformers import PreTrainedTokenizerFast
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, DictConfigWrap, ToolListWrap
from verl.tools.function_tool import FunctionTool
from verl.tools.schemas import OpenAIFunctionToolSchema
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

from wapo_verl.rollout.search_agent import SearchAgentLoop
from wapo_verl.rollout.search_tool_agent import SearchToolAgentLoop
from wapo_verl.rollout.tool_agent import TemplateToolAgentLoop

OURS = {"search_agent": SearchAgentLoop, "search_tool_agent": SearchToolAgentLoop}
Messages = list[dict[str, Any]]
TOOL = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Search the library.",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "what to look for"}},
            "required": ["query"],
        },
    },
}


@dataclass
class ScriptedEngine:
    """Returns one scripted turn a request, cut at `max_tokens`, each token with a log-prob of its own."""

    turns: Sequence[Sequence[int]]
    requests: list[list[int]] = field(default_factory=list)
    written: list[list[int]] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)

    async def generate(self, *, prompt_ids: list[int], sampling_params: dict[str, Any], **_: Any) -> TokenOutput:
        ids = list(self.turns[len(self.written)])[: sampling_params.get("max_tokens")]
        log_probs = [-0.5 - 0.001 * (len(self.log_probs) + i) for i in range(len(ids))]
        self.requests.append(list(prompt_ids))
        self.written.append(ids)
        self.log_probs.extend(log_probs)
        await asyncio.sleep(0)
        return TokenOutput(token_ids=ids, log_probs=log_probs, extra_fields={"max_global_steps": 1})


def _config(index: str, template_arguments: dict[str, Any], **rollout: Any) -> Any:
    multi_turn = {
        "format": "hermes",
        "max_assistant_turns": None,
        "max_user_turns": None,
        "max_parallel_calls": 1,
        "max_tool_response_length": 10_000,
        "tool_response_truncate_side": "right",
    }
    config = OmegaConf.create(
        {
            "actor_rollout_ref": {
                "rollout": {
                    "name": "vllm",
                    "prompt_length": 4096,
                    "response_length": 4096,
                    "max_model_len": None,
                    "full_determinism": False,
                    "multi_turn": multi_turn,
                }
            },
            "data": {"apply_chat_template_kwargs": template_arguments},
            "wapo": {"search_agent": {"index": index, "top_k": 1}},
        }
    )
    for key, value in rollout.items():
        OmegaConf.update(config, f"actor_rollout_ref.rollout.{key.replace('__', '.')}", value)
    return decide_search_agent(config)


def play(
    protocol: str,
    family: Family,
    turns: Sequence[Sequence[int]],
    messages: Messages,
    *,
    index: str = "unused",
    results: dict[str, str] | None = None,
    template_arguments: dict[str, Any] | None = None,
    **rollout: Any,
) -> tuple[AgentLoopOutput, ScriptedEngine]:
    """Play one episode of `protocol` ("search_agent", "search_tool_agent" or "tool_agent").

    Args:
        index: address of the index that our loops ask.
        results: what `tool_agent`'s tool `search` returns for a query; nothing for any other.
        rollout: keys of the rollout's configuration, two underscores for a dot.
    """
    tokenizer, engine = tokenizer_of(family), ScriptedEngine(turns)
    config = _config(index, template_arguments or {}, **rollout)

    def search(query: str) -> str:
        return (results or {}).get(query, "")

    common: dict[str, Any] = {
        "trainer_config": DictConfigWrap(config),
        "server_manager": engine,
        "tokenizer": tokenizer,
        "processor": None,
        "dataset_cls": RLHFDataset,
        "data_config": DictConfigWrap(config.data),
        "hf_model_type": family.model_type,
    }

    async def episode() -> AgentLoopOutput:
        if protocol in OURS:
            return await OURS[protocol](**common).run({}, raw_prompt=messages)
        tool = FunctionTool("search", search, OpenAIFunctionToolSchema.model_validate(TOOL))
        loop = TemplateToolAgentLoop(**common, tools=ToolListWrap([tool]))
        return await loop.run({}, raw_prompt=messages)

    return asyncio.run(episode()), engine


def runs(tokenizer: PreTrainedTokenizerFast, output: AgentLoopOutput) -> list[tuple[int, str]]:
    """The response as (mask, text) runs."""
    pairs = zip(output.response_mask, output.response_ids, strict=True)
    return [
        (mask, tokenizer.decode([token for _, token in group], skip_special_tokens=False))
        for mask, group in groupby(pairs, key=lambda pair: pair[0])
    ]


def undated(text: str) -> str:
    """The text without the day that a template wrote."""
    return re.sub(r"(?<=Today Date: ).*", "DATE", text)


def assert_trained_on_what_was_written(output: AgentLoopOutput, engine: ScriptedEngine, response_length: int) -> None:
    """The policy's ids, and no others, have mask 1 and their own log-probs; every request saw exactly these ids."""
    assert len(output.response_ids) == len(output.response_mask) == len(output.response_logprobs) <= response_length
    trained = [token for token, mask in zip(output.response_ids, output.response_mask, strict=True) if mask]
    written = [token for ids in engine.written for token in ids]
    assert trained == written[: len(trained)]
    assert len(trained) == len(written) or len(output.response_ids) == response_length
    pairs = list(zip(output.response_logprobs, output.response_mask, strict=True))
    assert [log_prob for log_prob, mask in pairs if mask] == engine.log_probs[: len(trained)]
    assert all(log_prob == 0.0 for log_prob, mask in pairs if not mask)
    whole = output.prompt_ids + output.response_ids
    for request, ids in zip(engine.requests, engine.written, strict=True):
        start = len(request)
        assert whole[:start] == request
        end = min(start + len(ids), len(output.prompt_ids) + response_length)
        assert whole[start:end] == ids[: end - start]
        assert output.response_mask[start - len(output.prompt_ids) : end - len(output.prompt_ids)] == [1] * (
            end - start
        )
