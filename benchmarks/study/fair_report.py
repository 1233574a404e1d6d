"""Write the fair comparison in Markdown from the records: a row a method, every tuning run, what is still missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.study.collapse import label
from benchmarks.study.fair import TOLERANCE, Protocol, Tuning, fresh, tuning
from benchmarks.study.metrics import PASS_KS
from benchmarks.study.records import HELD_OUT, Record
from wapo_verl.evaluation.intervals import Estimate, estimate, estimate_difference

REFERENCE = "wapo"


@dataclass(frozen=True, slots=True)
class Method:
    """A method's tuning, and its reported runs with what was chosen, by seed."""

    name: str
    tuning: Tuning
    runs: Mapping[int, Record]

    def ends(self, metric: str) -> dict[int, float]:
        """The metric's last value in each reported run that has it."""
        curves = {seed: record.curve(metric) for seed, record in self.runs.items()}
        return {seed: curve[-1][1] for seed, curve in curves.items() if curve}


def methods(records: Sequence[Record], protocol: Protocol) -> list[Method]:
    """The methods of the protocol with what is finished of each."""
    found = []
    for name in protocol.algorithms:
        tuned = tuning(records, protocol, name)
        runs = {} if tuned.choice is None else fresh(records, protocol, name, tuned.choice)
        found.append(Method(name, tuned, runs))
    return found


def warm_starts(found: Sequence[Method]) -> dict[int, Mapping[str, Any]]:
    """Step 0 of each reported seed: what the warm-started policy shows, which all methods' runs start from."""
    return {seed: record.steps[0] for one in found for seed, record in one.runs.items()}


def results(records: Sequence[Record], protocol: Protocol) -> str:
    """The table of results: a row for each method that was run on fresh seeds, and one from before training.

    "" where none was.
    """
    found = methods(records, protocol)
    reference = next((one for one in found if one.name == REFERENCE), None)
    head = ("", "learning rate", "seeds", "held-out exact match", f"minus {REFERENCE}", "collapsed", "stable decades")
    rows = [_row(one, reference) for one in found if one.runs]
    if not rows:
        return ""
    return _markdown((*head, *(f"pass@{k}" for k in PASS_KS)), [*rows, _before(found)])


def tuning_table(records: Sequence[Record], protocol: Protocol) -> str:
    """Mean held-out exact match over the tuning seeds at each rate, with the collapsed runs in brackets.

    Then what another clip came to at the best rate. A rate that is not finished has a star; nothing is chosen by it.
    """
    found = [one for one in methods(records, protocol) if one.tuning.tried or one.tuning.started]
    begun = {rate for one in found for rate in (*one.tuning.tried, *one.tuning.started)}
    rates = sorted(begun | set(protocol.learning_rates))
    rows = [
        (one.name, *(_tried(one.tuning, rate) for rate in rates), _range(one.tuning), _other_clip(one.tuning))
        for one in found
    ]
    return _markdown(("", *(f"{rate:g}" for rate in rates), "stable range", "another clip"), rows)


def progress(records: Sequence[Record], protocol: Protocol) -> str:
    """How much of the protocol is finished, method by method; "" where all is."""
    tuning_runs, fresh_runs = len(protocol.tuning_seeds), len(protocol.fresh_seeds)
    lines = []
    for one in methods(records, protocol):
        rates = {*protocol.learning_rates, *one.tuning.tried} | ({one.tuning.missing} - {None})
        tuned = sum(rate in one.tuning.tried for rate in rates)
        if tuned < len(rates) or one.tuning.misses_other_clip or len(one.runs) < fresh_runs:
            clip = ", not another clip" if one.tuning.misses_other_clip else ""
            lines.append(
                f"- {one.name}: {tuned} of {len(rates)} rates with {tuning_runs} tuning runs each{clip}, "
                f"{len(one.runs)} of {fresh_runs} fresh seeds"
            )
    return "Not finished yet; the same command goes on:\n\n" + "\n".join(lines) + "\n" if lines else ""


def fair_page(records: Sequence[Record], protocol: Protocol) -> str:
    """All of it."""
    return (
        f"{results(records, protocol)}\n{legend(protocol)}\n\n{tuning_table(records, protocol)}\n"
        f"{progress(records, protocol)}"
    )


