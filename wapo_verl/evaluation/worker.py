"""Plays and scores an evaluation's samples in veRL's rollout, and writes each one as soon as it is over.

`actor_rollout_ref.rollout.agent.agent_loop_manager_class` names `EvaluationManager`. Agent loops, engine and reward are
those of training. What is worth knowing of a sample is in its line of the file, so veRL gets a stub of it: its batch of
a whole validation stays small.
"""

import asyncio
import fcntl
import os
import time
from dataclasses import dataclass, field
from typing import Any

import ray
import transfer_queue as tq
from ray.exceptions import RayTaskError
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ

from wapo_verl.environments.environment import Environment
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.failures import CONTEXT, RETRIEVER, failure_of
from wapo_verl.environments.registry import environment_of
from wapo_verl.evaluation.answers import Ballot
from wapo_verl.evaluation.records import Sample
from wapo_verl.evaluation.requests import COLUMN, sample_seed
from wapo_verl.rollout.fail_fast import REASON_TAG, message_of
from wapo_verl.rollout.failures import reason_for
from wapo_verl.rollout.seeds import SampleSeed

FORGIVEN = (RETRIEVER, CONTEXT)
"""The errors that are an outcome of a sample; any other ends the evaluation."""


@dataclass(slots=True)
class Asked:
    """One question while its samples are played.

    Attributes:
        environment: the one that scores it.
        data_source: its name.
        ground_truth: the row's.
        column: a request's own keys (`wapo_verl.evaluation.requests.Request.row`).
        ballot: the answers that were given so far.
        turn: who may compare an answer with these.
        started: session -> when it was asked for.
    """

    environment: Environment
    data_source: str
    ground_truth: Any
    column: dict[str, Any]
    ballot: Ballot
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    started: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Asked":
        """Take a row of `EvaluationDataset`."""
        environment, truth = environment_of(row["data_source"]), row["reward_model"]["ground_truth"]
        ballot = Ballot(environment, truth, row[COLUMN]["votes"])
        return cls(environment, row["data_source"], truth, row[COLUMN], ballot)

    def sample(self, session: int) -> int:
        """Return the number of the sample that a session plays."""
        return self.column["samples"][session]

    def seed(self, session: int) -> int:
        """Return the seed of a session's sample."""
        column = self.column
        return sample_seed(column["seed"], self.data_source, column["question_id"], self.sample(session))

    async def answered(self, output: Any, text: str, session: int, response_length: int) -> Sample:
        """Return the sample of a scored output.

        Args:
            output: the agent loop's, scored.
            text: its response as the verifier reads it.
            session: which of the row's sessions it is.
            response_length: the most tokens a response may have.
        """
        scores = {name: float(value) for name, value in output.extra_fields["reward_extra_info"].items()}
        record = output.extra_fields.get("episode")
        episode = Episode.from_record(record) if record else Episode(answer=None, completion=text)
        answer = self.environment.given_answer(episode, self.ground_truth)
        async with self.turn:  # a verifier may have to look at the answers, which blocks
            vote = await asyncio.to_thread(self.ballot.vote, answer, self.sample(session))
        cut = len(output.response_ids) >= response_length
        return Sample(
            data_source=self.data_source,
            question_id=self.column["question_id"],
            row=self.column["row"],
            sample=self.sample(session),
            scores=scores,
            failure=failure_of(self.environment, scores),
            vote=vote,
            turns=episode.turns,
            searches=len(episode.queries),
            tokens=sum(output.response_mask),
            finish_reason=episode.outcome if record else "length" if cut else "stop",
            answer=answer,
            seed=self.seed(session),
            output=text,
            prompt_ids=list(output.prompt_ids),
            response_ids=list(output.response_ids),
            response_mask=list(output.response_mask),
            rollout_log_probs=output.response_logprobs and list(output.response_logprobs),
            episode=record,
            started=self.started.get(session),
            finished=time.time(),
        )

    def failed(self, session: int, failure: str, message: str) -> Sample:
        """Return the sample of a session that came to no score."""
        return Sample(
            data_source=self.data_source,
            question_id=self.column["question_id"],
            row=self.column["row"],
            sample=self.sample(session),
            scores=None,
            failure=failure,
            vote=None,
            turns=0,
            searches=0,
            tokens=0,
            failure_message=message,
            seed=self.seed(session),
        )

    def write(self, sample: Sample) -> None:
        """Append a sample to the file, whole or not at all, whoever else writes to it.

        Raises:
            OSError: where the disk does not take it; the message names the file.
        """
        file = self.column["file"]
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            before, left = os.fstat(descriptor).st_size, memoryview(sample.line())
            try:
                while left:
                    left = left[os.write(descriptor, left) :]
            except OSError as error:
                os.ftruncate(descriptor, before)
                raise OSError(error.errno, os.strerror(error.errno or 0), file) from error
        finally:
            os.close(descriptor)


