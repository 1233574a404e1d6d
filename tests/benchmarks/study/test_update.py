"""A step's update against what it stands for: veRL's losses, AdamW, the skipped step. Imports veRL; no Ray, no GPU."""

from dataclasses import replace

import pytest
import torch
from verl.workers.config import ActorConfig

from benchmarks.study.cell import Seed
from benchmarks.study.episodes import Played, Player
from benchmarks.study.policy import Policy
from benchmarks.study.update import (
    Loss,
    Rows,
    Trainer,
    actor_config,
    ask_advantages,
    make_rows,
    own_log_probs,
)
from examples.quickstart.settings import QuickstartSettings
from wapo_verl.algorithms import ALGORITHMS

SIZES = QuickstartSettings(prompts_per_step=4, group_size=4)
NAMES = sorted(ALGORITHMS)


def batch(seed: Seed, rewards: list[float] | None = None) -> tuple[Policy, list[Played]]:
    """Sixteen episodes of four questions, with rewards that differ in two groups."""
    player = Player(seed.task, SIZES)
    policy = Policy(seed.model(), player.places)
    questions = [question for question in seed.task.questions["train"][:4] for _ in range(4)]
    episodes = player.play(policy, questions, "train", torch.Generator().manual_seed(5))
    for played, reward in zip(episodes, rewards or [1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0], strict=True):
        played.reward = float(reward)
    return policy, episodes


def rows_of(name: str, episodes: list[Played]) -> Rows:
    found = ALGORITHMS[name]
    return make_rows(episodes, ask_advantages(found, found.default_options(), episodes, SIZES.group_size).rows)


def loss_of(name: str, off_policy_steps: int = 1) -> Loss:
    found = ALGORITHMS[name]
    return Loss(actor_config(found, off_policy_steps, SIZES))


def weights(policy: Policy) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in policy.model.parameters()])


@pytest.mark.parametrize("name", NAMES)
def test_the_actors_configuration_is_verls_and_holds_the_algorithms_defaults(name: str) -> None:
    found = ALGORITHMS[name]
    config = actor_config(found, 2, SIZES)
    assert isinstance(config, ActorConfig)
    for key, value in found.defaults.items():
        if key.startswith("actor_rollout_ref.actor.") and not callable(value):
            held = config
            for part in key.removeprefix("actor_rollout_ref.actor.").split("."):
                held = getattr(held, part)
            assert held == value, key
    assert config.ppo_mini_batch_size == 2


def test_wapos_normaliser_is_the_tasks_longest_sequence() -> None:
    found = ALGORITHMS["wapo"]
    assert actor_config(found, 1, SIZES).loss_scale_factor == SIZES.max_prompt_tokens + SIZES.max_response_tokens


def test_another_clip_takes_the_place_of_the_algorithms_own() -> None:
    found = ALGORITHMS["wapo"]
    assert [actor_config(found, 1, SIZES, clip).clip_ratio_high for clip in (None, 0.2)] == [9.0, 0.2]


def test_a_batch_that_does_not_divide_is_refused() -> None:
    found = ALGORITHMS["wapo"]
    with pytest.raises(ValueError, match="4 questions a step do not divide into 3"):
        actor_config(found, 3, SIZES)


def test_log_probs_of_the_update_are_those_noted_at_sampling(seed: Seed) -> None:
    policy, episodes = batch(seed)
    rows = rows_of("wapo", episodes)
    with torch.no_grad():
        found = own_log_probs(policy, rows)
    assert torch.allclose(found, rows.old, atol=1e-5)
    assert not found[~rows.mask].any()


@pytest.mark.parametrize("name", NAMES)
def test_leaving_rows_without_an_advantage_out_changes_no_step(seed: Seed, name: str) -> None:
    found, mini_batches = [], 2
    for everything in (False, True):
        policy, episodes = batch(seed)
        loss = loss_of(name, mini_batches)
        loss.needs_all_rows = loss.needs_all_rows or everything
        measured = Trainer(policy, loss, 1e-12, warm_up_steps=0).step(rows_of(name, episodes), mini_batches)
        found.append((torch.cat([parameter.grad.flatten() for parameter in policy.model.parameters()]), measured))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-6)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-4, abs=1e-6)


def test_wapos_gradient_is_the_papers(seed: Seed) -> None:
    policy, episodes = batch(seed)
    rows = rows_of("wapo", episodes)
    loss = loss_of("wapo")
    value = loss(own_log_probs(policy, rows), rows.old, rows.advantages, rows.mask, int(rows.mask.sum()), 16)
    found = torch.autograd.grad(value, list(policy.model.parameters()))

    log_prob = own_log_probs(policy, rows)
    rewards = torch.tensor([played.reward for played in episodes]).view(4, 4)
    plain = (rewards - rewards.mean(dim=1, keepdim=True)).flatten()
    ratio = torch.exp(log_prob - rows.old)
    winners = ((plain > 0)[:, None] & rows.mask).float()
    group_size, groups_with_winner, longest = 4, 2, 160
    expected = -(winners * ratio * plain[:, None]).sum() / (group_size * longest * groups_with_winner)
    reference = torch.autograd.grad(expected, list(policy.model.parameters()))
    for one, other in zip(found, reference, strict=True):
        assert torch.allclose(one, other, atol=1e-7)


def test_the_first_step_has_a_learning_rate_of_zero_and_the_second_half_of_it(seed: Seed) -> None:
    policy, episodes = batch(seed)
    trainer = Trainer(policy, loss_of("wapo"), 1e-3, warm_up_steps=2)
    rows, before = rows_of("wapo", episodes), weights(policy)
    trainer.step(rows, 1)
    assert torch.equal(weights(policy), before)
    trainer.step(rows, 1)
    assert (weights(policy) - before).abs().max() == pytest.approx(5e-4, rel=0.05)


def test_clipped_tokens_are_counted_for_every_loss(seed: Seed) -> None:
    policy, episodes = batch(seed)
    rows = rows_of("grpo_ref", episodes)
    far = replace(rows, old=rows.old - 1.0)  # every ratio is e: cut where the advantage is positive
    positive = float(((rows.advantages > 0) & rows.mask).sum() / (rows.advantages != 0).sum())
    for name in ("grpo_ref", "cpgd"):
        found = Trainer(policy, loss_of(name), 1e-9, warm_up_steps=0).step(far, 1)
        assert found["actor/clip_fraction"] == pytest.approx(positive), name
        assert found["actor/ratio_mean"] == pytest.approx(2.71828, rel=1e-3)
    assert Trainer(policy, loss_of("wapo"), 1e-9, 0).step(far, 1)["actor/clip_fraction"] == 0.0
