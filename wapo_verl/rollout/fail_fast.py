"""What becomes of a failed episode: it is left out within the run's budget, or stops the run with its reason.

veRL 0.9.1's V1 trainer does neither: an exception in an agent loop or in a reward function is logged in the worker, its
group gets the status "failure", and then sync mode trains on what is left of the group, padding the rest; async mode
evicts it and asks for another one, for ever; validation counts the samples that came through. A dead retriever or a
reward function with a bug would look like training.

`FailFastAgentLoopManager`'s worker class closes the gap. Where the run's budget (`wapo_verl.rollout.failures`) has room
for the reason, the episode becomes a row like any other, with no token to train on and the reason in its tag: the
trainer leaves it out and counts it. Else the exception's text goes into the prompt's tag in TransferQueue, beside the
status, and in the trainer's process a patch (`wapo_verl.verl_plugin.patches`), applied when this module is imported,
has the replay buffer call `raise_recorded_failures`. Where veRL's own manager runs, this module is not imported and
nothing changes.

Episodes are not played again: what is worth another attempt (a search) gets it where it is made.
"""

import math
from collections.abc import Mapping
from typing import Any

import ray
import transfer_queue as tq
from omegaconf import DictConfig, OmegaConf
from ray.exceptions import RayTaskError
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput, _agent_loop_registry
from verl.experimental.agent_loop.tool_agent_loop import ToolAgentLoop
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ
from verl.workers.rollout.utils import get_max_position_embeddings

from wapo_verl.environments.failures import VERIFIER, failure_of
from wapo_verl.environments.registry import environment_of
from wapo_verl.rollout.failures import FAILURE, Failure, FailureBudget, reason_for
from wapo_verl.rollout.one_server import without_the_balancer
from wapo_verl.rollout.seeds import SEED, SampleSeed, row_name, seed_of
from wapo_verl.rollout.tool_agent import TemplateToolAgentLoop

TOOL_AGENT = "tool_agent"
REASON_TAG = "failure_reason"
NO_VERDICT = "the verifier came to no verdict"


class EpisodeError(RuntimeError):
    """An episode could not be played or scored; the message carries the reason."""


def message_of(error: BaseException) -> str:
    """Return kind and text of an exception; of what was raised remotely, where Ray has wrapped it."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return f"{type(cause).__name__}: {cause}"


def play_tool_agent_by_the_template() -> None:
    """Have this process play `tool_agent` rows with our class; a user's own loop of that name stays."""
    if _agent_loop_registry[TOOL_AGENT]["_target_"] == _target(ToolAgentLoop):
        _agent_loop_registry[TOOL_AGENT] = {"_target_": _target(TemplateToolAgentLoop)}


def _target(loop: type) -> str:
    return f"{loop.__module__}.{loop.__qualname__}"


def write_context_length(rollout: DictConfig, hf_config: Any) -> None:
    """Write into `max_model_len`, where it is null, what vLLM's server takes then: the positions that the model has.

    Without it an episode of several turns would reach the model's end unseen, and the engine refuse its next turn.
    """
    if rollout.max_model_len is None:
        rollout.max_model_len = get_max_position_embeddings(hf_config)


