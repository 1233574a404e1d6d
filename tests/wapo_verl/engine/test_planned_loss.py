"""What a plan makes of veRL's real `ppo_loss`, on micro-batches in veRL's own layout. No engine, no Ray, no GPU."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.utils.metric import Metric, reduce_metrics
from verl.utils.py_functional import append_to_dict

from wapo_verl.engine import token_records
from wapo_verl.engine.loss_metrics import finish_loss_metrics
from wapo_verl.engine.planned_loss import PlannedLoss, with_clip
from wapo_verl.engine.response_tokens import ResponseTokens
from wapo_verl.engine.step_plan import StepPlan
from wapo_verl.engine.token_records import ROW_KEY, TOKEN_NUMBERS, row_keys
from wapo_verl.taxonomy.bins import BINS

Maker = Callable[..., Any]

ALL = dict.fromkeys(BINS, 1.0)
NEEDS_REFERENCE = {"use_kl_loss": True}
OURS = ["wapo", "cpgd"]
VERLS = ["vanilla", "gspo", "cispo", "sapo", "geo_mean", "gpg", "kl_cov"]


def drawn_output(data: TensorDict) -> dict[str, torch.Tensor]:
    """Draw log-probs, as a leaf, and the statistics that the engine adds."""
    generator = torch.Generator().manual_seed(1)
    offsets = data["input_ids"].offsets()

    def draw() -> torch.Tensor:
        return torch.rand(int(offsets[-1]), generator=generator)

    values = {"log_probs": (-4 * draw()).requires_grad_(), "collision": draw(), "square_log_prob": -draw()}
    values["position_entropy"] = 3 * draw()
    return {name: torch.nested.nested_tensor_from_jagged(value, offsets) for name, value in values.items()}


def gradient(loss: Callable, data: TensorDict) -> tuple[torch.Tensor, dict[str, Any]]:
    """Return the loss's gradient by the response tokens' log-probs, (N,), and its metrics."""
    output = drawn_output(data)
    leaf = output["log_probs"].values().detach().requires_grad_()
    output["log_probs"] = torch.nested.nested_tensor_from_jagged(leaf, output["log_probs"].offsets())
    value, metrics = loss(model_output=output, data=data, dp_group=None)
    value.backward()
    tokens = ResponseTokens.of(data)
    assert leaf.grad is not None
    outside = torch.ones(len(leaf), dtype=torch.bool)
    outside[tokens.positions] = False
    assert not leaf.grad[outside].any()
    return leaf.grad[tokens.positions], metrics


def finished(parts: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Reduce metrics as veRL's worker and trainer do: [rank][micro-batch] of one mini-batch."""
    ranks = []
    for micro_batches in parts:
        local: dict = {}
        for metrics in micro_batches:
            append_to_dict(local, metrics)
        ranks.append(local)
    metrics = {
        name: [Metric.aggregate_dp([rank[name] for rank in ranks])]
        for name, value in ranks[0].items()
        if isinstance(value, Metric)
    }
    reduced = reduce_metrics(metrics)
    finish_loss_metrics(reduced)
    return reduced


def test_positions_are_those_verl_slices(make_batch: Maker) -> None:
    from verl.workers.utils.padding import no_padding_2_padding

    data = make_batch()
    packed = torch.arange(float(data["input_ids"].offsets()[-1]))
    tokens = ResponseTokens.of(data)
    padded = no_padding_2_padding(packed, data)
    lengths = data["responses"].offsets().diff()
    verls = torch.cat([row[:length] for row, length in zip(padded, lengths, strict=True)])
    assert tokens.positions.tolist() == verls.tolist()
    assert tokens.rows.tolist() == [row for row, length in enumerate(lengths) for _ in range(length)]
    assert tokens.own.tolist() == data["response_mask"].values().bool().tolist()


