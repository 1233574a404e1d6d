"""Episodes of the study against the agent loop and the plain forward pass. Imports veRL; no Ray, no vLLM, no GPU."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from omegaconf import OmegaConf
from support.runs import decide_search_agent
from torch import Tensor
from torch.nn.functional import one_hot
from transformers import PreTrainedTokenizerFast
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, DictConfigWrap

from benchmarks.study.cell import Seed
from benchmarks.study.episodes import Played, Player, padded
from benchmarks.study.policy import Cache, Policy
from benchmarks.study.task import index_folder
from examples.quickstart.settings import QuickstartSettings
from wapo_verl.environments.episode import Episode
from wapo_verl.rollout.search_agent import SearchAgentLoop


class Replay:
    """Stands in for the rollout engine: writes the turns of an episode that was played before."""

    def __init__(self, played: Played) -> None:
        self.turns = turns_of(played)
        self.limits: list[int] = []

    async def generate(self, request_id: str, *, prompt_ids: list[int], sampling_params: dict, **_: Any) -> Any:
        self.limits.append(sampling_params["max_tokens"])
        ids, log_probs = self.turns.pop(0)
        assert len(ids) <= sampling_params["max_tokens"]
        return SimpleNamespace(
            token_ids=ids, log_probs=log_probs, routed_experts=None, num_preempted=None, extra_fields={}
        )


def turns_of(played: Played) -> list[tuple[list[int], list[float]]]:
    found, trajectory = [], played.trajectory
    for place, own in enumerate(trajectory.mask):
        if own and (place == 0 or not trajectory.mask[place - 1]):
            found.append(([], []))
        if own:
            found[-1][0].append(trajectory.ids[place])
            found[-1][1].append(trajectory.log_probs[place])
    return found


def replayed(played: Played, seed: Seed, sizes: QuickstartSettings) -> AgentLoopOutput:
    config = OmegaConf.create(
        {
            "actor_rollout_ref": {
                "rollout": {
                    "name": "vllm",
                    "prompt_length": sizes.max_prompt_tokens,
                    "response_length": sizes.max_response_tokens,
                    "max_model_len": None,
                    "multi_turn": {"max_assistant_turns": sizes.max_turns},
                }
            },
            "data": {"apply_chat_template_kwargs": {}},
            "wapo": {
                "search_agent": {
                    "index": str(index_folder(seed.out, 0, "train")),
                    "top_k": sizes.top_k,
                    "max_turn_tokens": sizes.max_turn_tokens,
                }
            },
        }
    )
    loop = SearchAgentLoop(
        trainer_config=DictConfigWrap(decide_search_agent(config)),
        server_manager=Replay(played),
        tokenizer=seed.task.tokenizer,
        data_config=DictConfigWrap(config.data),
    )
    messages = [{"role": "user", "content": question_text(seed, played)}]
    return asyncio.run(loop.run({"temperature": 1.0, "logprobs": True}, raw_prompt=messages))


def question_text(seed: Seed, played: Played) -> str:
    decoded: str = seed.task.tokenizer.decode(played.trajectory.prompt, skip_special_tokens=True)
    words = decoded.split()
    assert words[0] == "user"
    assert words[-1] == "assistant"
    return " ".join(words[1:-1])


def play(seed: Seed, sizes: QuickstartSettings, number: int = 0) -> tuple[Policy, list[Played]]:
    player = Player(seed.task, sizes)
    policy = Policy(seed.model(), player.places)
    questions = [question for question in seed.task.questions["train"] for _ in range(4)]
    return policy, player.play(policy, questions, "train", torch.Generator().manual_seed(number))


class Script:
    """Stands in for the policy: each row writes turns of its own, whatever it reads."""

    def __init__(self, turns: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerFast) -> None:
        self.turns = [[tokenizer.encode(text, add_special_tokens=False) for text in row] for row in turns]
        self.vocabulary = len(tokenizer)
        self.turn, self.place = -1, 0

    def new_cache(self, rows: int) -> Cache:
        return Cache([torch.arange(rows)], [torch.arange(rows)])

    def feed(self, ids: Tensor, starts: Tensor, cache: Cache) -> Tensor:
        starts_a_turn = ids.shape[1] > 1
        self.turn, self.place = (self.turn + 1, 0) if starts_a_turn else (self.turn, self.place + 1)
        tokens = [(self.turns[row][self.turn] + [0] * 99)[self.place] for row in cache.keys[0].tolist()]
        sure = one_hot(torch.tensor(tokens), self.vocabulary).log().clamp(min=-1e4)
        return sure[:, None].expand(*ids.shape, self.vocabulary)

    def log_probs(self, hidden: Tensor) -> Tensor:
        return hidden


LIMITS = {
    "as in the quickstart": {},
    "short turns": {"max_turn_tokens": 4},
    "two turns": {"max_turns": 2},
    "a response that fills up": {"max_response_tokens": 47},
}
SEARCH, ANSWER, NO_END = "<search> book </search>", "<answer> 1805 </answer>", "book " * 9
SCRIPT = {
    "answers": [ANSWER],
    "searches, then answers": [SEARCH, SEARCH, ANSWER],
    "searches alone": [SEARCH] * 3,
    "never ends": [NO_END],
}
OUTCOMES = {
    "as in the quickstart": ["answered", "answered", "turn_limit", "turn_truncated"],
    "short turns": ["answered", "answered", "turn_limit", "turn_truncated"],
    "two turns": ["answered", "turn_limit", "turn_limit", "turn_truncated"],
    "a response that fills up": ["answered", "context_full", "context_full", "turn_truncated"],
}
"""How each row of the script ends, by the limits."""


def assert_the_agent_loops(played: Played, seed: Seed, sizes: QuickstartSettings) -> None:
    output = replayed(played, seed, sizes)
    assert output.prompt_ids == played.trajectory.prompt
    assert output.response_ids == played.trajectory.ids
    assert output.response_mask == played.trajectory.mask
    assert output.response_logprobs == pytest.approx(played.trajectory.log_probs)
    assert Episode.from_record(output.extra_fields["episode"]) == played.episode


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_an_episode_is_the_agent_loops_token_for_token(seed: Seed, limits: dict[str, int]) -> None:
    sizes = QuickstartSettings(**limits)
    _, episodes = play(seed, sizes)
    assert len({played.rules.turns for played in episodes}) > 1, "all episodes are equally long: the test shows little"
    for played in episodes:
        assert_the_agent_loops(played, seed, sizes)


@pytest.mark.parametrize("limits", LIMITS)
def test_each_limit_ends_an_episode_as_in_the_agent_loop(seed: Seed, limits: str) -> None:
    sizes = QuickstartSettings(**LIMITS[limits])
    policy = cast(Policy, Script(list(SCRIPT.values()), seed.task.tokenizer))
    questions = seed.task.questions["train"][: len(SCRIPT)]
    episodes = Player(seed.task, sizes).play(policy, questions, "train", torch.Generator().manual_seed(0))
    assert [played.episode and played.episode.outcome for played in episodes] == OUTCOMES[limits]
    for played in episodes:
        assert_the_agent_loops(played, seed, sizes)


@torch.no_grad()
def test_what_is_noted_while_sampling_is_the_plain_forwards(seed: Seed) -> None:
    policy, episodes = play(seed, QuickstartSettings())
    assert max(played.rules.turns for played in episodes) == 3
    for played in episodes:
        trajectory = played.trajectory
        whole = torch.tensor([trajectory.prompt + trajectory.ids])
        log_probs = policy.model(input_ids=whole).logits[0].log_softmax(dim=-1)[len(trajectory.prompt) - 1 : -1]
        own = torch.tensor(trajectory.mask).bool()
        chosen = log_probs.gather(1, torch.tensor(trajectory.ids)[:, None])[:, 0]
        probs = log_probs.exp()
        expected = torch.stack(
            [chosen, -(probs * log_probs).sum(-1), probs.square().sum(-1), (probs.square() * log_probs).sum(-1)], -1
        )
        assert torch.allclose(torch.tensor(played.measures), expected[own], atol=1e-5)
        assert torch.tensor(trajectory.log_probs)[own].tolist() == [measure.log_prob for measure in played.measures]


def test_the_same_generator_gives_the_same_episodes_and_another_one_others(seed: Seed) -> None:
    sizes = QuickstartSettings()
    first, second, other = (play(seed, sizes, number)[1] for number in (1, 1, 2))
    assert [played.trajectory for played in first] == [played.trajectory for played in second]
    assert [played.trajectory.ids for played in first] != [played.trajectory.ids for played in other]


def test_rewards_are_the_environments(seed: Seed) -> None:
    _, episodes = play(seed, QuickstartSettings())
    for played in episodes:
        assert played.episode is not None
        right = played.episode.answer in played.question.ground_truth["answers"]
        assert played.reward == float(right)


def test_padding_stands_behind_and_is_zero() -> None:
    ids, lengths = padded([[1, 2, 3], [4]])
    assert ids.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert lengths.tolist() == [3, 1]