def legend(protocol: Protocol) -> str:
    """What the columns are."""
    updates = f"{protocol.off_policy_steps} update{'s' if protocol.off_policy_steps > 1 else ''} a step"
    return (
        f"{updates}; each method at its own best learning rate over the tuning seeds "
        f"{', '.join(map(str, protocol.tuning_seeds))}, on fresh seeds. Held-out exact match: of the last validation, "
        "mean over the seeds with its 95 % interval (Wilson's for means in [0, 1], with Student's t). Minus "
        f"{REFERENCE}: the mean difference on the same seeds, with Student's 95 % interval. Stable decades: log10 of "
        "the greatest over the least rate around the best one without a collapse and with a mean at most "
        f"{TOLERANCE:g} below the best; ≥ where the range reaches the edge of what was tried; – where tuning runs "
        "collapsed at the best rate. pass@k: of 64 samples of 32 held-out questions, mean over the seeds. Tables by "
        "rate: means over the tuning seeds, the best in bold, collapsed runs in brackets, * where a run is missing; "
        "another clip: the mean at the best rate with that `clip_ratio_high` in place of the method's own, in bold "
        "where it is the better one and so the reported one."
    )


def _other_clip(found: Tuning) -> str:
    if found.with_other_clip is None:
        return "–"
    fallen = f" ({found.with_other_clip.collapsed})" if found.with_other_clip.collapsed else ""
    text = f"{found.other_clip:g}: {found.with_other_clip.held_out:.2f}{fallen}"
    return f"**{text}**" if found.choice is not None and found.choice.clip_ratio_high is not None else text


def _row(one: Method, reference: Method | None) -> list[str]:
    ends = one.ends(HELD_OUT)
    fallen = sum(label(record) is not None for record in one.runs.values())
    clip = None if one.tuning.choice is None else one.tuning.choice.clip_ratio_high
    return [
        one.name + ("" if clip is None else f", clip {clip:g}"),
        f"{one.tuning.best:g}",
        str(len(one.runs)),
        _interval(estimate(_array(ends))),
        "–" if reference is None or one.name == REFERENCE else _difference(ends, reference.ends(HELD_OUT)),
        f"{fallen}/{len(one.runs)}",
        _decades(one.tuning),
        *(_mean(one.ends(f"val/pass@{k}")) for k in PASS_KS),
    ]


def _before(found: Sequence[Method]) -> list[str]:
    """The row of the warm-started policy that all runs of a seed start from."""
    starts = warm_starts(found)

    def of(metric: str) -> dict[int, float]:
        return {seed: float(step[metric]) for seed, step in starts.items() if metric in step}

    match = of(HELD_OUT)
    held_out = _interval(estimate(_array(match))) if match else "–"
    passes = [_mean(of(f"val/pass@{k}")) for k in PASS_KS]
    return ["before training", "–", str(len(starts)), held_out, "–", "–", "–", *passes]


def _difference(ends: Mapping[int, float], reference: Mapping[int, float]) -> str:
    both = sorted(set(ends) & set(reference))
    if len(both) < 2:
        return "–"
    return _interval(estimate_difference(np.array([ends[seed] - reference[seed] for seed in both])), "+.2f")


def _interval(found: Estimate, digits: str = ".2f") -> str:
    mean, low, high = (format(value, digits) for value in (found.mean, found.low, found.high))
    return f"{mean} ({low} to {high})" if found.method else mean


def _mean(values: Mapping[int, float]) -> str:
    return f"{np.mean(list(values.values())):.2f}" if values else "–"


def _array(values: Mapping[int, float]) -> np.ndarray:
    return np.array([values[seed] for seed in sorted(values)], np.float64)


def _tried(found: Tuning, rate: float) -> str:
    tried = found.tried.get(rate) or found.started.get(rate)
    if tried is None:
        return "–"
    text = f"{tried.held_out:.2f}" + (f" ({tried.collapsed})" if tried.collapsed else "")
    return f"**{text}**" if rate == found.best else text + "*" * (rate in found.started)


def _range(found: Tuning) -> str:
    stable = found.stable_range
    return "–" if stable is None else f"{stable[0]:g}" if stable[0] == stable[1] else f"{stable[0]:g} to {stable[1]:g}"


def _decades(found: Tuning) -> str:
    stable, rates = found.stable_range, list(found.tried)
    if stable is None or found.stable_decades is None:
        return "–"
    open_ended = stable[0] == rates[0] or stable[1] == rates[-1]
    return ("≥ " if open_ended else "") + f"{found.stable_decades:.1f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
