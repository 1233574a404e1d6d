"""The engine with a real tiny Qwen3 under FSDP2, one process over gloo, held to veRL's own engine. No Ray, no GPU."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch.distributed.tensor import DTensor
from verl.utils import tensordict_utils as tu
from verl.utils import torch_functional as verl_functions
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from wapo_verl.engine.engine import BACKENDS, StepPlanEngine, register
from wapo_verl.engine.loss_metrics import finish_loss_metrics
from wapo_verl.engine.planned_loss import PlannedLoss
from wapo_verl.engine.response_tokens import ResponseTokens
from wapo_verl.engine.step_plan import PLAN_KEY, StepPlan
from wapo_verl.taxonomy.bins import BINS

Maker = Callable[..., Any]

ALL = dict.fromkeys(BINS, 1.0)
TEMPERATURES: list[Any] = [1.0, 0.7, [0.5, 1.0, 1.5, 0.7, 2.0, 1.0]]


@pytest.fixture(scope="module")
def ours(make_engine: Maker) -> Any:
    return make_engine(StepPlanEngine)


@pytest.fixture(scope="module")
def verls(make_engine: Maker) -> Any:
    return make_engine(FSDPEngineWithLMHead)


def gradients(
    engine: Any, data: TensorDict, loss: Callable, plan: StepPlan | None = None, micro: int = 2, entropy: bool = True
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Run one mini-batch up to the optimizer, whose step is held back; return whole gradients and reduced metrics."""
    tu.assign_non_tensor(data, micro_batch_size_per_gpu=micro, calculate_entropy=entropy)
    if plan is not None:
        tu.assign_non_tensor(data, **{PLAN_KEY: plan.to_dict()})
    found = {}

    def hold_back(*_: Any, **__: Any) -> None:
        for name, parameter in engine.module.named_parameters():
            gradient = parameter.grad
            found[name] = (gradient.full_tensor() if isinstance(gradient, DTensor) else gradient).clone()

    with pytest.MonkeyPatch.context() as patch, engine.train_mode():
        patch.setattr(engine.optimizer, "step", hold_back)
        metrics = engine.train_batch(data, loss)["metrics"]
    reduced = {name: value.aggregate() for name, value in metrics.items() if hasattr(value, "aggregate")}
    finish_loss_metrics(reduced)
    return found, {**reduced, "grad_norm": metrics["grad_norm"]}


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 0.0) -> None:
    scale = max(float(value.abs().max()) for value in expected.values())
    assert scale > 1e-4
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=tolerance * scale, msg=name)


def distributions(engine: Any, data: TensorDict) -> torch.Tensor:
    """Compute every own token's next-token distribution in float64, row by row: (M, V)."""
    temperature = data["temperature"]
    probabilities = []
    for row, ids in enumerate(data["input_ids"].unbind()):
        divisor = temperature[row] if isinstance(temperature, torch.Tensor) else temperature
        with torch.no_grad():
            logits = engine.module(input_ids=ids.unsqueeze(0)).logits[0].double() / divisor
        first = len(data["prompts"].unbind()[row]) - 1
        own = data["response_mask"].unbind()[row].bool()
        probabilities.append(logits.softmax(dim=-1)[first : first + len(own)][own])
    return torch.cat(probabilities)


def expected_statistics(p: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "collision": (p**2).sum(dim=-1),
        "position_entropy": -(p * p.log()).sum(dim=-1),
        "square_log_prob": (p**2 * p.log()).sum(dim=-1),
    }


def test_the_registry_gives_ours_and_registering_again_changes_nothing() -> None:
    before = {name: dict(table) for name, table in EngineRegistry._engines["language_model"].items()}
    register()
    assert {name: dict(table) for name, table in EngineRegistry._engines["language_model"].items()} == before
    for backend, device in BACKENDS:
        assert before[backend][device] is StepPlanEngine
    assert "cpu" in EngineRegistry._engines["value_model"]["fsdp2"]


def test_somebody_elses_engine_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Theirs(FSDPEngineWithLMHead):
        pass

    monkeypatch.setitem(EngineRegistry._engines["language_model"]["fsdp"], "cuda", Theirs)
    register()
    assert EngineRegistry._engines["language_model"]["fsdp"]["cuda"] is Theirs


@pytest.mark.parametrize("temperature", TEMPERATURES, ids=["one", "shared", "per row"])
def test_without_a_plan_it_is_verls(
    temperature: Any, ours: Any, verls: Any, make_batch: Maker, make_loss: Maker
) -> None:
    expected, before = gradients(verls, make_batch(temperature=temperature), make_loss())
    found, after = gradients(ours, make_batch(temperature=temperature), make_loss())
    assert_equal(found, expected)
    assert after == before


