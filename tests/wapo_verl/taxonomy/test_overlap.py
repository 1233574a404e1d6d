"""Overlap of completions against a loop over pairs of lists. Torch only: no veRL, no GPU."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wapo_verl.taxonomy import group_overlap, overlap

Totals = dict[str, tuple[float, float]]


def by_hand(completions: list[list[int]], groups: list[int], signs: list[int]) -> Totals:
    """Sum every measure over every pair of completions of one group, of which none has a sign of 0."""
    names = {2: "winner_winner", 0: "winner_loser", -2: "loser_loser"}
    measures = ("divergence", "divergence_share", "contested", "jaccard")
    totals = {f"taxonomy/overlap/{pair}/{m}": (0.0, 0.0) for pair in names.values() for m in measures}
    for i, j in itertools.combinations(range(len(groups)), 2):
        a, b = completions[i], completions[j]
        if groups[i] != groups[j] or not a or not b or not signs[i] or not signs[j]:
            continue
        same = len(list(itertools.takewhile(lambda x: x[0] == x[1], zip(a, b, strict=False))))
        shorter = min(len(a), len(b))
        agreeing = sum(x == y for x, y in zip(a, b, strict=False))
        values = (same, same / shorter, agreeing / shorter, len(set(a) & set(b)) / len(set(a) | set(b)))
        for measure, value in zip(measures, values, strict=True):
            name = f"taxonomy/overlap/{names[signs[i] + signs[j]]}/{measure}"
            totals[name] = (totals[name][0] + value, totals[name][1] + 1)
    return totals


def found(responses: torch.Tensor, mask: torch.Tensor, groups: list[int], signs: list[int]) -> Totals:
    result = group_overlap(responses, mask, torch.tensor(groups), torch.tensor(signs) * 0.25)
    return {name: (float(total), float(weight)) for name, (total, weight) in result.items()}


def assert_same(a: Totals, b: Totals) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name] == pytest.approx(b[name]), name


ROW = st.lists(st.tuples(st.sampled_from([0, 1, 2, 151_935]), st.booleans()), min_size=6, max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(ROW, st.integers(0, 2), st.integers(-1, 1)), min_size=1, max_size=9))
def test_any_batch(rows: list[tuple[list[tuple[int, bool]], int, int]]) -> None:
    tokens, masks = (torch.tensor([[pair[k] for pair in row[0]] for row in rows]) for k in (0, 1))
    groups, signs = [row[1] for row in rows], [row[2] for row in rows]
    own = [[token for token, mine in row[0] if mine] for row in rows]
    assert_same(found(tokens, masks, groups, signs), by_hand(own, groups, signs))


def test_a_large_group_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, (40, 30), generator=generator) * 50_000
    mask = torch.rand(40, 30, generator=generator) < 0.8
    groups, signs = [0] * 30 + [7] * 10, [i % 3 - 1 for i in range(40)]
    own = [row[m].tolist() for row, m in zip(tokens, mask, strict=True)]
    wanted = by_hand(own, groups, signs)
    monkeypatch.setattr(overlap, "COMPARED", 5000)
    assert_same(found(tokens, mask, groups, signs), wanted)


def test_one_small_group() -> None:
    tokens = torch.tensor([[5, 6, 7, 0], [5, 6, 8, 9], [5, 6, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.bool)
    totals = found(tokens, mask, [3, 3, 3], [1, 1, -1])
    assert totals["taxonomy/overlap/winner_winner/divergence"] == (2, 1)
    assert totals["taxonomy/overlap/winner_winner/divergence_share"] == (pytest.approx(2 / 3), 1)
    assert totals["taxonomy/overlap/winner_winner/jaccard"] == (pytest.approx(2 / 5), 1)
    assert totals["taxonomy/overlap/winner_loser/divergence_share"] == (2, 2), "one begins with the whole other"
    assert totals["taxonomy/overlap/loser_loser/jaccard"] == (0, 0)
    equal = found(tokens, mask, [3, 3, 3], [0, 0, 0])
    assert set(equal.values()) == {(0.0, 0.0)}, "in a group of equal rewards nobody is a loser"


def test_no_rows() -> None:
    empty = torch.zeros(0, 4, dtype=torch.int64)
    assert set(found(empty, empty.bool(), [], []).values()) == {(0.0, 0.0)}
