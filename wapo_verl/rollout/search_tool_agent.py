"""The agent loop `search_tool_agent`: veRL's own `tool_agent`, with an episode record and searches that may fail.

It is veRL's loop for tools, with its sampling and its tokenisation of tool messages, under a name of its own. Changed,
by overriding four of its steps and patching none:

- `wapo_verl.environments.episode_rules` decides what follows from a turn: a call inside a thought is not made, several
  calls are one search, and a malformed call is repaired, or answered with an error.
- The record that the verifier reads (`wapo_verl.environments.episode`) is kept.
- A search that fails raises. veRL turns what a tool raises into a message to the policy, and trains on.
- Results are cut to a budget of tokens a passage, as in `search_agent`, and not to
  `multi_turn.max_tool_response_length` characters; a turn has `max_turn_tokens`; a prompt too long is refused, not cut.

The settings are those of `search_agent` (`wapo.search_agent.*`). No stop string ends a turn: what follows a call is the
template's end of turn, which the policy writes itself. There are no further tools and no images.
"""

from dataclasses import asdict
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, ToolListWrap, register
from verl.experimental.agent_loop.tool_agent_loop import AgentData, AgentState

from wapo_verl.environments.episode import Episode
from wapo_verl.environments.episode_rules import EpisodeRules, ToolError
from wapo_verl.environments.protocol import Search
from wapo_verl.environments.tool_calls import SEARCH_TOOL
from wapo_verl.rollout.chat import TurnBoundary
from wapo_verl.rollout.episode_limits import limits_for, say_full
from wapo_verl.rollout.episode_search import EpisodeSearch
from wapo_verl.rollout.search_tool import SearchTool, shipped_tool
from wapo_verl.rollout.settings import SearchAgentConfig
from wapo_verl.rollout.tool_agent import TemplateToolAgentLoop
from wapo_verl.rollout.trajectory import room_for_response
from wapo_verl.rollout.turn_seconds import timed

AGENT_NAME = "search_tool_agent"
FORMATS = ("hermes", "qwen3_coder")


