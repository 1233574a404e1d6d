"""How `tool_agent` puts a tool's result behind the policy's turn: with the end of turn that the template gives.

veRL appends what the template renders for the result alone. What ends the policy's turn (`<|im_end|>` and a line break,
`<|eot_id|>`) is in front of that: the model families that veRL knows get the line break, others nothing, and no family
gets the end of a turn that the policy did not end. Here both are read off the template, for every text family that has
no rules of its own in veRL (GLM, Gemma and gpt-oss have some).
"""

from functools import cached_property
from typing import Any

from verl.utils.tokenizer.continuous_token import (
    ContinuousTokenBuilder,
    MergeResult,
    QwenContinuousTokenBuilder,
)

from wapo_verl.rollout.chat import ASSISTANT_MARKER, ChatTemplateError

_WAITS_FOR_A_RESULT = "<|eom_id|>"
"""Llama's end of a turn that calls a built-in tool; its format has no `<|eot_id|>` behind it."""

_QUESTION: dict[str, Any] = {"role": "user", "content": "wapoQuestionMarker"}


class TemplateTokenBuilder(ContinuousTokenBuilder):
    """veRL's builder, with turns ended as the template ends them and begun as the system message asks."""

    @cached_property
    def _end(self) -> list[int]:
        """Ids of what the template writes behind an assistant turn.

        Raises:
            ChatTemplateError: when the template does not render an assistant turn once.
        """
        rendered = self.tokenizer.apply_chat_template(
            [_QUESTION, {"role": "assistant", "content": ASSISTANT_MARKER}], tokenize=False, **self.chat_template_kwargs
        )
        _, turn, end = rendered.partition(ASSISTANT_MARKER)
        if not turn or ASSISTANT_MARKER in end:
            raise ChatTemplateError(
                "the tokenizer's chat template does not render an assistant turn once; give the model one that does "
                "(actor_rollout_ref.model.custom_chat_template)"
            )
        return list(self.tokenizer(end, add_special_tokens=False)["input_ids"])

    def _tokenize_tool_group(
        self,
        tool_messages: list[dict[str, Any]],
        *,
        previous_messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = False,
    ) -> list[int]:
        """Render as veRL does, but behind the own system message: SmolLM3's template reads there how turns begin."""
        system = [message for message in previous_messages[:1] if message["role"] == "system"]
        return self.render_delta_token_id(
            [*system, _QUESTION, self._synthetic_assistant_for_tools(tool_messages)],
            tool_messages,
            add_generation_prompt=add_generation_prompt,
            tools=tools,
        )

    def _merge_context_token_ids(
        self, runtime_token_ids: list[int], appended_token_ids: list[int], **kwargs: Any
    ) -> MergeResult:
        previous = kwargs.get("previous_messages") or []
        missing = self._missing_end(runtime_token_ids) if previous and previous[-1]["role"] == "assistant" else []
        return MergeResult(
            token_ids=[*runtime_token_ids, *missing, *appended_token_ids],
            appended_token_count=len(appended_token_ids),
            kind="context",
            inserted_token_ids=missing,
        )

    def _missing_end(self, ids: list[int]) -> list[int]:
        """Return what of the turn's end the policy has not written itself."""
        end = self._end
        written = next((n for n in range(len(end), 0, -1) if ids[-n:] == end[:n]), 0)
        waits = self.tokenizer.added_tokens_encoder.get(_WAITS_FOR_A_RESULT)
        return end[1:] if waits is not None and ids[-1:] == [waits] else end[written:]


def builder_for(theirs: Any) -> Any:
    """Return the builder to use in place of veRL's: ours for its two that know no more than ours, else `theirs`."""
    if type(theirs) not in (ContinuousTokenBuilder, QwenContinuousTokenBuilder):
        return theirs
    return TemplateTokenBuilder(theirs.tokenizer, chat_template_kwargs=theirs.chat_template_kwargs)
