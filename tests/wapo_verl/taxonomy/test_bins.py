"""Bins, their names, and the weights a run gives them. Torch only: no veRL, no GPU."""

from typing import Any

import pytest
import torch

from wapo_verl.taxonomy import BINS, NO_BIN, assign_bins, bin_weights, resolve_bins, token_weights

ALL_ONE = dict.fromkeys(BINS, 1.0)


def test_a_bin_is_a_side_of_s_and_a_sign() -> None:
    prob = torch.tensor([[0.6, 0.3, 0.6], [0.3, 0.6, 0.5]])
    advantages = torch.tensor([[0.1, 2.0, -1.0], [-0.1, 0.0, -1.0]])
    bins = assign_bins(prob, torch.full_like(prob, 0.5), advantages)
    assert bins.dtype == torch.int64
    names = [[BINS[i] if i != NO_BIN else None for i in row] for row in bins.tolist()]
    assert names == [["pos_peak", "pos_valley", "neg_peak"], ["neg_valley", None, "neg_peak"]]


def test_a_certain_token_is_a_peak_whatever_rounding_does() -> None:
    prob = torch.tensor([1 - 6e-8, 1.0, 1 - 1e-6, 0.9998])
    bins = assign_bins(prob, torch.ones(4), torch.ones(4))
    assert [BINS[i] for i in bins] == ["pos_peak", "pos_peak", "pos_peak", "pos_valley"]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["pos_peak"], {"pos_peak"}),
        (["peak"], {"pos_peak", "neg_peak"}),
        (["valley"], {"pos_valley", "neg_valley"}),
        (["pos"], {"pos_peak", "pos_valley"}),
        (["neg"], {"neg_peak", "neg_valley"}),
        (["neg", "pos_valley", "valley"], {"neg_peak", "neg_valley", "pos_valley"}),
        ("peak", {"pos_peak", "neg_peak"}),
    ],
)
def test_names_and_aliases(names: Any, wanted: set[str]) -> None:
    assert resolve_bins(names) == wanted


@pytest.mark.parametrize(
    ("names", "message"), [([], "empty"), (["peaks"], "'peaks'"), (["pos", "x", "y"], "'x', 'y'; use pos_peak")]
)
def test_names_that_are_none(names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_bins(names)


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ({}, {}),
        ({"include": ["peak"]}, {"pos_valley": 0, "neg_valley": 0}),
        ({"exclude": ["peak"]}, {"pos_peak": 0, "neg_peak": 0}),
        ({"negative_weights": {"neg_peak": 0.1}}, {"neg_peak": 0.1, "neg_valley": 0}),
        ({"negative_weights": {"neg": 0.5}}, {"neg_peak": 0.5, "neg_valley": 0.5}),
        (
            {"include": ["pos_peak"], "negative_weights": {"neg_peak": 2}},
            {"pos_valley": 0, "neg_peak": 2, "neg_valley": 0},
        ),
        (
            {"exclude": ["peak"], "negative_weights": {"neg_valley": 0.2, "neg_peak": 0}},
            {"pos_peak": 0, "neg_peak": 0, "neg_valley": 0.2},
        ),
    ],
)
def test_weights(arguments: dict[str, Any], changed: dict[str, float]) -> None:
    assert bin_weights(**arguments) == ALL_ONE | changed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"include": ["pos"], "exclude": ["neg"]}, "Both include_bins and exclude_bins"),
        ({"include": []}, "empty"),
        ({"exclude": ["negative"]}, "'negative'"),
        ({"negative_weights": {}}, "negative_weights is empty"),
        ({"negative_weights": {"pos_peak": 1}}, "no bin 'pos_peak'"),
        ({"negative_weights": {"neg_peak": -0.1}}, "neg_peak is -0.1"),
        ({"negative_weights": {"neg_peak": float("nan")}}, "neg_peak is nan"),
        ({"negative_weights": {"neg_valley": float("inf")}}, "neg_valley is inf"),
        ({"negative_weights": {"neg": 1, "neg_peak": 0.5}}, "neg_peak a weight twice"),
        ({"exclude": ["peak"], "negative_weights": {"neg_peak": 0.5}}, "neg_peak is in exclude_bins"),
    ],
)
def test_weights_that_contradict(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bin_weights(**arguments)


def test_each_token_gets_its_bins_weight() -> None:
    bins = torch.tensor([[0, 1, 2], [3, NO_BIN, 0]])
    weights = token_weights(bins, {"neg_valley": 0.4, "pos_peak": 0.1, "neg_peak": 0.3, "pos_valley": 0.2})
    torch.testing.assert_close(weights, torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.0, 0.1]]))
    assert weights.dtype == torch.float32
