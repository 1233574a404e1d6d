"""How fast the viewer answers on a long run: 1,000 steps x 256 completions x 2,000 tokens.

`python -m benchmarks.viewer FOLDER` writes the run (about 30 MB a step; a few steps are written and the rest are
links to them, so that the disk is not filled), opens it in a process of its own and asks for what each click asks for.
Writes benchmarks/viewer.md.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import msgspec
import orjson
import psutil

from wapo_verl.data.question_index import INDEX_FILE, Entry, add_entry, question_id, step_entry
from wapo_verl.viewer.completions import read_step

RESULT = Path(__file__).with_suffix(".md")
STEPS, GROUPS, GROUP_SIZE, TOKENS, WRITTEN = 1000, 32, 8, 2000, 8


def write_step(file: Path, seed: int) -> None:
    """Write one step's records."""
    draw = random.Random(seed)
    words = [f"word{number} " for number in range(500)]
    with file.open("wb") as out:
        for completion in range(GROUPS * GROUP_SIZE):
            text = draw.choices(words, k=TOKENS)
            log_probs = [round(-draw.expovariate(2), 4) for _ in text]
            line = {
                "input": f"question {completion // GROUP_SIZE}",
                "output": "".join(text),
                "gts": {"answers": ["a"], "document_ids": ["d1", "d2"]},
                "score": float(draw.random() < 0.4),
                "uid": f"group{completion // GROUP_SIZE}_{completion % GROUP_SIZE}_0",
                "episode": {"answer": "a", "queries": ["q"] * 4, "document_ids": [["d1", "x", "y"]] * 4, "turns": 5},
                "turns": [{"role": "assistant", "text": "".join(text), "start": 0, "end": TOKENS}],
                "tokens": {
                    "ids": draw.choices(range(150_000), k=TOKENS),
                    "text": text,
                    "mask": [1] * TOKENS,
                    "rollout_log_prob": log_probs,
                    "actor_log_prob": log_probs,
                    "advantage": log_probs,
                },
            }
            out.write(orjson.dumps(line) + b"\n")


def write_run(folder: Path) -> None:
    """Write the run, where it is not there."""
    rollouts = folder / "rollouts"
    rollouts.mkdir(parents=True, exist_ok=True)
    for step in range(1, STEPS + 1):
        file = rollouts / f"{step}.jsonl"
        if file.exists():
            continue
        if step <= WRITTEN:
            write_step(file, step)
        else:
            os.link(rollouts / f"{(step - 1) % WRITTEN + 1}.jsonl", file)
    write_index(rollouts)
    with (folder / "metrics.jsonl").open("w") as out:
        for step in range(1, STEPS + 1):
            data = {f"metric/{number}": random.random() for number in range(120)} | {"critic/score/mean": step / STEPS}
            out.write(json.dumps({"step": step, "data": data}) + "\n")


def write_index(rollouts: Path) -> None:
    """Write the index as training does, each step with questions of its own, the most that there can be."""
    if (rollouts / INDEX_FILE).exists():
        return
    written = [step_entry(step, 0, read_step(rollouts / f"{step}.jsonl").lines) for step in range(1, WRITTEN + 1)]
    for step in range(1, STEPS + 1):
        size = (rollouts / f"{step}.jsonl").stat().st_size
        groups = [
            msgspec.structs.replace(group, id=question_id(f"{step} {group.text}"), text=f"{step} {group.text}")
            for group in written[(step - 1) % WRITTEN].groups
        ]
        add_entry(rollouts, Entry(step, size, groups))


def main() -> None:
    """Write the run, measure, and write the page of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    write_run(folder)
    began = time.perf_counter()
    command = [sys.executable, "-m", "wapo_verl.cli", "view", str(folder), "--no-token", "--port", "8911"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        ask("/")
        ask("/api/runs")
        ask("/api/runs/0/metrics")
        opened = time.perf_counter() - began
        clicks: dict[str, list[float]] = {}
        for step in range(1, STEPS, STEPS // 20):
            base = f"/api/runs/0/sets/rollouts/steps/{step}"
            for name, path in (
                ("a step, never read before", f"{base}/groups"),
                ("one of its groups", f"{base}/group?group=group3"),
                ("one completion with its tokens", f"{base}/completion?key=group3_1_0"),
                ("the step again", f"{base}/groups"),
                ("the questions of all steps", "/api/runs/0/sets/rollouts/questions?show=never&q=7"),
                ("the documents of all steps", "/api/runs/0/sets/rollouts/questions?by=documents"),
                ("where a question was asked", f"/api/questions/{question_id(f'{step} question 3')}"),
            ):
                clicks.setdefault(name, []).append(ask(path))
        memory = psutil.Process(process.pid).memory_info().rss / 1e6
        process.terminate()
    size = (folder / "rollouts" / "1.jsonl").stat().st_size / 1e6
    lines = [
        "# The viewer on a long run",
        "",
        f"`python -m benchmarks.viewer FOLDER`: {STEPS:,} steps x {GROUPS * GROUP_SIZE} completions x {TOKENS:,}",
        f"tokens ({size:.0f} MB a step; {WRITTEN} are written, the others are links), on {os.cpu_count()} cores.",
        "",
        f"Opened (process start, first page, list of runs, all metrics): {opened:.2f} s. "
        f"Memory after the clicks below: {memory:.0f} MB.",
        "",
        "| click | median, ms | longest, ms |",
        "|---|---|---|",
        *(
            f"| {name} | {1000 * statistics.median(times):.0f} | {1000 * max(times):.0f} |"
            for name, times in clicks.items()
        ),
        "",
    ]
    RESULT.write_text("\n".join(lines))
    print(RESULT.read_text())


def ask(path: str) -> float:
    """Ask the viewer, and return the seconds that its answer took."""
    began = time.perf_counter()
    with urllib.request.urlopen("http://127.0.0.1:8911" + urllib.parse.quote(path, safe="/?=&")) as answer:
        answer.read()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
