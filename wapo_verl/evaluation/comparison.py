"""Several evaluations of the same rows beside each other: their metrics, and how the others differ from the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from wapo_verl.evaluation.intervals import Estimate, estimate
from wapo_verl.evaluation.metrics import MEAN, QuestionValues, is_binary, pooled, question_values
from wapo_verl.evaluation.paired import Difference, difference, holm
from wapo_verl.evaluation.reading import Evaluation
from wapo_verl.evaluation.same_rows import refuse_other_rows
from wapo_verl.evaluation.samples import SCORE, Samples

POOLED = "all"
"""The name under which the questions of all data sources stand together."""

USUAL_KS = (4, 16, 64)


@dataclass(frozen=True, slots=True)
class Summary:
    """One evaluation on one data source.

    Attributes:
        evaluation: its name.
        data_source: the environment's, or `POOLED`.
        questions: how many there are.
        samples: the fewest and the most samples of a question.
        failed: reason -> how many samples failed for it.
        metrics: name -> its mean over questions.
        sampling_errors: standard errors of the metrics that were estimated from random subsets.
    """

    evaluation: str
    data_source: str
    questions: int
    samples: tuple[int, int]
    failed: dict[str, int]
    metrics: dict[str, Estimate]
    sampling_errors: dict[str, float]


@dataclass(frozen=True, slots=True)
class Compared:
    """How an evaluation differs from the first, on one data source and by one metric.

    Attributes:
        p_holm: the p-value corrected for the number of evaluations that are compared with the first; the same as
            `difference.p_value` where there is one.
    """

    data_source: str
    metric: str
    first: str
    second: str
    difference: Difference
    p_holm: float


@dataclass(frozen=True, slots=True)
class Curve:
    """pass@k of one evaluation on one data source, for each k of `ks`."""

    evaluation: str
    data_source: str
    ks: tuple[int, ...]
    points: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that a comparison says.

    Attributes:
        metric: the score that was looked at.
        failures: what was done with failed samples.
        summaries: evaluations one after the other, data source by data source.
        differences: of each later evaluation from the first.
        curves: pass@k by k, where the score is 0 or 1.
        notes: sentences about what was left out.
    """

    metric: str
    failures: str
    summaries: tuple[Summary, ...]
    differences: tuple[Compared, ...]
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()


def compare(
    evaluations: Sequence[Evaluation],
    ks: Sequence[int] = (),
    metric: str = SCORE,
    failures_as_zero: bool = False,
) -> Comparison:
    """Compare evaluations with the first; a single one is only summarised.

    Args:
        evaluations: at least one; of the same rows.
        ks: for pass@k, pass^k and maj@k, of which the differences are told as well; where there are none, those of 4,
            16 and 64 that all have samples for, without their differences.
        metric: the score that is looked at.
        failures_as_zero: count a failed sample as a score of 0, in place of leaving it out.

    Raises:
        ValueError: for evaluations of different rows, saying which; a `k` above the samples of a question; or a metric
            that one of them does not have.
    """
    named = _with_distinct_names(evaluations)
    refuse_other_rows(named)
    counted = {
        evaluation.name: {
            source: samples.with_failures_as_zero() if failures_as_zero else samples.without_failures()
            for source, samples in evaluation.sources.items()
        }
        for evaluation in named
    }
    most = _most_samples(counted)
    chosen = _chosen_ks(ks, most)
    curve_ks = [*(2**power for power in range(most.bit_length()) if 2**power < most), most]
    values = {name: _values(sources, metric, sorted({*chosen, *curve_ks}), chosen) for name, sources in counted.items()}
    places = [(name, source) for source in values[named[0].name] for name in values]
    return Comparison(
        metric=metric,
        failures="zero" if failures_as_zero else "left out",
        summaries=tuple(_summary(named, name, source, values[name][source], chosen) for name, source in places),
        differences=tuple(
            compared for source in values[named[0].name] for compared in _differences(values, source, ks)
        ),
        curves=tuple(
            Curve(
                name,
                source,
                tuple(curve_ks),
                tuple(estimate(values[name][source].values[f"pass@{k}"]) for k in curve_ks),
            )
            for name, source in places
            if "pass@1" in values[name][source].values
        ),
        notes=(
            *(note for evaluation in named for note in evaluation.notes),
            *_other_sampling(named),
            *_notes(counted, metric, chosen),
        ),
    )


