"""veRL's side of a search in the tool protocol: a `BaseTool` named `search`, which has no state of its own.

What an episode needs to search lives with the episode: the loop (`search_tool_agent`) hangs a `ToolSearches` on veRL's
`AgentData`, which veRL hands to every tool. Not on its `extra_fields`: veRL takes the engine's fields of the first turn
only where these are empty. Left out: a reward of the tool's own (`None`, so veRL notes none).
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from verl.tools.base_tool import BaseTool
from verl.tools.schemas import OpenAIFunctionToolSchema, ToolResponse
from verl.tools.tool_registry import initialize_tools_from_config

from retrieval_index import RetrievalError
from wapo_verl.environments.protocol import QUERIES_KEY, render_tool_response
from wapo_verl.rollout.episode_search import EpisodeSearch, Found

TOOL_CONFIG = Path(__file__).with_name("search_tool.yaml")
ATTRIBUTE = "wapo_searches"
"""Name of the attribute of veRL's `AgentData` that holds the episode's `ToolSearches`."""


@dataclass(slots=True)
class ToolSearches:
    """One episode's searches as the tool makes them.

    Attributes:
        search: the episode's way to the retriever.
        found: what the newest call found; the loop takes it out when the policy was shown it.
        error: why the newest call failed. veRL makes a message of what a tool raises, so the loop raises it again.
    """

    search: EpisodeSearch
    found: list[Found] = field(default_factory=list)
    error: Exception | None = None


class SearchTool(BaseTool):
    """Searches for the queries of a call. Its schema and class are named in a file such as `search_tool.yaml`."""

    def __init__(self, config: dict[str, Any], tool_schema: OpenAIFunctionToolSchema) -> None:
        # Not veRL's constructor, which prints the whole schema in every worker.
        self.config, self.tool_schema, self.name = config, tool_schema, tool_schema.function.name

    async def execute(
        self, instance_id: str, parameters: dict[str, Any], **kwargs: Any
    ) -> tuple[ToolResponse, float | None, dict[str, Any]]:
        """Search for `parameters["query_list"]`, and give the passages back as one text.

        Raises:
            RetrievalError: when the search failed after its retries, or another loop than `search_tool_agent` plays.
        """
        searches: ToolSearches | None = getattr(kwargs.get("agent_data"), ATTRIBUTE, None)
        if searches is None:
            raise RetrievalError(
                "wapo_verl's search tool is for the agent loop search_tool_agent, which stops the run when a search "
                "fails: write the rows with `wapo-verl prepare ENV --agent search_tool_agent`"
            )
        try:
            searches.found = await searches.search.ask(parameters[QUERIES_KEY])
        except Exception as error:
            searches.error = error
            raise
        return ToolResponse(text=render_tool_response([found.passages for found in searches.found])), None, {}


@cache
def shipped_tool() -> SearchTool:
    """The tool of `search_tool.yaml`, made once a process."""
    (tool,) = initialize_tools_from_config(TOOL_CONFIG)
    return tool
