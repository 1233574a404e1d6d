"""The agent loop `search_tool_agent`: veRL's own `tool_agent`, with an episode record and searches that stop the run.

It is veRL's loop for tools, its Hermes calls and its tokenisation of tool messages, under a name of its own. Added, by
overriding four of its steps and patching none:

- Each turn is read by `wapo_verl.environments.protocol.parse_tool_turn`, and that reading decides: a call inside a
  thought is not made, a second call or one that is no call ends the episode. veRL would make the first and drop the
  others.
- The record that the verifier reads (`wapo_verl.environments.episode`), with the outcomes of `search_agent` and
  `bad_call`.
- A search that fails raises. veRL turns what a tool raises into a message to the policy, and trains on.
- Results are cut to a budget of tokens a passage, as in `search_agent`, and not to
  `multi_turn.max_tool_response_length` characters; a turn has `max_turn_tokens`; a prompt too long is refused, not cut.

The settings are those of `search_agent` (`wapo.search_agent.*`). No stop string ends a turn: what follows a call is the
template's end of turn, which the policy writes itself. Left out: further tools, several calls in one turn (a call takes
several queries), images, tool formats other than Hermes.
"""

import json
from dataclasses import asdict
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, ToolListWrap, register
from verl.experimental.agent_loop.tool_agent_loop import AgentData, AgentState, ToolAgentLoop
from verl.experimental.agent_loop.tool_parser import FunctionCall
from verl.tools.schemas import ToolResponse

from wapo_verl.environments.episode import ANSWERED, Episode, Recorder
from wapo_verl.environments.protocol import QUERIES_KEY, SEARCH_TOOL, Answer, Invalid, ToolSearch, parse_tool_turn
from wapo_verl.rollout.chat import TurnBoundary
from wapo_verl.rollout.episode_search import EpisodeSearch
from wapo_verl.rollout.search_tool import ATTRIBUTE, ToolSearches, shipped_tool
from wapo_verl.rollout.settings import SearchAgentConfig
from wapo_verl.rollout.trajectory import room_for_response

AGENT_NAME = "search_tool_agent"


@register(AGENT_NAME)
class SearchToolAgentLoop(ToolAgentLoop):
    """Plays one episode of the tool protocol; veRL makes one object per episode."""

    def __init__(self, *args: Any, tools: ToolListWrap | None = None, **kwargs: Any) -> None:
        """Take veRL's arguments; where `tools` has none named "search", the shipped one is used.

        Raises:
            ValueError: for unusable settings, an unusable chat template or a tool format other than Hermes.
        """
        given = [tool for tool in (tools.tools if tools else []) if tool.name == SEARCH_TOOL]
        super().__init__(*args, tools=ToolListWrap(given or [shipped_tool()]), **kwargs)
        if self.tool_parser_name != "hermes":
            raise ValueError(
                f"{AGENT_NAME} reads calls in the Hermes form; actor_rollout_ref.rollout.multi_turn.format="
                f"{self.tool_parser_name} is not supported, set it to hermes"
            )
        self.settings = SearchAgentConfig.from_config(self.config)
        self.boundary = TurnBoundary(self.tokenizer, self.apply_chat_template_kwargs)
        self.max_tool_response_length = 2**62  # characters: passages are cut to a budget of tokens already
        self.record = Recorder()
        self.episode: Episode | None = None
        self.searches: ToolSearches | None = None

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        """Play one episode.

        Args:
            sampling_params: veRL's.
            priority: veRL's.
            kwargs: the row's columns; `raw_prompt` holds the chat messages, `extra_info.split` may choose the index.

        Raises:
            RetrievalError: when a search failed after its retries.
            ValueError: for a prompt longer than `rollout.prompt_length`, or a split that has no index.
        """
        split = (kwargs.get("extra_info") or {}).get("split")
        self.searches = ToolSearches(EpisodeSearch.for_split(split, self.settings, self.boundary))
        output = await super().run(sampling_params, priority=priority, **kwargs)
        assert self.episode is not None
        output.extra_fields["episode"] = self.episode.to_record()
        output.extra_fields["search_attempts"] = asdict(self.searches.search.attempts)
        return output

    def _cap_text_prompt_length(self, prompt_ids: list[int]) -> list[int]:
        """Refuse a prompt that is too long, which veRL would cut, and limit the response to what the model can hold."""
        self.response_length = room_for_response(len(prompt_ids), self.rollout_config)
        return prompt_ids

    async def _handle_generating_state(
        self, agent_data: AgentData, sampling_params: dict[str, Any], ignore_termination: bool = False
    ) -> AgentState:
        """Have veRL sample a turn, and decide by its text what follows."""
        limit = min(self.settings.max_turn_tokens, self.response_length - len(agent_data.response_mask))
        bounded = {**sampling_params, "max_tokens": limit, "skip_special_tokens": False}
        await super()._handle_generating_state(agent_data, bounded, ignore_termination)
        ids = agent_data.response_ids
        if not ids:
            raise ValueError("the rollout engine returned a turn without a single token: the request was aborted")
        text = self.tokenizer.decode(ids, skip_special_tokens=False)
        self.record.wrote(text)
        if len(ids) >= limit and ids[-1] not in self.boundary.ends:
            return self._end("turn_truncated" if limit == self.settings.max_turn_tokens else "context_full")
        match parse_tool_turn(text, self.settings.queries_per_call):
            case Answer(answer):
                return self._end(ANSWERED, answer)
            case Invalid(outcome):
                return self._end(outcome)
            case ToolSearch(queries):
                return self._call(agent_data, queries)

    def _call(self, agent_data: AgentData, queries: tuple[str, ...]) -> AgentState:
        results = self.max_user_turns is not None and agent_data.user_turns >= self.max_user_turns
        if results or self.record.turns >= self.settings.max_turns:
            return self._end("turn_limit")
        if len(agent_data.response_mask) >= self.response_length:
            return self._end("context_full")
        arguments = json.dumps({QUERIES_KEY: queries}, ensure_ascii=False)
        agent_data.tool_calls = [FunctionCall(name=SEARCH_TOOL, arguments=arguments)]
        return AgentState.PROCESSING_TOOLS

    async def _handle_processing_tools_state(self, agent_data: AgentData) -> AgentState:
        """Have veRL make the call and write its result into the context; note it where it fitted."""
        assert self.searches is not None
        setattr(agent_data, ATTRIBUTE, self.searches)
        state = await super()._handle_processing_tools_state(agent_data)
        if state == AgentState.TERMINATED:
            return self._end("context_full")
        for found in self.searches.found:
            self.record.searched(found.query, found.document_ids)
        return state

    async def _call_tool(
        self, tool_call: FunctionCall, tools_kwargs: dict[str, Any], agent_data: AgentData
    ) -> tuple[ToolResponse, float, dict]:
        """Make the call; raise what the tool raised, which veRL has made a message of."""
        called = await super()._call_tool(tool_call, tools_kwargs, agent_data)
        assert self.searches is not None
        if self.searches.error is not None:
            raise self.searches.error
        return called

    def _end(self, outcome: str, answer: str | None = None) -> AgentState:
        self.episode = self.record.end(outcome, answer)
        return AgentState.TERMINATED
