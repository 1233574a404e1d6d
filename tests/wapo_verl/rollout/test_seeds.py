"""A completion's random numbers hang on its own place in the run, not on who is served first. No Ray, no engine."""

from typing import Any

from omegaconf import OmegaConf
from verl.workers.rollout.llm_server import FullyAsyncLLMServerClient, LLMServerClient

from wapo_verl.rollout.fail_fast import FailFastAgentLoopWorker
from wapo_verl.rollout.seeds import PromptNames, SampleSeed, row_name, seed_of, turn_seed
from wapo_verl.verl_plugin import patches


async def seeds_of(sampling_params: dict[str, Any], *lengths: int) -> list[Any]:
    """The seeds with which the engine is asked for turns after prompts of these lengths."""
    seen: list[Any] = []

    async def generate(client: Any, request_id: str, *, prompt_ids: Any, sampling_params: Any, **_: Any) -> None:
        seen.append(sampling_params.get("seed"))

    patched = patches._seed_each_turn(generate)
    for length in lengths:
        await patched(None, "request", prompt_ids=[0] * length, sampling_params=sampling_params, priority=1)
    return seen


async def test_each_turn_has_a_seed_of_its_own() -> None:
    parameters = {"seed": SampleSeed(9), "temperature": 1.0}
    assert await seeds_of(parameters, 10, 11, 12) == [turn_seed(9, 10), turn_seed(9, 11), turn_seed(9, 12)]
    assert parameters["seed"] == 9
    assert len({turn_seed(5, tokens) for tokens in range(100)}) == 100


async def test_a_users_own_seed_and_none_are_left_alone() -> None:
    assert await seeds_of({"seed": 9}, 10, 11) == [9, 9]
    assert await seeds_of({}, 10) == [None]


def test_the_client_that_continues_cut_requests_goes_through_the_same_function() -> None:
    """So what is written after a cut does not draw the numbers of what was written before it."""
    assert issubclass(FullyAsyncLLMServerClient, LLMServerClient)
    assert hasattr(LLMServerClient.generate, "__wapo_verl_patch__")


def worker(seed: int | None) -> FailFastAgentLoopWorker:
    made = object.__new__(FailFastAgentLoopWorker)
    made.config = OmegaConf.create({"wapo": {"resolved": {"sampling_seed": seed}}})
    return made


def seed(run: int | None, step: int = 1, validate: bool = False, **row: Any) -> int | None:
    whole = {"uid": "a", "session_id": 0, "index": 7, "raw_prompt": [{"role": "user", "content": "who?"}], **row}
    return worker(run)._seeded({"top_p": 1}, {"step": step, "validate": validate}, whole).get("seed")


def test_a_seed_is_of_run_step_prompt_and_sample() -> None:
    assert isinstance(seed(0), SampleSeed)
    assert seed(0) == seed(0)
    others = [seed(1), seed(0, step=2), seed(0, uid="b"), seed(0, session_id=1), seed(0, validate=True)]
    assert len({seed(0), *others}) == len(others) + 1
    assert seed(None) is None


def test_a_validation_row_is_known_by_what_it_asks_since_verl_names_it_anew() -> None:
    assert seed(0, validate=True, uid="x") == seed(0, validate=True, uid="y")
    assert seed(0, validate=True, index=8) != seed(0, validate=True)
    assert row_name({"index": 1, "raw_prompt": []}) != row_name({"index": 2, "raw_prompt": []})


def test_prompts_have_the_same_names_in_every_run_and_in_one_that_is_resumed() -> None:
    whole, resumed = PromptNames(), PromptNames()
    names = [whole.next(step, 4) for step in (1, 2, 3)]
    assert len({name for step in names for name in step}) == 12
    assert [resumed.next(3, 1) + resumed.next(3, 3)] == names[2:]  # in parts, as a group filter fetches them
    assert all("_" not in name for name in names[0]), "veRL parts keys at underlines"


def test_seeds_fit_into_vllms() -> None:
    assert all(0 <= seed_of(0, number) < 2**31 for number in range(1000))
