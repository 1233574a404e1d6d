"""The agent loop `search_agent`: the policy thinks, searches and answers; each turn of it is one request to the engine.

Token ids in, token ids out: the prompt is tokenised once, a turn's ids stay what the engine returned, results are
tokenised once as they are written. Decoded text is read (to see what the policy asked for) and never encoded again.
What follows from a turn, and how an episode ends, is in `wapo_verl.environments.episode_rules`.

A search that fails after its retries raises: an episode never continues with an empty result that was an error. What
makes the run stop then is in `fail_fast`. There are no images, and no engine but vLLM.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput, register
from verl.experimental.agent_loop.tool_agent_loop import SPEC_DECODE_EXTRA_KEYS
from verl.utils.rollout_trace import rollout_trace_op

from wapo_verl.environments.episode import Episode
from wapo_verl.environments.episode_rules import EpisodeRules
from wapo_verl.environments.protocol import STOP_STRINGS, Search
from wapo_verl.rollout.chat import TurnBoundary
from wapo_verl.rollout.episode_limits import limits_for, say_full
from wapo_verl.rollout.episode_search import EpisodeSearch, SearchResult
from wapo_verl.rollout.settings import GROUP, SearchAgentConfig
from wapo_verl.rollout.trajectory import Trajectory, room_for_response
from wapo_verl.rollout.turn_seconds import timed

AGENT_NAME = "search_agent"


@dataclass(slots=True)
class _State:
    """What grows while one episode runs."""

    trajectory: Trajectory
    search: EpisodeSearch
    boundary: TurnBoundary
    request_id: str
    priority: int
    rules: EpisodeRules
    engine_fields: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    turn_seconds: list[float] = field(default_factory=list)  # of each turn: generation and search by turns
    routed_experts: Any = None


@register(AGENT_NAME)
class SearchAgentLoop(AgentLoopBase):
    """Plays one episode of the protocol in `wapo_verl.environments.protocol`; veRL makes one object per episode."""

    def __init__(
        self,
        trainer_config: Any,
        server_manager: Any,
        tokenizer: Any,
        data_config: Any,
        name: str = AGENT_NAME,
        processor: Any = None,
        dataset_cls: Any = None,
        hf_model_type: str | None = None,
        tools: Any = None,
        **given: Any,
    ) -> None:
        """Take veRL's arguments.

        `AgentLoopBase`'s own constructor is not run: it picks a tokenisation of turn boundaries by model family, which
        this loop does not use (`TurnBoundary`), which refuses tokenizers without a token for a line break, and which
        warns in every episode where it does not know the family.

        Args:
            trainer_config: holds the whole configuration as `.config`.
            server_manager: veRL's client of the rollout engine.
            tokenizer: the policy's.
            data_config: holds the configuration's `data` as `.config`.
            name: the YAML entry's own name; not used.
            processor: not used.
            dataset_cls: not used.
            hf_model_type: not used.
            tools: not used.
            **given: further keys of the YAML entry; there may be none.

        Raises:
            ValueError: for unusable settings or an unusable chat template.
        """
        self.config = trainer_config.config
        self.rollout_config = self.config.actor_rollout_ref.rollout
        self.server_manager = server_manager
        self.tokenizer = tokenizer
        if given:
            raise ValueError(f"an agent_loop_config_path file sets nothing here: give +{GROUP}.{next(iter(given))}=...")
        self.settings = SearchAgentConfig.from_config(self.config)
        self.boundary = TurnBoundary(tokenizer, data_config.config.get("apply_chat_template_kwargs"))

    @rollout_trace_op
    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        """Play one episode.

        Args:
            sampling_params: veRL's (temperature, top_p, top_k, logprobs); the loop adds its stop strings and limits.
            priority: order of the request in the engine's queue.
            **kwargs: the row's columns; `raw_prompt` holds the chat messages, `extra_info.split` may choose the index.

        Raises:
            RetrievalError: when a search failed after its retries.
            ValueError: for a prompt longer than `rollout.prompt_length`, or a split that has no index.
        """
        determined = getattr(self.rollout_config, "full_determinism", False)
        messages, extra_info = list(kwargs["raw_prompt"]), kwargs.get("extra_info") or {}
        boundary = self.boundary.opened_by(messages)
        limits = limits_for(self.settings, self.rollout_config, extra_info)
        state = _State(
            trajectory=self._start(messages),
            search=EpisodeSearch.for_split(extra_info.get("split"), self.settings, self.boundary),
            boundary=boundary,
            request_id=f"det-{int(priority)}" if determined else uuid4().hex,
            priority=int(priority),
            rules=EpisodeRules.of(AGENT_NAME, limits, boundary.opening),
        )
        episode = None
        while episode is None:
            episode = await self._turn(state, sampling_params)
        return self._output(state, episode)

    def _start(self, messages: list[dict[str, str]]) -> Trajectory:
        prompt = self.boundary.prompt(messages)
        return Trajectory(prompt, limit=room_for_response(len(prompt), self.rollout_config))

    async def _turn(self, state: _State, sampling_params: dict[str, Any]) -> Episode | None:
        """Play one turn of the policy and what follows from it; return the episode when it is over."""
        trajectory, rules = state.trajectory, state.rules
        room = trajectory.room
        ids, text = await self._generate(state, sampling_params, rules.turn_budget(room))
        step = rules.turn(text, tokens=len(ids), room=room, ended=ids[-1] in self.boundary.ends)
        if not isinstance(step, Search):
            assert isinstance(step, Episode), "the text protocol has no call that could be malformed"
            return step
        with timed("tool_calls", state.metrics, state.turn_seconds):
            results = await state.search.ask(step.queries)
        information = self._information(state, results)
        ended = rules.show(
            [(result.query, result.document_ids) for result in results], tokens=len(information), room=trajectory.room
        )
        if ended is None:
            trajectory.add_environment(information)
        else:
            say_full(len(information), trajectory.room, trajectory.limit)
        return ended

    @staticmethod
    def _information(state: _State, results: Sequence[SearchResult]) -> list[int]:
        """Return the ids of the user turn with the results, up to where the policy writes again."""
        room, last = state.trajectory.room, state.trajectory.ids[-1]
        passages = [result.passages for result in results]
        ids = state.boundary.ids(state.rules.results(passages, room), last)
        if state.rules.limits.announce_budget:  # now that its length is known; a smaller number is not longer
            ids = state.boundary.ids(state.rules.results(passages, room - len(ids)), last)
        return ids

    async def _generate(self, state: _State, sampling_params: dict[str, Any], limit: int) -> tuple[list[int], str]:
        """Have the engine write a turn of at most `limit` tokens; return its ids and its text."""
        trajectory = state.trajectory
        with timed("generate_sequences", state.metrics, state.turn_seconds):
            output = await self.server_manager.generate(
                request_id=state.request_id,
                prompt_ids=trajectory.prompt + trajectory.ids,
                sampling_params={
                    **sampling_params,
                    "max_tokens": limit,
                    "stop": list(STOP_STRINGS),
                    "include_stop_str_in_output": True,
                    "skip_special_tokens": False,  # a tag may be a special token of the model; it must still stop
                },
                priority=state.priority,
            )
        length = self._until_stop(output.token_ids)
        ids = output.token_ids[:length]
        trajectory.add_turn(ids, output.log_probs and output.log_probs[:length])
        self._keep_engine_fields(state, output)
        return ids, self._text(ids)

    def _until_stop(self, ids: Sequence[int]) -> int:
        """Return how many of a turn's tokens there are up to its first stop string, and an end of turn behind it.

        The engine stops there itself, unless it decodes ahead, or a sync of the weights interrupted the turn inside
        that string (asynchronous modes): veRL then has it go on in a new request, which does not see the beginning.
        """
        if not self._has_stopped(self._text(ids)):
            return len(ids)
        stop = bisect_left(range(len(ids)), True, key=lambda length: self._has_stopped(self._text(ids[:length])))
        return len(ids) if self.boundary.ends.issuperset(ids[stop:]) else stop

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))

    @staticmethod
    def _has_stopped(text: str) -> bool:
        return any(stop in text for stop in STOP_STRINGS)

    @staticmethod
    def _keep_engine_fields(state: _State, output: Any) -> None:
        """Keep the first turn's fields, with the newest weights' version and sums over turns where they are counts."""
        preempted = output.num_preempted if output.num_preempted is not None else -1
        if not state.engine_fields:
            state.engine_fields = dict(output.extra_fields)
            state.metrics["num_preempted"] = preempted
        else:
            state.metrics["num_preempted"] += max(preempted, 0)
            newest = output.extra_fields.get("max_global_steps")
            if newest is not None:
                state.engine_fields["max_global_steps"] = newest
            for key in SPEC_DECODE_EXTRA_KEYS:
                if key in state.engine_fields and key in output.extra_fields:
                    state.engine_fields[key] = int(state.engine_fields[key]) + int(output.extra_fields[key])
        if output.routed_experts is not None:
            state.routed_experts = output.routed_experts

    def _output(self, state: _State, episode: Episode) -> AgentLoopOutput:
        trajectory = state.trajectory
        return AgentLoopOutput(
            prompt_ids=trajectory.prompt,
            response_ids=trajectory.ids,
            response_mask=trajectory.mask,
            response_logprobs=trajectory.log_probs if trajectory.has_log_probs else None,
            routed_experts=state.routed_experts,
            num_turns=1 + state.rules.turns + len(state.rules.queries),
            metrics=AgentLoopMetrics(**state.metrics),
            # The same keys for every episode; the last two are what veRL's own loops always give.
            extra_fields={
                **state.engine_fields,
                "episode": episode.to_record(),
                "search_attempts": asdict(state.search.attempts),
                "turn_seconds": state.turn_seconds,
                "turn_scores": [],
                "tool_rewards": [],
            },
        )