class FailFastAgentLoopWorker(AgentLoopWorkerTQ.__ray_metadata__.modified_class):
    """veRL's worker, which also deals with failed episodes, seeds each, and plays `tool_agent` by the template's rules.

    (Ray's actor class cannot be subclassed, its class can.)
    """

    llm_client: Any  # these two are set by veRL's constructor
    model_config: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.budget = FailureBudget.of(self.config)
        self.llm_client = without_the_balancer(self.llm_client, self.config)
        write_context_length(self.config.actor_rollout_ref.rollout, self.model_config.hf_config)
        play_tool_agent_by_the_template()

    async def _run_agent_loop(self, sampling_params: dict[str, Any], trajectory: dict[str, Any], **kwargs: Any) -> Any:
        try:
            try:
                seeded = self._seeded(sampling_params, trajectory, kwargs)
                return await super()._run_agent_loop(seeded, trajectory, **kwargs)
            except Exception as error:
                if reason_for(error) not in self.budget.reasons:
                    raise
                failure = Failure(reason_for(error), message_of(error))
            row = {name: value for name, value in kwargs.items() if name not in ("agent_name", "trace")}
            await self._agent_loop_postprocess(self._unplayed(row, failure), trajectory["validate"], **row)
        except Exception as error:
            await tq.async_kv_put(
                key=kwargs["uid"],
                partition_id="val" if trajectory["validate"] else "train",
                tag={REASON_TAG: message_of(error)},
            )
            raise

    def _unplayed(self, row: dict[str, Any], failure: Failure) -> AgentLoopOutput:
        """Return an output with all the fields of a played episode: the row's prompt and a token nobody trains on."""
        arguments = self.config.data.get("apply_chat_template_kwargs") or {}
        text = self.tokenizer.apply_chat_template(
            list(row["raw_prompt"]), tokenize=False, add_generation_prompt=True, **arguments
        )
        prompt = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        output = AgentLoopOutput(
            prompt_ids=prompt[-self.rollout_config.prompt_length :],
            response_ids=[self.tokenizer.eos_token_id],
            response_mask=[0],
            response_logprobs=[0.0] if self.rollout_config.calculate_log_probs else None,
            reward_score=math.nan,
            num_turns=0,
            metrics=AgentLoopMetrics(),
            extra_fields={"episode": failure.record(), "turn_scores": [], "tool_rewards": []},
        )
        failure.mark([output])
        return output

    async def _compute_score(self, outputs: list[AgentLoopOutput], kwargs: dict[str, Any]) -> None:
        try:
            await super()._compute_score(outputs, kwargs)
        except Exception as error:
            if VERIFIER not in self.budget.reasons:
                raise
            Failure(VERIFIER, message_of(error)).mark(outputs)
            return
        extra = outputs[-1].extra_fields
        if self.budget.undecided and FAILURE not in extra:
            reason = failure_of(environment_of(str(kwargs["data_source"])), extra.get("reward_extra_info") or {})
            if reason is not None:
                Failure(reason, NO_VERDICT).mark(outputs)

    async def _agent_loop_postprocess(self, output: Any, validate: bool, **kwargs: Any) -> None:
        """Put the rows into TransferQueue as veRL does, and what failed into their tags."""
        await super()._agent_loop_postprocess(output, validate, **kwargs)
        outputs = output if isinstance(output, list) else [output]
        if outputs and FAILURE in outputs[-1].extra_fields:
            keys = [f"{kwargs['uid']}_{kwargs['session_id']}_{number}" for number in range(len(outputs))]
            tags = [outputs[-1].extra_fields["reward_extra_info"]] * len(keys)
            await tq.async_kv_batch_put(keys=keys, partition_id="val" if validate else "train", tags=tags)

    def _seeded(
        self, sampling_params: dict[str, Any], trajectory: dict[str, Any], row: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the sampling parameters with the completion's seed: of run, step, prompt and number of the sample."""
        seed = OmegaConf.select(self.config, SEED)
        if seed is None:
            return sampling_params
        prompt = row_name(row) if trajectory["validate"] else row["uid"]
        return {**sampling_params, "seed": SampleSeed(seed_of(seed, trajectory["step"], prompt, row["session_id"]))}


class FailFastAgentLoopManager(AgentLoopManagerTQ):
    """veRL's manager with `FailFastAgentLoopWorker` as its worker; it lives in the trainer's process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(FailFastAgentLoopWorker)


def raise_recorded_failures(failed: Mapping[str, set[str]]) -> None:
    """Raise EpisodeError where a failed prompt has a recorded reason.

    Args:
        failed: partition ("train" or "val") -> the uids of its failed prompts.
    """
    tags = tq.kv_list() or {}
    for partition, uids in failed.items():
        found = {tags.get(partition, {}).get(uid, {}).get(REASON_TAG) for uid in uids} - {None}
        if found:
            raise EpisodeError(_message(partition, len(uids), sorted(map(str, found))))


def _message(partition: str, prompts: int, reasons: list[str]) -> str:
    step = "validation" if partition == "val" else "training"
    more = f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
    return f"episodes of {prompts} prompt(s) failed in {step}; the run stops here. {reasons[0]}{more}"
