"""veRL's description of the search tool: a `BaseTool` named `search`, whose calls `search_tool_agent` carries out."""

from functools import cache
from typing import Any

from verl.tools.base_tool import BaseTool
from verl.tools.schemas import OpenAIFunctionToolSchema, ToolResponse
from verl.tools.tool_registry import initialize_tools_from_config

from retrieval_index import RetrievalError
from wapo_verl.rollout import TOOL_CONFIG


class SearchTool(BaseTool):
    """Tells the policy of the search. Its schema and class are named in a file such as `search_tool.yaml`."""

    def __init__(self, config: dict[str, Any], tool_schema: OpenAIFunctionToolSchema) -> None:
        # Not veRL's constructor, which prints the whole schema in every worker.
        self.config, self.tool_schema, self.name = config, tool_schema, tool_schema.function.name

    async def execute(
        self, instance_id: str, parameters: dict[str, Any], **kwargs: Any
    ) -> tuple[ToolResponse, float | None, dict[str, Any]]:
        """Refuse to search for another loop than `search_tool_agent`, which calls no tool.

        Raises:
            RetrievalError: always.
        """
        raise RetrievalError(
            "wapo_verl's search tool is for the agent loop search_tool_agent, which takes no failed search for a "
            "result: write the rows with `wapo-verl prepare ENV --agent search_tool_agent`"
        )


@cache
def shipped_tool() -> SearchTool:
    """Return the tool of `search_tool.yaml`, made once a process."""
    (tool,) = initialize_tools_from_config(TOOL_CONFIG)
    return tool