class EvaluationWorker(AgentLoopWorkerTQ.__ray_metadata__.modified_class):
    """veRL's worker, which writes what comes of each sample.

    (Ray's actor class cannot be subclassed, its class can.)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take veRL's arguments."""
        super().__init__(*args, **kwargs)
        self._asked: dict[str, Asked] = {}

    async def _run_prompt(self, prompt: dict, sampling_params: dict, trajectory: dict, trace: bool = False) -> None:
        uid = prompt["uid"]
        self._asked[uid] = Asked.of(prompt)
        try:
            await super()._run_prompt(prompt, sampling_params, trajectory, trace)
        finally:
            del self._asked[uid]

    async def _run_agent_loop(self, sampling_params: dict[str, Any], trajectory: dict[str, Any], **kwargs: Any) -> Any:
        asked, session = self._asked[kwargs["uid"]], kwargs["session_id"]
        asked.started[session] = time.time()
        tokens, allowed = self._prompt_tokens(kwargs["raw_prompt"]), self.rollout_config.prompt_length
        if tokens > allowed:  # veRL would cut it and ask something else
            message = f"the prompt has {tokens} tokens, data.max_prompt_length is {allowed}"
            asked.write(asked.failed(session, CONTEXT, message))
            return None
        try:
            seeded = {**sampling_params, "seed": SampleSeed(asked.seed(session))}
            return await super()._run_agent_loop(seeded, trajectory, **kwargs)
        except Exception as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            failure = reason_for(cause)
            if failure in FORGIVEN:
                asked.write(asked.failed(session, failure, str(cause)))
                return None
            # Anything else is no outcome of a sample: the trainer stops with this reason.
            await tq.async_kv_put(key=kwargs["uid"], partition_id="val", tag={REASON_TAG: message_of(error)})
            raise

    def _prompt_tokens(self, messages: Any) -> int:
        arguments = self.config.data.get("apply_chat_template_kwargs") or {}
        text = self.tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True, **arguments
        )
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    async def _agent_loop_postprocess(self, output: Any, validate: bool, **kwargs: Any) -> None:
        final = output[-1] if isinstance(output, list) else output
        await self._compute_score(output if isinstance(output, list) else [output], kwargs=kwargs)
        asked, session = self._asked[kwargs["uid"]], kwargs["session_id"]
        text = self.tokenizer.decode(final.response_ids, skip_special_tokens=True)
        asked.write(await asked.answered(final, text, session, self.rollout_config.response_length))
        for name in ("prompt_ids", "response_ids", "response_mask", "response_logprobs"):
            values = getattr(final, name)
            setattr(final, name, values and values[:1])
        final.extra_fields = {"reward_extra_info": final.extra_fields["reward_extra_info"]}
        await super()._agent_loop_postprocess(final, validate, **kwargs)


class EvaluationManager(AgentLoopManagerTQ):
    """veRL's manager with `EvaluationWorker` as its worker; it lives in the trainer's process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take veRL's arguments."""
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(EvaluationWorker)