@register(AGENT_NAME)
class SearchToolAgentLoop(TemplateToolAgentLoop):
    """Plays one episode of the tool protocol; veRL makes one object per episode."""

    def __init__(self, *args: Any, tools: ToolListWrap | None = None, **kwargs: Any) -> None:
        """Take veRL's arguments; where `tools` has none named "search", the shipped one is used.

        Raises:
            ValueError: for unusable settings, an unusable chat template, a tool format that is not read here, or a
                tool named "search" that is another than ours.
        """
        given = [tool for tool in (tools.tools if tools else []) if tool.name == SEARCH_TOOL]
        if given and not isinstance(given[0], SearchTool):
            raise ValueError(
                f"{AGENT_NAME} makes the searches itself: in multi_turn.tool_config_path give the tool "
                f'"{SEARCH_TOOL}" the class_name wapo_verl.rollout.search_tool.SearchTool, or another name'
            )
        super().__init__(*args, tools=ToolListWrap(given or [shipped_tool()]), **kwargs)
        if self.tool_parser_name not in FORMATS:
            raise ValueError(
                f"{AGENT_NAME} reads calls as JSON and in Qwen's XML form; actor_rollout_ref.rollout.multi_turn.format="
                f"{self.tool_parser_name} is not supported, set it to {' or '.join(FORMATS)}"
            )
        self.settings = SearchAgentConfig.from_config(self.config)
        self.boundary = TurnBoundary(self.tokenizer, self.apply_chat_template_kwargs)
        self.max_assistant_turns = self.max_user_turns = None  # the rules count turns
        self.rules: EpisodeRules
        self.search: EpisodeSearch
        self.step: Search | ToolError
        self.episode: Episode | None = None
        self.turn_seconds: list[float] = []

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        """Play one episode.

        Args:
            sampling_params: veRL's.
            priority: veRL's.
            **kwargs: the row's columns; `raw_prompt` holds the chat messages, `extra_info.split` may choose the index.

        Raises:
            RetrievalError: when a search failed after its retries.
            ValueError: for a prompt longer than `rollout.prompt_length`, or a split that has no index.
        """
        extra_info = kwargs.get("extra_info") or {}
        self.search = EpisodeSearch.for_split(extra_info.get("split"), self.settings, self.boundary)
        limits = limits_for(self.settings, self.rollout_config, extra_info)
        self.rules = EpisodeRules.of(AGENT_NAME, limits, self.boundary.opened_by(kwargs["raw_prompt"]).opening)
        output = await super().run(sampling_params, priority=priority, **kwargs)
        assert self.episode is not None
        output.extra_fields["episode"] = self.episode.to_record()
        output.extra_fields["search_attempts"] = asdict(self.search.attempts)
        output.extra_fields["turn_seconds"] = self.turn_seconds
        return output

    def _cap_text_prompt_length(self, prompt_ids: list[int]) -> list[int]:
        """Refuse a prompt that is too long, which veRL would cut, and limit the response to what the model can hold."""
        self.response_length = room_for_response(len(prompt_ids), self.rollout_config)
        return prompt_ids

    async def _handle_generating_state(
        self, agent_data: AgentData, sampling_params: dict[str, Any], ignore_termination: bool = False
    ) -> AgentState:
        """Have veRL sample a turn, and ask the rules what follows."""
        room = self.response_length - len(agent_data.response_mask)
        bounded = {**sampling_params, "max_tokens": self.rules.turn_budget(room), "skip_special_tokens": False}
        sampled = agent_data.metrics.get("generate_sequences", 0.0)
        await super()._handle_generating_state(agent_data, bounded, ignore_termination)
        self.turn_seconds.append(agent_data.metrics["generate_sequences"] - sampled)
        ids = agent_data.response_ids
        if not ids:
            raise ValueError("the rollout engine returned a turn without a single token: the request was aborted")
        text = self.tokenizer.decode(ids, skip_special_tokens=False)
        step = self.rules.turn(text, tokens=len(ids), room=room, ended=ids[-1] in self.boundary.ends)
        if isinstance(step, Episode):
            return self._end(step)
        self.step = step
        return AgentState.PROCESSING_TOOLS

    async def _handle_processing_tools_state(self, agent_data: AgentData) -> AgentState:
        """Search, or tell the policy what is wrong with its call, and write that into the context if it fits."""
        if isinstance(self.step, ToolError):
            results, text = [], self.step.message
            self.turn_seconds.append(0.0)
        else:
            with timed("tool_calls", agent_data.metrics, self.turn_seconds):
                results = await self.search.ask(self.step.queries)
            text = self.rules.protocol.results([result.passages for result in results])
        before = len(agent_data.response_mask)
        room = self.response_length - before
        shown = self.rules.with_budget(text, room)
        ids, mask, log_probs = await self._with_result(agent_data, shown)
        if self.rules.limits.announce_budget:  # now that its length is known; a smaller number is not longer
            shown = self.rules.with_budget(text, self.response_length - len(mask))
            ids, mask, log_probs = await self._with_result(agent_data, shown)
        tokens = len(mask) - before
        episode = self.rules.show([(result.query, result.document_ids) for result in results], tokens=tokens, room=room)
        if episode is not None:
            say_full(tokens, room, self.response_length)
            return self._end(episode)
        agent_data.messages.append({"role": "tool", "content": shown})
        agent_data.prompt_ids, agent_data.response_mask = ids, mask
        agent_data.response_logprobs = log_probs or []
        agent_data.user_turns += 1
        return AgentState.GENERATING

    async def _with_result(self, agent_data: AgentData, text: str) -> tuple[list[int], list[int], Any]:
        """Return the ids, mask and log-probs of the episode with a tool's message behind the newest turn."""
        merged, mask, log_probs = await self.ct_merge_context_msg(
            agent_data.messages,
            [*agent_data.messages, {"role": "tool", "content": text}],
            agent_data.prompt_ids,
            agent_data.response_mask,
            agent_data.response_logprobs or None,
            tools=agent_data._active_tool_schemas,
        )
        return merged.token_ids, mask, log_probs

    def _end(self, episode: Episode) -> AgentState:
        self.episode = episode
        return AgentState.TERMINATED
