"""Episodes through veRL's own workers, TransferQueue and reward loop in Ray; only the rollout engine is scripted.

Slow (Ray and its actors start). It shows what the quick tests cannot: veRL makes the loop from its registry,
nested records survive TransferQueue, and an error in a worker, or in a reward worker behind it, reaches the trainer.
"""

import asyncio
import math
import os
import sys
import time
import uuid
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf, open_dict
from support.paths import ROOT as REPOSITORY
from support.runs import decide_search_agent

from retrieval_index import build_index
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.protocol import render_answer, render_search, render_tool_search
from wapo_verl.environments.registry import environment

PROMPTS, COMPLETIONS = 3, 2
pytestmark = [pytest.mark.slow, pytest.mark.ray]


class ScriptedClient:
    """Stands in for veRL's client of the rollout engine, in the agent-loop worker: one search, then an answer."""

    def __init__(self, tokenizer_path: str, agent: str, query: str, answer: str, aborted: int = 0) -> None:
        self.aborted = aborted  # so many of the first episodes are not played
        self.tokenizer_path, self.turns = tokenizer_path, [render_search(query), render_answer(answer)]
        if agent == "search_tool_agent":  # no stop string ends its turns
            self.turns = [f"{turn}<|im_end|>" for turn in (render_tool_search([query]), render_answer(answer))]
        self.asked: dict[str, int] = {}

    async def generate(self, request_id: str, **_: Any) -> Any:
        from transformers import AutoTokenizer

        if request_id not in self.asked and len(self.asked) < self.aborted:
            self.asked[request_id] = 0
            raise RuntimeError("the engine is gone")
        turn = self.asked[request_id] = self.asked.get(request_id, -1) + 1
        tokenizer = AutoTokenizer.from_pretrained(self.tokenizer_path)
        ids = tokenizer(self.turns[turn], add_special_tokens=False)["input_ids"]
        await asyncio.sleep(0.01)
        return SimpleNamespace(
            token_ids=ids,
            log_probs=[-1.0] * len(ids),
            routed_experts=None,
            num_preempted=None,
            extra_fields={"min_global_steps": 1, "max_global_steps": 1},
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model (its shape is all that is read), its tokenizer, and an index of the world."""
    from examples.quickstart.model import make_model
    from examples.quickstart.real_text_model import train_tokenizer

    folder = tmp_path_factory.mktemp("in_ray")
    texts = [document.text for document in environment("miniwiki").documents(None)]
    tokenizer = train_tokenizer([*texts, render_tool_search(["Losilex"])], vocabulary=600)
    tokenizer.save_pretrained(folder / "model")
    make_model(tokenizer, seed=0).save_pretrained(folder / "model")
    build_index(environment("miniwiki").documents(None), folder / "index")
    return folder


def make_config(folder: Path) -> Any:
    import verl.trainer
    from hydra import compose, initialize_config_dir
    from verl.experimental.reward_loop.reward_loop import migrate_legacy_reward_impl

    overrides = [
        f"actor_rollout_ref.model.path={folder / 'model'}",
        "actor_rollout_ref.rollout.name=vllm",
        f"actor_rollout_ref.rollout.n={COMPLETIONS}",
        "actor_rollout_ref.rollout.calculate_log_probs=True",
        "actor_rollout_ref.rollout.agent.num_workers=1",
        "reward.num_workers=1",
        "reward.custom_reward_function.path=pkg://wapo_verl.reward",
        "data.max_prompt_length=64",
        "data.max_response_length=256",
        "transfer_queue.enable=True",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        f"+wapo.search_agent.index={folder / 'index'}",
        "+wapo.search_agent.top_k=2",
    ]
    directory = str(Path(verl.trainer.__file__).parent / "config")
    with initialize_config_dir(directory, version_base=None):
        config = migrate_legacy_reward_impl(compose("ppo_trainer", overrides=overrides))
    OmegaConf.resolve(config)
    return decide_search_agent(config)


@pytest.fixture(scope="module")
def config(folder: Path) -> Iterator[Any]:
    """The configuration of a run, in a Ray of its own with TransferQueue up."""
    import ray
    import transfer_queue as tq

    config = make_config(folder)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    environment_ = {"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}}
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, runtime_env=environment_)
    tq.init(config.transfer_queue)
    yield config
    tq.close()
    ray.shutdown()
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def answers(worker: Any) -> bool:
    import ray

    try:
        ray.get(worker.__ray_ready__.remote(), timeout=60)
    except ray.exceptions.RayActorError:
        return False
    return True


def end(workers: list[Any]) -> None:
    """Kill actors and wait until they are gone: one that still writes rows would write them among the next step's."""
    import ray

    for worker in workers:
        ray.kill(worker)
    deadline = time.monotonic() + 60
    while any(map(answers, workers)):  # one that is being killed still answers for a moment
        assert time.monotonic() < deadline
        time.sleep(0.05)


def sample_step(
    config: Any, folder: Path, agent: str = "search_agent", aborted: int = 0, ledger: Any = None
) -> tuple[Any, list[dict[str, Any]], list[float]]:
    """One step's episodes, the way V1's trainer asks for them: keys and tags, extra fields, scores of completions."""
    import torch
    import transfer_queue as tq
    from verl.experimental.reward_loop.reward_loop import RewardLoopManager
    from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
    from verl.utils import tensordict_utils as tu
    from verl.utils.dataset.rl_dataset import collate_fn

    from wapo_verl.rollout.fail_fast import FailFastAgentLoopManager

    miniwiki = environment("miniwiki").played_by(agent)
    rows = [miniwiki.row(e, "train", i) for i, e in enumerate(islice(miniwiki.examples("train", None), PROMPTS))]
    extra = rows[0]["extra_info"]
    answer = rows[0]["reward_model"]["ground_truth"]["answers"][0]
    client = ScriptedClient(str(folder / "model"), agent, extra["first_query"], answer, aborted)
    reward_workers = RewardLoopManager(config).reward_loop_workers
    manager = FailFastAgentLoopManager.create(
        config=config, llm_client=client, reward_loop_worker_handles=reward_workers
    )
    for i, row in enumerate(rows):
        row |= {"raw_prompt": row.pop("prompt"), "index": i, "dummy_tensor": torch.zeros(1, dtype=torch.uint8)}
    batch = tu.get_tensordict({**collate_fn(rows), "uid": np.array([str(uuid.uuid4()) for _ in rows], dtype=object)})
    tu.assign_non_tensor_data(batch, "global_steps", 1)
    tags = [{"is_prompt": True, "status": "pending", "global_steps": 1} for _ in rows]
    tq.kv_batch_put(keys=list(batch["uid"]), partition_id="train", tags=tags)
    manager.generate_sequences(batch)
    buffer = ReplayBuffer("sync", OmegaConf.create({}), None, "drop", OmegaConf.create({}), poll_interval=0.05)
    buffer.wapo_failures = ledger
    try:
        found, _ = buffer.sample(global_steps=1, partition_id="train", batch_size=PROMPTS)
        data = tq.kv_batch_get(keys=found.keys, partition_id="train")  # every field: a failed row lacks none
    finally:
        end([*manager.agent_loop_workers, *reward_workers])  # their names are fixed: the next step makes its own
        tq.kv_clear(partition_id="train", keys=list(tq.kv_list("train")["train"]))
    return found, list(data["extra_fields"]), [float(scores.sum()) for scores in data["rm_scores"].unbind()]


both_agents = pytest.mark.parametrize("agent", ["search_agent", "search_tool_agent"])


@both_agents
def test_episodes_reach_the_trainer_whole(config: Any, folder: Path, agent: str) -> None:
    found, extra_fields, scores = sample_step(config, folder, agent)
    assert len(found.keys) == PROMPTS * COMPLETIONS
    assert len({tuple(sorted(extra)) for extra in extra_fields}) == 1
    episodes = [Episode.from_record(extra["episode"]) for extra in extra_fields]
    assert {episode.outcome for episode in episodes} == {"answered"}
    assert all(len(ids) == 2 for episode in episodes for ids in episode.document_ids)
    assert scores == [extra["reward_extra_info"]["score"] for extra in extra_fields]
    assert max(scores) == 1.0


@both_agents
def test_a_retriever_that_fails_stops_the_run(config: Any, folder: Path, agent: str) -> None:
    from wapo_verl.rollout.fail_fast import EpisodeError

    broken = config.copy()
    broken.wapo.resolved.search_agent.index = str(folder / "no-index")
    with pytest.raises(EpisodeError, match=r"training.*RetrievalError.*no-index"):
        sample_step(broken, folder, agent)


def test_a_reward_that_fails_stops_the_run(config: Any, folder: Path) -> None:
    from wapo_verl.rollout.fail_fast import EpisodeError

    broken = config.copy()
    with open_dict(broken):
        broken.reward.custom_reward_function.reward_kwargs = {"weights": {"elegance": 1.0}}
    with pytest.raises(EpisodeError, match=r"training.*reward weight 'elegance' names no reward part"):
        sample_step(broken, folder)


def test_an_episode_that_fails_within_the_budget_comes_back_as_a_row(config: Any, folder: Path) -> None:
    """The engine is gone for one episode of six; its row is like the others, and says why nobody may learn from it."""
    from wapo_verl.rollout.failures import RESOLVED, FailureBudget
    from wapo_verl.training.failures import FailureLedger

    budget, forgiving = FailureBudget(share=0.1, reasons=["generation"], undecided=True), config.copy()
    OmegaConf.update(forgiving, RESOLVED, budget.model_dump(), force_add=True)
    ledger = FailureLedger(budget)
    ledger.begin_step(PROMPTS * COMPLETIONS)
    found, extra_fields, scores = sample_step(forgiving, folder, aborted=1, ledger=ledger)
    assert len(found.keys) == PROMPTS * COMPLETIONS
    assert ledger.metrics()["failures/generation"] == 1
    ((tag, extra, score),) = [row for row in zip(found.tags, extra_fields, scores, strict=True) if "failure" in row[0]]
    assert (tag["failure"], tag["failure_message"]) == ("generation", "RuntimeError: the engine is gone")
    assert (extra["episode"]["outcome"], extra["episode"]["failure"]) == ("failed", "generation")
    assert math.isnan(score)
    assert not any(math.isnan(score) for tag, score in zip(found.tags, scores, strict=True) if "failure" not in tag)
