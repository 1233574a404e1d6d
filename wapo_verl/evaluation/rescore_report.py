"""What scoring again changes, as a table and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wapo_verl.evaluation.rescore import PartChange, Rescoring
from wapo_verl.evaluation.samples import SCORE

SHOWN = 10
"""Samples and groups shown in the terminal; the JSON has all."""


def print_rescoring(found: Rescoring, console: Console) -> None:
    """Print how each score moved, the first samples that moved, and the groups with another sign."""
    table = Table("score", title="scored again", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("samples", "raised", "lowered", "mean before", "mean after"):
        table.add_column(name, justify="right")
    for name, part in sorted(found.parts.items(), key=lambda item: item[0] != SCORE):
        means = (f"{mean:.4f}" for mean in _means(part))
        table.add_row(Text(name), f"{part.samples:,}", f"{part.raised:,}", f"{part.lowered:,}", *means)
    console.print(table)
    for moved in found.moved[:SHOWN]:
        changes = ", ".join(
            f"{name} {_shown(moved.before.get(name))} -> {_shown(score)}"
            for name, score in moved.after.items()
            if moved.before.get(name) != score
        )
        line = f"line {moved.number}, question {moved.question}, sample {moved.sample}: {changes}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(found.moved) > SHOWN:
        console.print(f"and {len(found.moved) - SHOWN:,} more samples")
    for sentence in sentences(found):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def sentences(found: Rescoring) -> list[str]:
    """Return what the table does not say."""
    signs = found.other_signs()
    named = ", ".join(list(signs)[:SHOWN])
    more = f" and {len(signs) - SHOWN:,} more" if len(signs) > SHOWN else ""
    said = [
        f"an advantage would have another sign in {len(signs):,} of {len(found.groups):,} groups, "
        f"{sum(signs.values()):,} samples" + (f": {named}{more}" if signs else "")
    ]
    if found.not_scored:
        said.append(f"{found.not_scored:,} samples failed before there was an episode, so there is nothing to score")
    return said


def as_json(found: Rescoring) -> str:
    """Return everything as JSON."""
    parts: dict[str, Any] = {
        name: {
            **{key: getattr(part, key) for key in ("samples", "raised", "lowered")},
            **dict(zip(("mean_before", "mean_after"), _means(part), strict=True)),
        }
        for name, part in found.parts.items()
    }
    value = {
        "parts": parts,
        "moved": [asdict(moved) for moved in found.moved],
        "not_scored": found.not_scored,
        "groups": len(found.groups),
        "groups_with_another_sign": found.other_signs(),
    }
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _means(part: PartChange) -> tuple[float, float]:
    return part.sum_before / part.samples, part.sum_after / part.samples


def _shown(score: float | None) -> str:
    return "none" if score is None else f"{score:g}"