def test_padded_data_are_refused(make_batch: Maker) -> None:
    data = make_batch()
    data["responses"] = data["responses"].to_padded_tensor(0)
    with pytest.raises(ValueError, match="responses of the micro-batch is padded"):
        ResponseTokens.of(data)


@pytest.mark.parametrize("taxonomy", [True, False])
def test_what_an_update_knows_of_each_token_is_stored_for_the_records(
    taxonomy: bool, make_batch: Maker, make_loss: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: dict[str, Any] = {}
    monkeypatch.setattr(token_records, "tq", SimpleNamespace(kv_batch_put=lambda **given: stored.update(given)))
    data = make_batch()
    keys = [f"key_{row}" for row in range(len(data))]
    data[ROW_KEY] = row_keys(keys)
    planned = PlannedLoss(StepPlan(taxonomy=taxonomy, record=True), make_loss("wapo"))
    output, tokens = drawn_output(data), ResponseTokens.of(data)
    planned(model_output=output, data=data, dp_group=None)
    planned.records.store()
    assert stored["keys"] == keys
    numbers = stored["fields"][TOKEN_NUMBERS]
    assert numbers.offsets().tolist() == data["responses"].offsets().tolist()
    own = numbers.values()[tokens.own]
    places = tokens.positions[tokens.own]
    assert own[:, 0].tolist() == output["log_probs"].values()[places].tolist()
    assert own[:, 1].tolist() == output["position_entropy"].values()[places].tolist()
    assert numbers.values()[~tokens.own].isnan().all()
    with_advantage = data["advantages"].values()[tokens.own] != 0
    assert own[:, 2].isnan().tolist() == [not (taxonomy and each) for each in with_advantage.tolist()]
    assert not taxonomy or set(own[:, 2][with_advantage].tolist()) <= set(range(len(BINS)))


@pytest.mark.parametrize("mode", [*VERLS, *OURS])
@pytest.mark.parametrize("further", [{}, NEEDS_REFERENCE], ids=["", "kl"])
def test_weights_of_one_change_no_gradient_and_no_metric(
    mode: str, further: dict[str, Any], make_batch: Maker, make_loss: Maker
) -> None:
    loss, data = make_loss(mode, **further), make_batch()
    expected, before = gradient(loss, data)
    found, after = gradient(PlannedLoss(StepPlan(weights=ALL), loss), data)
    assert expected.any()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    for name, value in before.items():
        assert getattr(after[name], "values", after[name]) == getattr(value, "values", value), name


@pytest.mark.parametrize("mode", ["vanilla", "wapo", "cispo"])
def test_a_weight_scales_its_bins_tokens_and_zero_masks_them(mode: str, make_batch: Maker, make_loss: Maker) -> None:
    loss, data = make_loss(mode), make_batch()
    whole, _ = gradient(loss, data)
    tokens, output = ResponseTokens.of(data), drawn_output(data)
    prob = output["log_probs"].values().detach()[tokens.positions].exp()
    peak = prob >= output["collision"].values()[tokens.positions]
    positive = data["advantages"].values() > 0
    plan = StepPlan(weights={"pos_peak": 1.0, "pos_valley": 0.0, "neg_peak": 0.25, "neg_valley": 0.0})
    found, metrics = gradient(PlannedLoss(plan, loss), data)
    weights = torch.where(positive, 1.0, 0.25) * peak
    torch.testing.assert_close(found, whole * weights, rtol=1e-6, atol=0)
    assert not found[~peak].any()
    eligible = tokens.own & (data["advantages"].values() != 0)
    kept = eligible & peak
    assert 0 < kept.sum() < eligible.sum()
    assert finished([[metrics]])["actor/taxonomy/kept_fraction"] == pytest.approx(float(kept.sum() / eligible.sum()))


@pytest.mark.parametrize("peak", [0.0, 0.5])
def test_a_kl_loss_on_winners_leaves_out_losers_that_weigh_nothing(
    peak: float, make_batch: Maker, make_loss: Maker
) -> None:
    """Losers that come along to be measured have an advantage of their own, and must not bring a KL loss with it."""
    data = make_batch()
    advantages = data["advantages"]
    plan = StepPlan(winners_kl=True, taxonomy=True, weights={**ALL, "neg_peak": peak, "neg_valley": 0.0})
    found, _ = gradient(PlannedLoss(plan, make_loss("wapo", **NEEDS_REFERENCE)), data)
    assert bool(found[advantages.values() < 0].any()) is bool(peak)
    winners = [row.clamp(min=0) for row in advantages.unbind()]
    data["advantages"] = torch.nested.as_nested_tensor(winners, layout=torch.jagged)
    alone, _ = gradient(PlannedLoss(StepPlan(winners_kl=True), make_loss("wapo", **NEEDS_REFERENCE)), data)
    won = advantages.values() > 0
    assert alone[won].any()
    torch.testing.assert_close(found[won], alone[won], rtol=0, atol=0)


def test_kept_tokens_leave_the_advantages_their_precision(make_batch: Maker, make_loss: Maker) -> None:
    data = make_batch()
    loss = PlannedLoss(StepPlan(kept_tokens=True), make_loss("wapo", loss_agg_mode="seq-mean-token-mean"))
    planned = loss._planned(data, None, ResponseTokens.of(data))
    assert planned["advantages"].dtype is data["advantages"].dtype


def test_the_clip_schedule_reaches_the_loss(make_batch: Maker, make_loss: Maker) -> None:
    loss, data = make_loss("vanilla", clip_ratio_low=0.2, clip_ratio_high=0.2), make_batch()
    wide, _ = gradient(make_loss("vanilla", clip_ratio_low=0.2, clip_ratio_high=5.0), data)
    narrow, _ = gradient(loss, data)
    found, _ = gradient(PlannedLoss(StepPlan(clip_ratio_high=5.0), loss), data)
    assert not torch.equal(wide, narrow)
    torch.testing.assert_close(found, wide, rtol=0, atol=0)
    assert loss.keywords["config"].clip_ratio_high == 0.2
    assert with_clip(loss, 3.0).keywords["config"].clip_ratio_high == 3.0


@pytest.mark.parametrize("given", [lambda **_: None, print])
def test_a_loss_without_settings_is_refused(given: Callable) -> None:
    with pytest.raises(TypeError, match=r"functools.partial with `config`"):
        PlannedLoss(StepPlan(), given)


@pytest.mark.parametrize("further", [{}, NEEDS_REFERENCE], ids=["", "kl"])
@pytest.mark.parametrize("mode", ["vanilla", "wapo", "cpgd"])
def test_update_statistics_are_those_of_the_tokens_trained_on(
    mode: str, further: dict[str, Any], make_batch: Maker, make_loss: Maker
) -> None:
    """A clipped token counts as cut even where a KL loss or a drift still pulls at it."""
    low, high = 0.2, 0.3
    loss = make_loss(mode, clip_ratio_low=low, clip_ratio_high=high, **further)
    data = make_batch()
    found = finished([[gradient(PlannedLoss(StepPlan(), loss), data)[1]]])
    tokens, output = ResponseTokens.of(data), drawn_output(data)
    log_prob, old = output["log_probs"].values().detach()[tokens.positions], data["old_log_probs"].values()
    advantages = data["advantages"].values()
    trained = tokens.own & (advantages != 0)
    ratio = (log_prob - old).exp()
    dual = mode == "wapo"  # which bounds a loser's ratio from above too
    cut = trained & torch.where(advantages > 0, ratio > 1 + high, (ratio < 1 - low) | (dual & (ratio > 1 + high)))
    assert cut.any()
    assert found["actor/clip_fraction"] == pytest.approx(float(cut.sum() / trained.sum()))
    assert found["actor/ratio_mean"] == pytest.approx(float(ratio[trained].mean()))
    assert found["actor/ratio_max"] == pytest.approx(float(ratio[trained].max()))
    gap = (log_prob.exp() - old.exp()).abs()[tokens.own]
    assert found["actor/behaviour_probs_diff_mean"] == pytest.approx(float(gap.mean()), rel=1e-5)
    assert found["actor/behaviour_probs_diff_max"] == pytest.approx(float(gap.max()), rel=1e-5)


def test_one_token_cannot_make_the_ratios_infinite(make_batch: Maker, make_loss: Maker) -> None:
    """A token that the engine gave a probability of 0 has a ratio beyond any number; the mean counts it as e^20."""
    data = make_batch()
    old = data["old_log_probs"].values().clone()
    place = int((ResponseTokens.of(data).own & (data["advantages"].values() != 0)).nonzero()[0])
    for unlikely in (-2000.0, -torch.inf):
        old[place] = unlikely
        rows = list(old.split(data["responses"].offsets().diff().tolist()))
        data["old_log_probs"] = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
        found = finished([[gradient(PlannedLoss(StepPlan(), make_loss("wapo")), data)[1]]])
        assert found["actor/ratio_max"] == pytest.approx(math.exp(20))
        assert math.exp(20) / 30 < found["actor/ratio_mean"] < math.exp(20)


def test_a_clipped_sequence_cuts_all_its_tokens(make_batch: Maker, make_loss: Maker) -> None:
    """GSPO's ratio is the sequence's, so what a clip cuts is found by the slope, not by the token's own ratio."""
    data = make_batch()
    plan = PlannedLoss(StepPlan(), make_loss("gspo", clip_ratio_low=0.2, clip_ratio_high=0.2))
    found = finished([[gradient(plan, data)[1]]])
    tokens, output = ResponseTokens.of(data), drawn_output(data)
    log_ratio = output["log_probs"].values().detach()[tokens.positions] - data["old_log_probs"].values()
    cut = trained = 0
    for row, advantage in enumerate((1.0, -0.5, 0.0, 0.25, -1.0, 0.5)):
        own = tokens.own & (tokens.rows == row)
        ratio = float(log_ratio[own].mean().exp()) if own.any() else 1.0
        trained += int(own.sum()) * (advantage != 0)
        cut += int(own.sum()) * (ratio > 1.2 if advantage > 0 else advantage < 0 and ratio < 0.8)
    assert 0 < cut < trained
    assert found["actor/clip_fraction"] == pytest.approx(cut / trained)


@pytest.mark.parametrize("cuts", [[(0, 6)], [(0, 1), (1, 4), (4, 6)], [(0, 2), (2, 3), (3, 4), (4, 5), (5, 6)]])
def test_metrics_do_not_depend_on_the_split(cuts: list[tuple[int, int]], make_batch: Maker, make_loss: Maker) -> None:
    """Statistics are drawn per micro-batch here, so the split is held to sums over the same micro-batches."""
    plan = StepPlan(weights={**ALL, "neg_valley": 0.0})
    loss = PlannedLoss(plan, make_loss("vanilla", clip_ratio_high=0.2))
    parts = [gradient(loss, make_batch(rows=slice(*cut)))[1] for cut in cuts]
    ratios, eligible = [], 0
    for cut in cuts:
        data = make_batch(rows=slice(*cut))
        tokens, output = ResponseTokens.of(data), drawn_output(data)
        log_prob = output["log_probs"].values().detach()[tokens.positions]
        valley = log_prob.exp() < output["collision"].values()[tokens.positions]
        advantages = data["advantages"].values()
        trained = tokens.own & (advantages != 0) & ~(valley & (advantages < 0))
        eligible += int((tokens.own & (advantages != 0)).sum())
        ratios.append((log_prob - data["old_log_probs"].values())[trained].exp())
    found = finished([parts])
    assert found["actor/ratio_mean"] == pytest.approx(float(torch.cat(ratios).mean()))
    assert found["actor/ratio_max"] == pytest.approx(float(torch.cat(ratios).max()))
    assert found["actor/taxonomy/kept_fraction"] == pytest.approx(len(torch.cat(ratios)) / eligible)
    two_ranks = finished([parts, parts])
    assert two_ranks["actor/ratio_mean"] == pytest.approx(found["actor/ratio_mean"])


@pytest.mark.parametrize("ranks", [[[(0, 6)]], [[(0, 1), (1, 6)]], [[(0, 2), (2, 3)], [(3, 5), (5, 6)]]])
def test_every_diagnostic_is_the_batchs_own_however_it_is_split(
    ranks: list[list[tuple[int, int]]], make_batch: Maker, make_loss: Maker
) -> None:
    plan = StepPlan(taxonomy=True, weights={**ALL, "pos_valley": 0.5, "neg_valley": 0.0})
    whole = {name: values.unbind() for name, values in drawn_output(make_batch()).items()}

    def metrics(first: int, last: int, dp_size: int) -> dict[str, Any]:
        data = make_batch(rows=slice(first, last))
        tu.assign_non_tensor(data, dp_size=dp_size)
        output = {
            name: torch.nested.as_nested_tensor(list(values[first:last]), layout=torch.jagged)
            for name, values in whole.items()
        }
        return PlannedLoss(plan, make_loss(clip_ratio_high=0.3))(model_output=output, data=data, dp_group=None)[1]

    expected = finished([[metrics(0, 6, 1)]])
    found = finished([[metrics(*cut, len(ranks)) for cut in cuts] for cuts in ranks])
    compared = {name for name in expected if "taxonomy" in name or "update_entropy" in name}
    assert len(compared) > 30
    for name in compared:
        assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-9), name
    data, tokens = make_batch(), ResponseTokens.of(make_batch())
    eligible = tokens.own & (data["advantages"].values() != 0)
    assert sum(expected[f"actor/taxonomy/tokens/{name}"] for name in BINS) == int(eligible.sum())
    assert expected["actor/taxonomy/kept/neg_valley"] == 0


