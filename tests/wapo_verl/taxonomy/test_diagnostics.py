"""The taxonomy's diagnostics against a loop over tokens that spells each one out. Torch only: no veRL, no GPU."""

import math
from dataclasses import replace

import pytest
import torch

from wapo_verl.taxonomy import BINS, Statistics, Tokens, assign_bins, bin_weights, diagnose, token_weights

EDGES = (0.01, 0.1, 0.25, 0.5, 1.0)


def micro_batch(seed: int = 0, rows: int = 6, length: int = 20) -> Tokens:
    """Tokens of a clipped loss on random numbers: a row without an advantage, one without a token, NaN as padding."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(rows, length, generator=generator)

    log_prob = uniform(0.001, 1).pow(2).log().requires_grad_()
    old = log_prob.detach() + uniform(-0.7, 0.7)
    collision = uniform(0.05, 0.9)
    entropy = uniform(0, 3)
    statistics = Statistics(collision, entropy, -collision * uniform(0, 1))
    advantages = torch.tensor([1.0, -0.5, 0.0, 2.0, -1.0, 0.3])[:rows, None].expand(-1, length).clone()
    mask = torch.arange(length) < torch.tensor([20, 7, 15, 1, 12, 0])[:rows, None]
    mask[0, 5:9] = False
    bins = assign_bins(log_prob.detach().exp(), collision, advantages)
    weights = token_weights(bins, bin_weights(negative_weights={"neg_valley": 0.5}))
    ratio = (log_prob - old).exp()
    losses = -torch.minimum(ratio * advantages * weights, ratio.clamp(0.8, 1.2) * advantages * weights)
    (gradient,) = torch.autograd.grad((losses * mask).sum() / 7, log_prob)
    garbage = torch.where(mask, 0.0, torch.nan)
    return Tokens(
        log_prob=log_prob.detach() + garbage,
        old_log_prob=old + garbage,
        advantages=advantages,
        mask=mask,
        bins=bins,
        weights=weights,
        statistics=Statistics(collision + garbage, entropy + garbage, statistics.square_log_prob + garbage),
        gradient=gradient + garbage,
        rollout_log_prob=old + 0.01 + garbage,
    )


Numbers = dict[str, float]


def by_hand(tokens: Tokens) -> tuple[dict[str, list[float]], Numbers, Numbers, Numbers]:
    """The same sums, one token at a time."""
    means: dict[str, list[float]] = {}
    counts: dict[str, float] = dict.fromkeys((f"taxonomy/{k}/{b}" for k in ("tokens", "kept") for b in BINS), 0.0)
    mass: dict[str, float] = {f"taxonomy/mass/{s}/below_{e:g}": 0.0 for s in ("pos", "neg") for e in EDGES}
    counts |= {f"taxonomy/tokens/{s}/below_{e:g}": 0.0 for s in ("pos", "neg") for e in EDGES}
    gaps, probabilities = [], []

    def add(name: str, value: float, count: float = 1.0) -> None:
        pair = means.setdefault(f"taxonomy/{name}", [0.0, 0.0])
        pair[0] += value
        pair[1] += count

    for name in ("clipped", "entropy", "perplexity", "weighted_probability"):
        for sign in ("pos", "neg"):
            add(f"{name}/{sign}", 0, 0)
    for row in range(len(tokens.mask)):
        gap, surprise = 0.0, {"pos": [], "neg": [], "": []}
        for t in range(tokens.mask.shape[1]):
            if not tokens.mask[row, t]:
                continue
            log_p, advantage, weight, gradient = (
                float(x[row, t]) for x in (tokens.log_prob, tokens.advantages, tokens.weights, tokens.gradient)
            )
            p = math.exp(log_p)
            log_ratio = log_p - float(tokens.old_log_prob[row, t])
            s, h, q = (
                float(getattr(tokens.statistics, n)[row, t]) for n in ("collision", "entropy", "square_log_prob")
            )
            probabilities.append(p)
            surprise[""].append(-log_p)
            add("entropy_change", -gradient * (q + h * s - p * (log_p + h)))
            add("chi_square", math.exp(log_ratio) ** 2 - 1)
            add("mismatch_kl", math.exp(log_ratio) - log_ratio - 1)
            gap = max(gap, abs(p - math.exp(float(tokens.rollout_log_prob[row, t]))))
            if advantage == 0:
                continue
            sign = "pos" if advantage > 0 else "neg"
            name = BINS[int(tokens.bins[row, t])]
            counts[f"taxonomy/tokens/{name}"] += 1
            counts[f"taxonomy/kept/{name}"] += weight > 0
            if weight > 0:
                add(f"clipped/{sign}", gradient == 0)
            edge = next(e for e in EDGES if p < e)
            mass[f"taxonomy/mass/{sign}/below_{edge:g}"] += abs(gradient) * (1 - p)
            counts[f"taxonomy/tokens/{sign}/below_{edge:g}"] += 1
            add(f"weighted_probability/{sign}", abs(gradient) * p, abs(gradient))
            add(f"entropy/{sign}", h)
            surprise[sign].append(-log_p)
        if tokens.mask[row].any():
            gaps.append(gap)
        for sign, values in surprise.items():
            if values:
                add(f"perplexity/{sign}".rstrip("/"), math.exp(sum(values) / len(values)))
    total = sum(mass.values())
    counts["taxonomy/mass/total"] = total
    means |= {name: [part, total] for name, part in mass.items()}
    means["taxonomy/probability_gap/mean"] = [sum(gaps), len(gaps)]
    means["taxonomy/probability/mean"] = [sum(probabilities), len(probabilities)]
    maxima = {"taxonomy/probability_gap/max": max(gaps), "taxonomy/probability/max": max(probabilities)}
    return means, counts, maxima, {"taxonomy/probability/min": min(probabilities)}


@pytest.mark.parametrize("seed", range(3))
def test_every_diagnostic_is_the_loop_over_tokens(seed: int) -> None:
    tokens = micro_batch(seed)
    found = diagnose(tokens).numbers()
    wanted = by_hand(tokens)
    for kind, reference in zip(found, wanted, strict=True):
        assert kind.keys() == reference.keys()
        for name, value in reference.items():
            assert kind[name] == pytest.approx(value, rel=2e-5, abs=1e-6), name
    means = found[0]
    assert means["taxonomy/clipped/pos"][0] > 0, "some token is clipped"
    assert means["taxonomy/clipped/neg"][0] > 0


def test_the_mass_of_a_ratio_loss_is_weight_times_ratio_times_what_is_left() -> None:
    tokens = micro_batch()
    _, counts, *_ = diagnose(tokens).numbers()
    ratio = (tokens.log_prob - tokens.old_log_prob).exp()
    live = tokens.mask & (tokens.gradient != 0)
    mass = tokens.weights * ratio * (1 - tokens.log_prob.exp()) * tokens.advantages.abs() / 7
    assert counts["taxonomy/mass/total"] == pytest.approx(float(mass[live].sum()), rel=1e-5)


def test_the_shares_of_the_mass_add_up_to_one() -> None:
    means, *_ = diagnose(micro_batch()).numbers()
    shares = [part / whole for name, (part, whole) in means.items() if name.startswith("taxonomy/mass/")]
    assert len(shares) == 10
    assert sum(shares) == pytest.approx(1)


def test_micro_batches_add_up() -> None:
    whole = micro_batch()

    def part(rows: slice) -> Tokens:
        fields = {n: getattr(whole, n)[rows] for n in Tokens.__slots__ if n != "statistics"}
        values = (getattr(whole.statistics, n)[rows] for n in Statistics.__slots__)
        return Tokens(statistics=Statistics(*values), **fields)

    first, second, all_rows = (diagnose(part(s)).numbers() for s in (slice(0, 2), slice(2, 6), slice(0, 6)))
    for name, (total, weight) in all_rows[0].items():
        assert first[0][name][0] + second[0][name][0] == pytest.approx(total, rel=1e-9, abs=1e-12)
        assert first[0][name][1] + second[0][name][1] == pytest.approx(weight)
    for name, count in all_rows[1].items():
        assert first[1][name] + second[1][name] == pytest.approx(count)
    assert max(first[2]["taxonomy/probability_gap/max"], second[2]["taxonomy/probability_gap/max"]) == pytest.approx(
        all_rows[2]["taxonomy/probability_gap/max"]
    )


def test_without_the_rollouts_log_probs_there_is_no_gap() -> None:
    found = diagnose(replace(micro_batch(), rollout_log_prob=None))
    assert "taxonomy/probability_gap/max" not in found.maxima
    assert not [name for name in found.means if "gap" in name]
    assert found.numbers()[1].keys() == found.counts.keys()


def test_a_micro_batch_of_padding_gives_zeros() -> None:
    tokens = micro_batch()
    means, counts, maxima, minima = diagnose(replace(tokens, mask=torch.zeros_like(tokens.mask))).numbers()
    assert set(means.values()) == {(0.0, 0.0)}
    assert set(counts.values()) == {0.0}
    assert set(maxima.values()) == {0.0}
    assert set(minima.values()) == {1.0}, "the least that a probability can be said to be at most"


def test_only_maxima_have_a_name_that_reads_as_one() -> None:
    found = diagnose(micro_batch())
    for name in (*found.means, *found.counts):
        assert "min" not in name
        assert "max" not in name
        assert name.startswith("taxonomy/")
    assert all("max" in name for name in found.maxima)
    assert all("min" in name for name in found.minima)
