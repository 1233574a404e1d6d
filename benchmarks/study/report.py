"""Write the study's tables in Markdown: an overview, a row per algorithm, and every number, a row per condition."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.study.records import Record
from benchmarks.study.summary import LEARNED, Condition, Summary, against, by_condition, summarise

REFERENCE = "grpo_ref"

HEADER = (
    "updates a step",
    "learning rate",
    "algorithm",
    "runs",
    "held-out exact match",
    "worst to best",
    "collapsed",
    "at step",
    "entropy at the end",
    f"step of {LEARNED:g}",
    "CPU seconds a run",
)


def table(records: Sequence[Record]) -> str:
    """The table, with a line on its columns above it."""
    rows = [_row(key, summarise(found)) for key, found in by_condition(records).items()]
    lines = [HEADER, tuple("---" if column == 2 else "--:" for column in range(len(HEADER))), *rows]
    return f"{_legend(records)}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def overview(records: Sequence[Record]) -> str:
    """Held-out exact match at the end, mean over the seeds, and in brackets how many of them collapsed."""
    found = {key: summarise(members) for key, members in by_condition(records).items()}
    columns = sorted({(key.off_policy_steps, key.learning_rate) for key in found})
    algorithms = sorted({(key.place, key.algorithm) for key in found})
    cells = {(key.algorithm, key.off_policy_steps, key.learning_rate): _short(ended) for key, ended in found.items()}
    titles = [f"{updates} update{'s' if updates > 1 else ''}, {rate:g}" for updates, rate in columns]
    lines = [["", *titles], ["---"] * (1 + len(columns))]
    lines += [[name, *(cells.get((name, *column), "–") for column in columns)] for _, name in algorithms]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def pairs(records: Sequence[Record]) -> str:
    """When each algorithm's runs fell, beside GRPO's run of the same condition and seed."""
    lines = [
        f"| updates a step | algorithm | fell later than {REFERENCE} | earlier | at the same step | neither fell |",
        "| --: | --- | --: | --: | --: | --: |",
    ]
    for (updates, name), found in sorted(against(records, REFERENCE).items(), key=lambda item: item[0][0]):
        numbers = (found.later, found.earlier, found.together, found.neither)
        lines.append(f"| {updates} | {name} | {' | '.join(map(str, numbers))} |")
    return "\n".join(lines) + "\n"


def _short(found: Summary) -> str:
    fallen = len(found.collapse_steps)
    return f"{found.held_out:.2f}" + (f" ({fallen})" if fallen else "")


def _row(key: Condition, found: Summary) -> tuple[str, ...]:
    learned = found.typical_learned_step
    return (
        str(key.off_policy_steps),
        f"{key.learning_rate:g}",
        key.algorithm,
        str(found.runs),
        f"{found.held_out:.2f} ± {found.deviation:.2f}",
        f"{found.least:.2f} to {found.most:.2f}",
        f"{len(found.collapse_steps)}/{found.runs}",
        f"{median(found.collapse_steps):g}" if found.collapse_steps else "–",
        f"{found.entropy:.3f}",
        "–" if learned is None else f"{learned:g}",
        f"{found.cpu_seconds:.0f}",
    )


def _legend(records: Sequence[Record]) -> str:
    lengths = sorted({len(record.steps) - 1 for record in records})
    steps = " or ".join(map(str, lengths))
    return (
        f"{len(records)} runs of {steps} steps. Held-out exact match: of the last validation, mean ± standard "
        "deviation over the runs. Collapsed: how many runs did, and their median step (see "
        "`benchmarks/study/collapse.py`). Entropy: nats a token, median. "
        f"Step of {LEARNED:g}: the first whose training exact match, averaged over three steps, is that high; median "
        "over all runs, – where half of them never got there."
    )