@pytest.mark.parametrize("plan", [StepPlan(), StepPlan(taxonomy=True), StepPlan(weights=ALL)])
@pytest.mark.parametrize("mode", ["vanilla", "gspo", "wapo"])
def test_a_plan_that_weights_nothing_leaves_the_gradient(
    plan: StepPlan, mode: str, ours: Any, verls: Any, make_batch: Maker, make_loss: Maker
) -> None:
    expected, before = gradients(verls, make_batch(), make_loss(mode))
    found, after = gradients(ours, make_batch(), make_loss(mode), plan)
    assert_equal(found, expected, 1e-6)
    for name, value in before.items():
        assert after[name] == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("temperature", TEMPERATURES, ids=["one", "shared", "per row"])
def test_statistics_are_those_of_the_softmax(temperature: Any, ours: Any, make_batch: Maker, make_loss: Maker) -> None:
    data = make_batch(temperature=temperature)
    tokens = ResponseTokens.of(data)
    inputs, arguments = ours.prepare_model_inputs(data)
    output = ours.module(**inputs)
    planned = PlannedLoss(StepPlan(taxonomy=True), make_loss())
    found = ours.prepare_model_outputs(output, arguments, data, planned)
    p = distributions(ours, data)
    for name, expected in expected_statistics(p).items():
        values = found[name].values()
        torch.testing.assert_close(values[tokens.positions[tokens.own]].double(), expected, rtol=1e-4, atol=1e-6)
        assert not values.requires_grad
    assert "entropy" not in found


