"""veRL's `tool_agent`, with turns ended as the chat template ends them, and no control token in a tool's result.

A run that asks for this package plays its `tool_agent` rows with this class: `fail_fast` puts it under that name in the
processes that play episodes. `search_tool_agent` is built on it. Every other run has veRL's own.
"""

from typing import Any

from verl.experimental.agent_loop.tool_agent_loop import AgentData, ToolAgentLoop
from verl.experimental.agent_loop.tool_parser import FunctionCall
from verl.tools.schemas import ToolResponse

from wapo_verl.rollout.chat import without_control_strings
from wapo_verl.rollout.turn_tokens import builder_for


class TemplateToolAgentLoop(ToolAgentLoop):
    """veRL's tool loop by the rules of the model's own chat template."""

    continuous_token_builder: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.continuous_token_builder = builder_for(self.continuous_token_builder)

    async def _call_tool(
        self, tool_call: FunctionCall, tools_kwargs: dict[str, Any], agent_data: AgentData
    ) -> tuple[ToolResponse, float, dict]:
        """Clean the text of every result, veRL's own messages about unknown tools and bad arguments included."""
        response, reward, metrics = await super()._call_tool(tool_call, tools_kwargs, agent_data)
        if response.text:
            text = without_control_strings(response.text, self.tokenizer)
            response = response.model_copy(update={"text": text})
        return response, reward, metrics