def _with_distinct_names(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Name those whose names are the same by where their paths differ; refuse one that is given twice."""
    files = [evaluation.file.resolve() for evaluation in evaluations]
    for file in files:
        if files.count(file) > 1:
            raise ValueError(f"{file} is given twice; give another evaluation")
    names = [evaluation.name for evaluation in evaluations]
    same = [evaluation.file for evaluation in evaluations if names.count(evaluation.name) > 1]
    short = dict(zip(same, _between(same), strict=True))
    if "" in short.values() or set(short.values()) & set(names):
        short = {file: str(file) for file in same}
    return [replace(each, name=short.get(each.file, each.name)) for each in evaluations]


def _between(files: Sequence[Path]) -> list[str]:
    """Return what stands in each path between the folders that all begin with and the parts that all end in."""
    paths = [file.absolute().parts for file in files]
    first, last = _shared(paths), _shared([path[::-1] for path in paths])
    return ["/".join(path[first : len(path) - last]) for path in paths]


def _shared(paths: Sequence[tuple[str, ...]]) -> int:
    """Return with how many equal parts all of the paths begin."""
    return sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False)))


def _most_samples(counted: Mapping[str, Mapping[str, Samples]]) -> int:
    """Return the largest k for which every evaluation has a question with enough samples on every data source."""
    for name, sources in counted.items():
        for source, samples in sources.items():
            if not len(samples.question):
                raise ValueError(
                    f"every sample of {source or 'the dump'} in {name} failed; there is nothing to compare"
                )
    return min(int(samples.counts().max()) for sources in counted.values() for samples in sources.values())


def _chosen_ks(ks: Sequence[int], most: int) -> list[int]:
    if not ks:
        return [k for k in USUAL_KS if k <= most]
    for k in ks:
        if not 1 <= k <= most:
            raise ValueError(f"k={k} cannot be: all questions have {most} samples, so choose k from 1 to {most}")
    return sorted(set(ks))


def _values(
    sources: Mapping[str, Samples], metric: str, ks: Sequence[int], voting_ks: Sequence[int]
) -> dict[str, QuestionValues]:
    found = {source: question_values(samples, metric, ks, voting_ks) for source, samples in sources.items()}
    return {**found, POOLED: pooled(list(found.values()))} if len(found) > 1 else found


def _summary(
    evaluations: Sequence[Evaluation], name: str, source: str, values: QuestionValues, ks: Sequence[int]
) -> Summary:
    (evaluation,) = (each for each in evaluations if each.name == name)
    parts = evaluation.sources.values() if source == POOLED else [evaluation.sources[source]]
    failed: Counter[str] = Counter()
    for part in parts:
        failed.update(part.failed())
    wanted = [metric for metric in values.values if ("@" not in metric and "^" not in metric) or _k(metric) in ks]
    return Summary(
        evaluation=name,
        data_source=source,
        questions=len(values.samples),
        samples=(int(values.samples.min()), int(values.samples.max())),
        failed=dict(failed.most_common()),
        metrics={metric: estimate(values.values[metric]) for metric in wanted},
        sampling_errors={metric: error for metric, error in values.sampling_errors.items() if error},
    )


def _k(metric: str) -> int:
    return int(metric.replace("^", "@").split("@")[1])


def _differences(
    values: Mapping[str, Mapping[str, QuestionValues]], source: str, ks: Sequence[int]
) -> Iterator[Compared]:
    """Compare every later evaluation with the first by the mean, and by pass@k and maj@k for the k asked for."""
    first, *others = values
    metrics = [MEAN, *(f"{kind}@{k}" for kind in ("pass", "maj") for k in sorted(set(ks)) if k > 1)]
    for metric in metrics:
        if not all(metric in values[name][source].values for name in values):
            continue
        found = [difference(values[first][source].side(metric), values[other][source].side(metric)) for other in others]
        corrected = holm([each.p_value for each in found])
        for other, each, p_holm in zip(others, found, corrected, strict=True):
            yield Compared(source, metric, first, other, each, p_holm)


def _other_sampling(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Say where later evaluations were sampled otherwise than the first, which is no difference of models."""
    first, *others = evaluations
    for other in others:
        if first.manifest is not None and other.manifest is not None:
            told = first.manifest.asked_otherwise(other.manifest)
            if told:
                yield f"{first.name} and {other.name} differ in more than the model: {', '.join(told)}"


def _notes(counted: Mapping[str, Mapping[str, Samples]], metric: str, ks: Sequence[int]) -> Iterator[str]:
    for name, sources in counted.items():
        for source, samples in sources.items():
            where = f"{name}, {source}" if source else name
            counts = samples.counts()
            if not counts.all():
                yield f"{where}: {int((counts == 0).sum()):,} questions have no sample that did not fail"
            elif len(counts) == 1:
                yield f"{where}: one question has no standard error and tells nothing of others"
            for k in ks:
                if (counts < k).any():
                    yield f"{where}: {int((counts < k).sum()):,} questions have fewer than {k} samples: not in its @{k}"
            if not is_binary(samples.scores[metric]):
                yield f"{where}: {metric} is not 0 or 1 everywhere, so it has no pass@k; --metric names another score"