def test_only_maxima_have_names_that_verl_reduces_to_one(make_batch: Maker, make_loss: Maker) -> None:
    """veRL takes the largest or the smallest over mini-batches of whatever has "max" or "min" in its name."""
    plan = StepPlan(taxonomy=True, weights=ALL)
    _, metrics = gradient(PlannedLoss(plan, make_loss()), make_batch())
    ours = {name: value for name, value in metrics.items() if isinstance(value, Metric) and "loss" not in name}
    for name, value in ours.items():
        assert (value.aggregation.value == "max") is ("max" in name), name
        assert (value.aggregation.value == "min") is ("min" in name), name


def test_a_call_for_something_else_goes_straight_through(make_loss: Maker) -> None:
    """veRL's distillation calls the same function with logits, before there are log-probs."""
    import functools

    called = functools.partial(lambda **arguments: arguments, config=make_loss().keywords["config"])
    found = PlannedLoss(StepPlan(), called)(student_logits=1, data=2)
    assert (found["student_logits"], found["data"]) == (1, 2)


def test_a_micro_batch_of_padding_alone_measures_nothing(make_batch: Maker, make_loss: Maker) -> None:
    data = make_batch(rows=slice(0, 2))
    for name in ("response_mask", "loss_mask", "advantages"):
        data[name] = torch.nested.as_nested_tensor([row * 0 for row in data[name].unbind()], layout=torch.jagged)
    tu.assign_non_tensor(data, batch_num_tokens=10)
    slope, metrics = gradient(PlannedLoss(StepPlan(weights=ALL), make_loss()), data)
    assert not slope.any()
    found = finished([[metrics]])
    assert found["actor/ratio_max"] == 0
    assert "actor/ratio_mean" not in found
    assert "actor/taxonomy/kept_fraction" not in found