@pytest.mark.parametrize("temperature", TEMPERATURES, ids=["one", "shared", "per row"])
@pytest.mark.parametrize("padding", [0, 3])
def test_packed_logits_give_the_same_statistics(
    padding: int, temperature: Any, ours: Any, make_batch: Maker, make_loss: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The padded layout's logits, packed as `use_remove_padding` packs them; a bucket's padding is at the end."""
    data = make_batch(temperature=temperature)
    planned = PlannedLoss(StepPlan(taxonomy=True), make_loss())
    inputs, arguments = ours.prepare_model_inputs(data)
    logits = ours.module(**inputs).logits
    padded = ours.prepare_model_outputs(SimpleNamespace(logits=logits), arguments, data, planned)
    tu.assign_non_tensor(data, use_remove_padding=True)
    monkeypatch.setattr(ours, "pad_to_length", bool(padding))
    monkeypatch.setattr(ours, "pad_to_length_bucket", int(data["input_ids"].offsets()[-1]) + padding)
    _, arguments = ours.prepare_model_inputs(data)
    assert arguments["pad_size"] == padding
    lengths = data["input_ids"].offsets().diff().tolist()
    rows = [row[:length] for row, length in zip(logits, lengths, strict=True)]
    packed = torch.cat([*rows, torch.full((padding, logits.shape[-1]), float("nan"))]).unsqueeze(0)
    found = ours.prepare_model_outputs(SimpleNamespace(logits=packed), arguments, data, planned)
    for name in ("collision", "position_entropy", "square_log_prob", "log_probs"):
        torch.testing.assert_close(found[name].values(), padded[name].values(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("coefficient", [0.0, 0.1])
def test_the_entropy_is_verls_own(
    coefficient: float, ours: Any, verls: Any, make_batch: Maker, make_loss: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no gradient goes through it, veRL's own, which is as large as the logits, is not computed."""
    loss = make_loss(entropy_coeff=coefficient)
    expected, before = gradients(verls, make_batch(temperature=0.7), loss)
    computed = []
    original = verl_functions.entropy_from_logits
    monkeypatch.setattr(verl_functions, "entropy_from_logits", lambda logits: computed.append(1) or original(logits))
    found, after = gradients(ours, make_batch(temperature=0.7), loss, StepPlan(taxonomy=True))
    assert bool(computed) is (coefficient > 0)
    assert after["actor/entropy_loss"] == pytest.approx(before["actor/entropy_loss"], rel=1e-5)
    assert_equal(found, expected, 1e-6)


@pytest.mark.parametrize("coefficient", [0.0, 0.1])
def test_an_entropy_that_is_only_logged_holds_no_graph(
    coefficient: float, ours: Any, make_batch: Maker, make_loss: Maker
) -> None:
    """veRL's hangs on the logits, and its backward pass goes through the whole vocabulary for a gradient of zero."""
    data = make_batch()
    tu.assign_non_tensor(data, calculate_entropy=True)
    inputs, arguments = ours.prepare_model_inputs(data)
    planned = PlannedLoss(StepPlan(), make_loss(entropy_coeff=coefficient))
    found = ours.prepare_model_outputs(ours.module(**inputs), arguments, data, planned)
    assert found["log_probs"].requires_grad
    assert found["entropy"].requires_grad is bool(coefficient)


def test_an_excluded_bins_tokens_have_no_gradient(ours: Any, make_batch: Maker, make_loss: Maker) -> None:
    """The two halves of a gradient, one bin left out in each, add up to the whole."""
    whole, _ = gradients(ours, make_batch(), make_loss(), StepPlan(weights=ALL))
    peaks = {"pos_peak": 1.0, "pos_valley": 0.0, "neg_peak": 1.0, "neg_valley": 0.0}
    valleys = {name: 1.0 - weight for name, weight in peaks.items()}
    parts = [gradients(ours, make_batch(), make_loss(), StepPlan(weights=weights)) for weights in (peaks, valleys)]
    fractions = [metrics["actor/taxonomy/kept_fraction"] for _, metrics in parts]
    assert sum(fractions) == pytest.approx(1.0)
    assert 0 < fractions[0] < 1
    assert_equal({name: parts[0][0][name] + parts[1][0][name] for name in whole}, whole, 1e-5)


def test_with_nothing_kept_the_gradient_is_zero(ours: Any, make_batch: Maker, make_loss: Maker) -> None:
    plan = StepPlan(weights=dict.fromkeys(BINS, 0.0))
    found, metrics = gradients(ours, make_batch(), make_loss(), plan)
    assert not any(value.any() for value in found.values())
    assert metrics["grad_norm"] == 0
    assert metrics["actor/taxonomy/kept_fraction"] == 0


def test_the_clip_schedule_reaches_the_gradient(ours: Any, verls: Any, make_batch: Maker, make_loss: Maker) -> None:
    wide, _ = gradients(verls, make_batch(), make_loss(clip_ratio_high=50.0))
    found, _ = gradients(ours, make_batch(), make_loss(clip_ratio_high=0.2), StepPlan(clip_ratio_high=50.0))
    assert_equal(found, wide)


def test_a_forward_only_pass_obeys_no_plan(ours: Any, make_batch: Maker) -> None:
    data = make_batch()
    tu.assign_non_tensor(data, micro_batch_size_per_gpu=2, **{PLAN_KEY: StepPlan(taxonomy=True).to_dict()})
    with ours.eval_mode():
        found = ours.infer_batch(data)
    assert set(found["model_output"]) == {"log_probs"}


def test_fused_kernels_are_refused(ours: Any, make_batch: Maker, make_loss: Maker) -> None:
    data = make_batch()
    tu.assign_non_tensor(data, use_fused_kernels=True)
    planned = PlannedLoss(StepPlan(taxonomy=True), make_loss())
    with pytest.raises(RuntimeError, match="set use_fused_kernels=False"):
        ours.prepare_model_outputs(SimpleNamespace(log_probs=None), {}, data, planned)


def test_a_factor_on_the_learning_rate_moves_the_weights_and_stays_out_of_the_checkpoint(
    make_engine: Maker, make_batch: Maker, make_loss: Maker
) -> None:
    """The schedule warms up, and its step after the update does not undo the factor."""

    def update(engine: Any, factor: float) -> tuple[list[float], float]:
        rates: list[float] = []
        data = make_batch()
        tu.assign_non_tensor(data, micro_batch_size_per_gpu=6, calculate_entropy=False)
        tu.assign_non_tensor(data, **{PLAN_KEY: StepPlan(lr_factor=factor).to_dict()})
        handle = engine.optimizer.register_step_pre_hook(lambda optimizer, *_: rates.append(rate_of(optimizer)))
        with engine.train_mode():
            engine.train_batch(data, make_loss())
        handle.remove()
        return rates, engine.lr_scheduler_step()

    def rate_of(optimizer: Any) -> float:
        return float(optimizer.param_groups[0]["lr"])

    engine = make_engine(StepPlanEngine, warm_up=2)
    schedule = [engine.lr_scheduler.get_last_lr()[0]]
    for factor in (1.0, 0.5, 0.25, 1.0):
        rates, logged = update(engine, factor)
        assert rates == [schedule[-1] * factor]
        schedule.append(engine.lr_scheduler.get_last_lr()[0])
        assert logged == schedule[-1] * factor
        assert rate_of(engine.optimizer) == schedule[-1]
    assert schedule == [0.0, 5e-3, 1e-2, 1e-2, 1e-2]
