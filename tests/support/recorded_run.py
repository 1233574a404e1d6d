"""Writes a small run as training records it, with what the viewer's tests look for in known places."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

GOLD = ["Losandor/author", "Vonursel/birthplace"]


def completion(group: int, sample: int, score: float, text: Sequence[str], step: int = 1) -> dict[str, Any]:
    """A line of a dump: two turns of the policy around one result; the second gold document is found by winners."""
    asked, shown, said = text
    tokens = [asked, shown, said]
    mask = [1, 0, 1]
    return {
        "schema": 1,
        "input": f"Question {group}?",
        "output": "".join(text),
        "gts": {"answers": ["Skobworth"], "document_ids": GOLD},
        "score": score,
        "step": step,
        "uid": f"00000000-0000-0000-0000-{group:012d}_{sample}_0",
        "exact_match": score,
        "advantage": score - 0.5,
        "episode": {
            "answer": "Skobworth" if score else "Fladglade",
            "queries": ["Losandor"],
            "document_ids": [GOLD if score else GOLD[:1]],
            "turns": 2,
            "outcome": "answered",
            "completion": "",
        },
        "turns": [
            {"role": role, "text": part, "start": at, "end": at + 1}
            for at, (role, part) in enumerate(zip(("assistant", "environment", "assistant"), text, strict=True))
        ],
        "tokens": {
            "ids": [1, 2, 3 + int(score)],
            "text": tokens,
            "mask": mask,
            "rollout_log_prob": [-0.1, 0.0, -2.0],
            "actor_log_prob": [-0.1, 0.0, -1.9],
            "advantage": [score - 0.5, 0.0, score - 0.5],
            "entropy": [0.2, None, 1.5],
            "bin": [f"{'pos' if score else 'neg'}_{kind}" if kind else None for kind in ("peak", None, "valley")],
        },
    }


def write_run(folder: Path, steps: int = 3, text: Sequence[str] | None = None) -> Path:
    """Write `steps` steps of two groups: the first has winners and losers, the second none; an alarm from step 2 on."""
    rollouts = folder / "rollouts"
    rollouts.mkdir(parents=True)
    for step in range(1, steps + 1):
        lines = [
            completion(group, sample, float(group == 0 and sample % 2 == 0), text or words(sample), step)
            for group in range(2)
            for sample in range(4)
        ]
        (rollouts / f"{step}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    metrics = [
        {
            "step": step,
            "data": {
                "critic/score/mean": 0.25 * step / steps,
                "actor/entropy": 1 / step,
                "stability/rule/entropy_low": float(step >= 2),
            },
        }
        for step in range(1, steps + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    return folder


def words(sample: int) -> tuple[str, str, str]:
    """The three parts of a completion; winners (even samples) and losers part at the answer."""
    end = "Skobworth" if sample % 2 == 0 else "Fladglade"
    return ("<search> Losandor </search>", "<information> by Vonursel </information>", f"<answer> {end} </answer>")
