"""The agent loop `search_agent`: the policy thinks, searches and answers; each turn of it is one request to the engine.

Token ids in, token ids out: the prompt is tokenised once, a turn's ids stay what the engine returned, results are
tokenised once as they are written. Decoded text is read (to see what the policy asked for) and never encoded again.

How an episode ends (`wapo_verl.environments.episode.OUTCOMES`), beside what `wapo_verl.environments.protocol` reads in
a turn:

- `turn_truncated`: the turn reached `max_turn_tokens` before its closing tag;
- `context_full`: the turn ran into the end of the response (`rollout.response_length` or `rollout.max_model_len`), or
  the results and one more token did not fit; the results are then neither shown nor recorded;
- `turn_limit`: a search in the last turn allowed; it is not carried out.

A search that fails after its retries raises: an episode never goes on with an empty result that was an error. What
makes the run stop then is in `fail_fast`. Left out: reward (the environment's), images, engines other than vLLM.
"""

from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput, register
from verl.experimental.agent_loop.tool_agent_loop import SPEC_DECODE_EXTRA_KEYS
from verl.utils.profiler import simple_timer
from verl.utils.rollout_trace import rollout_trace_op

from wapo_verl.environments.episode import ANSWERED, Episode, Recorder
from wapo_verl.environments.protocol import STOP_STRINGS, Answer, Invalid, Search, parse_turn, render_information
from wapo_verl.rollout.chat import TurnBoundary
from wapo_verl.rollout.episode_search import EpisodeSearch
from wapo_verl.rollout.settings import SearchAgentConfig
from wapo_verl.rollout.trajectory import Trajectory, room_for_response


@dataclass(slots=True)
class _State:
    """What grows while one episode runs."""

    trajectory: Trajectory
    search: EpisodeSearch
    boundary: TurnBoundary
    request_id: str
    priority: int
    record: Recorder = field(default_factory=Recorder)
    engine_fields: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    routed_experts: Any = None


@register("search_agent")
class SearchAgentLoop(AgentLoopBase):
    """Plays one episode of the protocol in `wapo_verl.environments.protocol`; veRL makes one object per episode."""

    def __init__(
        self,
        trainer_config: Any,
        server_manager: Any,
        tokenizer: Any,
        data_config: Any,
        name: str = "search_agent",
        processor: Any = None,
        dataset_cls: Any = None,
        hf_model_type: str | None = None,
        tools: Any = None,
        **given: Any,
    ) -> None:
        """Take veRL's arguments, and any of `SearchAgentConfig`'s keys from the loop's YAML entry.

        `AgentLoopBase`'s own constructor is not run: it picks a tokenisation of turn boundaries by model family, which
        this loop does not use (`TurnBoundary`), which refuses tokenizers without a token for a line break, and which
        warns in every episode where it does not know the family.

        Args:
            trainer_config: holds the whole configuration as `.config`.
            server_manager: veRL's client of the rollout engine.
            tokenizer: the policy's.
            data_config: holds the configuration's `data` as `.config`.
            name: the YAML entry's own name, which veRL passes along, as it does the four after it; none is used.
            given: settings from the YAML entry.

        Raises:
            ValueError: for unusable settings or an unusable chat template.
        """
        self.config = trainer_config.config
        self.rollout_config = self.config.actor_rollout_ref.rollout
        self.server_manager = server_manager
        self.tokenizer = tokenizer
        self.settings = SearchAgentConfig.from_config(self.config, given)
        self.boundary = TurnBoundary(tokenizer, data_config.config.get("apply_chat_template_kwargs"))

    @rollout_trace_op
    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        """Play one episode.

        Args:
            sampling_params: veRL's (temperature, top_p, top_k, logprobs); the loop adds its stop strings and limits.
            priority: order of the request in the engine's queue.
            kwargs: the row's columns; `raw_prompt` holds the chat messages, `extra_info.split` may choose the index.

        Raises:
            RetrievalError: when a search failed after its retries.
            ValueError: for a prompt longer than `rollout.prompt_length`, or a split that has no index.
        """
        determined = getattr(self.rollout_config, "full_determinism", False)
        messages = list(kwargs["raw_prompt"])
        state = _State(
            trajectory=self._start(messages),
            search=EpisodeSearch.for_split((kwargs.get("extra_info") or {}).get("split"), self.settings, self.boundary),
            boundary=self.boundary.opened_by(messages),
            request_id=f"det-{int(priority)}" if determined else uuid4().hex,
            priority=int(priority),
        )
        episode = None
        while episode is None:
            episode = await self._turn(state, sampling_params)
        return self._output(state, episode)

    def _start(self, messages: list[dict[str, str]]) -> Trajectory:
        prompt = self.boundary.prompt(messages)
        return Trajectory(prompt, limit=room_for_response(len(prompt), self.rollout_config))

    async def _turn(self, state: _State, sampling_params: dict[str, Any]) -> Episode | None:
        """One turn of the policy and what follows from it; the episode when it is over."""
        limit = min(self.settings.max_turn_tokens, state.trajectory.room)
        text, cut = await self._generate(state, sampling_params, limit)
        if cut:
            return state.record.end("turn_truncated" if limit == self.settings.max_turn_tokens else "context_full")
        match parse_turn(text):
            case Answer(answer):
                return state.record.end(ANSWERED, answer)
            case Invalid(outcome):
                return state.record.end(outcome)
            case Search(query):
                return await self._search(state, query)

    async def _generate(self, state: _State, sampling_params: dict[str, Any], limit: int) -> tuple[str, bool]:
        """The turn's text, and whether the limit cut it (veRL reports a turn that was cut as "completed" too)."""
        trajectory = state.trajectory
        with simple_timer("generate_sequences", state.metrics):
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
        trajectory.add_turn(output.token_ids, output.log_probs)
        self._keep_engine_fields(state, output)
        text = self.tokenizer.decode(output.token_ids, skip_special_tokens=False)
        state.record.wrote(text)
        stopped = output.token_ids[-1] in self.boundary.ends or any(stop in text for stop in STOP_STRINGS)
        return text, len(output.token_ids) >= limit and not stopped

    @staticmethod
    def _keep_engine_fields(state: _State, output: Any) -> None:
        """The first turn's fields, with the newest weights' version and sums over turns where they are counts."""
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

    async def _search(self, state: _State, query: str) -> Episode | None:
        if state.record.turns >= self.settings.max_turns:
            return state.record.end("turn_limit")
        with simple_timer("tool_calls", state.metrics):
            (found,) = await state.search.ask([query])
        trajectory = state.trajectory
        information = state.boundary.ids(render_information(found.passages), last=trajectory.ids[-1])
        if len(information) >= trajectory.room:
            return state.record.end("context_full")
        trajectory.add_environment(information)
        state.record.searched(query, found.document_ids)
        return None

    def _output(self, state: _State, episode: Episode) -> AgentLoopOutput:
        trajectory = state.trajectory
        return AgentLoopOutput(
            prompt_ids=trajectory.prompt,
            response_ids=trajectory.ids,
            response_mask=trajectory.mask,
            response_logprobs=trajectory.log_probs if trajectory.has_log_probs else None,
            routed_experts=state.routed_experts,
            num_turns=1 + state.record.turns + len(state.record.queries),
            metrics=AgentLoopMetrics(**state.metrics),
            # The same keys for every episode; the last two are what veRL's own loops always give.
            extra_fields={
                **state.engine_fields,
                "episode": episode.to_record(),
                "search_attempts": asdict(state.search.attempts),
                "turn_scores": [],
                "tool_rewards": [],
            },
        )
