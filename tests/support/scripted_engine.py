"""What the agent loops' tests play against: an engine that writes a script, a byte tokenizer, a small configuration.

The engine is the one thing that is not real; it reports log-probs and fields as veRL's client does.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from omegaconf import OmegaConf
from support.runs import decide_search_agent
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, DictConfigWrap, ToolListWrap

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# With a tool's schema, its calls and its results, as templates in Qwen's style have them.
TOOL_CHATML = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}"
    "<|im_start|>user\n<tool_response>\n{{ m.content }}\n</tool_response><|im_end|>\n"
    "{% else %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}"
    '<tool_call>\n{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}'
    "\n</tool_call>"
    "{% endfor %}<|im_end|>\n"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(template: str = CHATML) -> PreTrainedTokenizerFast:
    """One token per byte, and the chat template's own tokens: small, total, and decoding is exact."""
    vocabulary = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.add_special_tokens({"additional_special_tokens": SPECIAL})
    fast.chat_template = template
    return fast


@dataclass
class ScriptedEngine:
    """Stands in for veRL's client: writes the scripted turns, and stops where vLLM would (stop string, end, limit)."""

    tokenizer: PreTrainedTokenizerFast
    turns: Sequence[str]
    log_probs: bool = True
    sees_stops: bool = True  # not where a turn was interrupted inside of its stop string
    default_limit: int = 0  # tokens of a turn whose request names no limit
    extra_fields: dict[str, Any] = field(default_factory=lambda: {"min_global_steps": 3, "max_global_steps": 3})
    requests: list[dict[str, Any]] = field(default_factory=list)
    written: list[list[int]] = field(default_factory=list)

    async def generate(self, request_id: str, *, prompt_ids: list[int], sampling_params: dict, **_: Any) -> Any:
        self.requests.append({"id": request_id, "prompt_ids": list(prompt_ids), "sampling_params": sampling_params})
        text = self.turns[len(self.written)]
        ids: list[int] = []
        for token in self.tokenizer(text, add_special_tokens=False)["input_ids"]:
            ids.append(token)
            stopped = token == self.tokenizer.eos_token_id or (
                self.sees_stops and self._holds(ids, sampling_params.get("stop", ()))
            )
            if stopped or len(ids) == sampling_params.get("max_tokens", self.default_limit):
                break
        self.written.append(ids)
        await asyncio.sleep(0)
        log_probs = [-0.5 - 0.001 * i for i in range(len(ids))] if self.log_probs else []
        return SimpleNamespace(
            token_ids=ids, log_probs=log_probs, routed_experts=None, num_preempted=None, extra_fields=self.extra_fields
        )

    def _holds(self, ids: list[int], stops: Sequence[str]) -> bool:
        """Tell whether the text ends in a stop string; it is decoded only where its last token ends as one does."""
        last = self.tokenizer.decode(ids[-1:], skip_special_tokens=False)
        if not any(last.endswith(stop[-1]) for stop in stops):
            return False
        return self.tokenizer.decode(ids, skip_special_tokens=False).endswith(tuple(stops))


def make_config(index: str | None, **overrides: Any) -> Any:
    config = OmegaConf.create(
        {
            "actor_rollout_ref": {
                "rollout": {
                    "name": "vllm",
                    "prompt_length": 512,
                    "response_length": 4096,
                    "max_model_len": None,
                    "full_determinism": False,
                    "multi_turn": {
                        "max_assistant_turns": None,
                        "max_user_turns": None,
                        "max_parallel_calls": 1,
                        "max_tool_response_length": 256,
                        "tool_response_truncate_side": "middle",
                        "format": "hermes",
                    },
                }
            },
            "data": {"apply_chat_template_kwargs": {}},
            "wapo": {"search_agent": {"index": index, "top_k": 1}},
        }
    )
    for key, value in overrides.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    return decide_search_agent(config)


def play(
    loop_class: type,
    config: Any,
    turns: Sequence[str],
    messages: Sequence[dict[str, Any]],
    template: str = CHATML,
    tools: Sequence[Any] = (),
    tokenizer: PreTrainedTokenizerFast | None = None,
    model_type: str = "qwen3",
    extra_info: dict[str, Any] | None = None,
    **engine_options: Any,
) -> tuple[AgentLoopOutput, ScriptedEngine]:
    """One episode of a loop in which the policy writes `turns`; with the byte tokenizer where none is given."""

    async def episode() -> tuple[AgentLoopOutput, ScriptedEngine]:
        chosen = tokenizer or make_tokenizer(template)
        engine = ScriptedEngine(chosen, turns, **engine_options)
        loop = loop_class(
            trainer_config=DictConfigWrap(config),
            server_manager=engine,
            tokenizer=chosen,
            processor=None,
            dataset_cls=None,
            data_config=DictConfigWrap(config.data),
            hf_model_type=model_type,
            tools=ToolListWrap(list(tools)),
        )
        sampling = {"temperature": 1.0, "logprobs": True}
        return await loop.run(sampling, raw_prompt=list(messages), priority=7, extra_info=extra_info), engine

    return asyncio.run(episode())


def assert_consistent(output: AgentLoopOutput, engine: ScriptedEngine, response_length: int) -> None:
    """What the policy wrote, and nothing else, has mask 1 and its log-probs; every request saw exactly these ids."""
    assert len(output.response_ids) == len(output.response_mask) <= response_length
    policy = [token for token, mask in zip(output.response_ids, output.response_mask, strict=True) if mask]
    assert policy == [token for ids in engine.written for token in ids]
    if output.response_logprobs is not None:
        expected = [-0.5 - 0.001 * i for ids in engine.written for i in range(len(ids))]
        pairs = list(zip(output.response_logprobs, output.response_mask, strict=True))
        assert [log_prob for log_prob, mask in pairs if mask] == expected
        assert all(log_prob == 0.0 for log_prob, mask in pairs if not mask)
    whole = output.prompt_ids + output.response_ids
    for request, ids in zip(engine.requests, engine.written, strict=True):
        start = len(request["prompt_ids"])
        assert whole[:start] == request["prompt_ids"]
        assert whole[start : start + len(ids)] == ids
