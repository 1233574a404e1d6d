"""Refuses to pair evaluations that did not ask the same, and says which rows differ."""

from __future__ import annotations

from collections.abc import Sequence

from wapo_verl.evaluation.reading import Evaluation
from wapo_verl.evaluation.samples import Samples

_NAMED = 3  # questions, in a sentence about them


def refuse_other_rows(evaluations: Sequence[Evaluation]) -> None:
    """Refuse evaluations that are not of the same rows as the first.

    Raises:
        ValueError: saying which data sources or questions differ.
    """
    first, *others = evaluations
    for other in others:
        for owner, without in ((first, other), (other, first)):
            only = [
                source or "rows of no named environment" for source in sorted(owner.sources.keys() - without.sources)
            ]
            if only:
                raise ValueError(
                    f"{first.name} and {other.name} are not of the same rows: only {owner.name} has {', '.join(only)}; "
                    "evaluate both on the same environments"
                )
        for source, samples in first.sources.items():
            _refuse_other_questions(first.name, samples, other.name, other.sources[source])


def _refuse_other_questions(name: str, samples: Samples, other_name: str, others: Samples) -> None:
    rows, other_rows = (dict(zip(each.question_ids, each.rows, strict=True)) for each in (samples, others))
    problems = {
        f"only in {name}": set(rows) - set(other_rows),
        f"only in {other_name}": set(other_rows) - set(rows),
        "of another text or ground truth": {id_ for id_ in set(rows) & set(other_rows) if rows[id_] != other_rows[id_]},
    }
    said = [f"{problem}: {_listed(sorted(ids))}" for problem, ids in problems.items() if ids]
    if said:
        raise ValueError(
            f"{name} and {other_name} are not of the same rows of {samples.data_source or 'the dump'}, so they cannot "
            f"be paired: {'; '.join(said)}"
        )


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    return f"{', '.join(ids[:_NAMED])}{more}"
