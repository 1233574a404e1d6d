"""What all mathematics environments share: the prompt, the options, the reward parts.

An environment that takes this as its base says where its problems come from. Single-turn: veRL's own agent loop plays
it, and the completion's text is what is scored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from wapo_verl.environments.environment import Example, RowError
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.from_files import FromFiles
from wapo_verl.environments.math.echo import is_copied
from wapo_verl.environments.math.equivalence import GOLD_UNPARSED
from wapo_verl.environments.math.extraction import BOXED, FORMATS, THINK, extract_answer, written
from wapo_verl.environments.math.verifier import DIFFERENT, EQUAL, EQUIVALENT, MATCHES, UNDECIDED, exactly, verify
from wapo_verl.environments.math.workers import TIMED_OUT, WORKER_DIED
from wapo_verl.environments.raw_rows import WHOLE_ROW, RawRow

INSTRUCTIONS = {
    THINK: """\
Solve the problem below.

First reason inside <think> and </think>. After that, give your result on a line of its own that begins with "Answer:" \
and holds nothing but the result, in LaTeX where it is not plain text.

Problem: {problem}""",
    BOXED: """\
{problem}

Reason step by step, and write the final result inside \\boxed{{}}.""",
}


class MathEnvironment(FromFiles):
    """Base of the environments that ask for one mathematical result.

    Options:
        answer_format: "think" (reasoning in tags, then a line `Answer: ..`) or "boxed" (for Qwen2.5-Math).
        match: "equivalent" (mathematics) or "exact" (the strict comparison of strings).

    Reward parts, each 0 or 1: ``correct`` (the score), ``exact_match`` (the same string as the gold answer), ``format``
    (an answer stands where the format wants it), ``copied`` (it is an expression out of the problem, and so not right),
    and why an answer could not be judged: ``unparsed`` (unreadable), ``gold_unparsed``, ``timed_out``, ``worker_died``.
    What counts as the answer, and the hacks this withstands: `wapo_verl.environments.math.extraction`; as equal:
    `wapo_verl.environments.math.equivalence`; as copied: `wapo_verl.environments.math.echo`.
    """

    ability: ClassVar[str] = "math"
    agent_name = "single_turn_agent"
    reward_weights: ClassVar[Mapping[str, float]] = {"correct": 1.0}
    options: ClassVar[Mapping[str, str | int | float | bool]] = {"answer_format": THINK, "match": EQUIVALENT}
    row_options: ClassVar[tuple[str, ...]] = ("answer_format", "match")
    undecided: ClassVar[tuple[str, ...]] = (GOLD_UNPARSED, TIMED_OUT, WORKER_DIED)

    def problems(self, split: str, source: Path | None, options: Mapping[str, Any]) -> Iterator[Example]:
        """Return the split's problems in a fixed order; by default every row of its files."""
        return self.read_examples(split, source)

    def examples(self, split: str, source: Path | None, **options: Any) -> Iterator[Example]:
        """Return the split's problems, each with the format and the match that its row is to be scored by."""
        resolved = self.resolve_options(options)
        for example in self.problems(split, source, resolved):
            yield self.with_row_options(example, resolved)

    def resolve_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Resolve them as the base does.

        Raises:
            ValueError: also for an unknown format or match.
        """
        resolved = super().resolve_options(given)
        for name, choices in (("answer_format", FORMATS), ("match", MATCHES)):
            if resolved[name] not in choices:
                raise ValueError(f"option {name!r} is {' or '.join(choices)}, not {resolved[name]!r}")
        return resolved

    def prompt(self, example: Example) -> list[dict[str, str]]:
        """Return one user message: the problem and the format of its answer."""
        content = INSTRUCTIONS[str(example.extra["answer_format"])].format(problem=example.question)
        return [{"role": "user", "content": content}]

    def ground_truth(self, example: Example) -> dict[str, Any]:
        """Return ``answers`` (one), ``answer_format``, ``match`` and the ``problem``: a copy of it is no answer."""
        options = {name: example.extra[name] for name in self.row_options}
        return {"answers": list(example.answers), **options, "problem": example.question}

    def parts(self, episode: Episode, ground_truth: Mapping[str, Any]) -> dict[str, float]:
        """Return the reward parts of a completion; blocks while a worker looks at an answer."""
        gold = ground_truth["answers"][0]
        answer = extract_answer(episode.completion, ground_truth["answer_format"]) if episode.answered else None
        copied = answer is not None and is_copied(answer, ground_truth["problem"], gold)
        verdict = DIFFERENT if answer is None or copied else verify(gold, answer, ground_truth["match"])
        return {
            "correct": float(verdict == EQUAL),
            "exact_match": float(answer is not None and exactly(gold, answer)),
            "format": float(answer is not None),
            "copied": float(copied),
            **{name: float(verdict == name) for name in UNDECIDED},
        }

    def given_answer(self, episode: Episode, ground_truth: Mapping[str, Any]) -> str | None:
        """Return the answer that stands where the row's format wants it."""
        return extract_answer(episode.completion, ground_truth["answer_format"]) if episode.answered else None

    def same_answer(self, first: str, second: str, ground_truth: Mapping[str, Any]) -> bool:
        """Tell whether two answers mean the same by the row's match; blocks while a worker looks at them."""
        return verify(first, second, ground_truth["match"]) == EQUAL

    def gold_episode(self, row: Mapping[str, Any]) -> Episode:
        """Return a completion that gives the gold answer in the row's format."""
        truth = row["reward_model"]["ground_truth"]
        return Episode(answer=None, completion=written(truth["answers"][0], truth["answer_format"]))


def one_row(file: Path) -> RawRow:
    """Return the row of a ``.json`` file that holds one problem.

    Raises:
        RowError: when it holds no JSON object.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RowError(file, 0, WHOLE_ROW, f"is not JSON ({error}); download the file again") from error
    if not isinstance(values, dict):
        raise RowError(
            file, 0, WHOLE_ROW, "must be a JSON object; a file of many rows must not have a number as its name"
        )
    return RawRow(file, 0, values)
