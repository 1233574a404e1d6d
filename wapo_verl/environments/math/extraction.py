"""The answer in a completion's text: where it may stand, and nothing else.

Two formats. "think": `</think>` closes the reasoning, then a line that begins with `Answer:`. "boxed": the answer in
`\\boxed{}`, as Qwen2.5-Math writes it. The rules, and the hack or accident each one is there for:

- Only what follows the last `</think>` is read, up to a `<think>` after it: guesses in the reasoning earn nothing.
- "think" without a `</think>`, or "boxed" with a `<think>` that is never closed, has no answer: a completion cut off in
  its reasoning cannot be paid for a guess there, and leaving the reasoning out does not pay either.
- The last `Answer:` line counts, the last complete `\\boxed{}` counts: of several answers only one is ever compared.
- An answer line is what follows `Answer:` on that line alone, or, where it opens a matrix, up to the line that closes
  it. A blank one is no answer, and no earlier one steps in for it: whoever ends with a blank has withdrawn what was
  said before.
- A box that is never closed is not there (a completion cut off); the complete one before it counts. A box in a box is
  part of the outer one.
- The echoed instructions hold no answer: the prompt names `Answer:` within a sentence and `\\boxed{}` empty.
- Tags, the word `Answer` and its colon are compared as exact ASCII: look-alikes of other scripts are other text.

All of it takes time linear in the text. What the answer means is `wapo_verl.environments.math.equivalence`'s business.
"""

from __future__ import annotations

import re

THINK, BOXED = "think", "boxed"
FORMATS = (THINK, BOXED)

_ANSWER_LINE = re.compile(r"^[ \t]*(?:[#>]+[ \t]*)?(?:\*\*)?Answer(?:\*\*:|:(?:\*\*)?)(.*)$", re.MULTILINE)
_BRACES = re.compile(r"\\(?P<box>boxed|fbox)[ \t]*\{|\\.|[{}]", re.DOTALL)
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{")
_BARE_BOX = re.compile(r"\\boxed[ \t]+([^\s${}\\]+)")


def extract_answer(completion: str, answer_format: str) -> str | None:
    """The answer that a completion gives, stripped of white space, or None where it gives none.

    Args:
        completion: the policy's own text.
        answer_format: one of ``FORMATS``.

    Raises:
        ValueError: for another format.
    """
    if answer_format not in FORMATS:
        raise ValueError(f"answer_format {answer_format!r} is unknown; use {' or '.join(FORMATS)}")
    _, closed, spoken = completion.rpartition("</think>")
    if not closed and (answer_format == THINK or "<think>" in spoken):
        return None
    spoken = spoken.partition("<think>")[0]
    answer = last_answer_line(spoken) if answer_format == THINK else last_box(spoken)
    return (answer or "").strip() or None


def last_answer_line(text: str) -> str | None:
    """What follows `Answer:` on the last line that begins with it (`**` and `#` before it are passed over)."""
    found = None
    for match in _ANSWER_LINE.finditer(text):
        found = match
    if found is None:
        return None
    answer = (found[1] + _rest_of_matrix(found[1], text[found.end() :])).strip()
    return answer.removesuffix("**").strip() if answer.count("**") == 1 else answer


def _rest_of_matrix(line: str, after: str) -> str:
    r"""What follows the line up to the end of that in which its last `\begin` is closed; "" where it closes its own."""
    depth = 0
    for match in _ENVIRONMENT.finditer(line):
        depth += 1 if match[0] == r"\begin{" else -1
    if depth <= 0:
        return ""
    for match in _ENVIRONMENT.finditer(after):
        depth += 1 if match[0] == r"\begin{" else -1
        if depth == 0:
            return after[: match.end()] + after[match.end() :].partition("\n")[0]
    return ""


def last_box(text: str) -> str | None:
    """The content of the `\\boxed{}` or `\\fbox{}` that is closed last; escaped braces are content."""
    opened: list[int] = []
    found: tuple[int, int] | None = None
    for match in _BRACES.finditer(text):
        token = match[0]
        if match["box"]:
            opened.append(match.end())
        elif token == "{":
            opened.append(-1)
        elif token == "}" and opened and (start := opened.pop()) >= 0:
            found = (start, match.start())
    return text[slice(*found)] if found else None


def gold_of_solution(solution: str) -> str | None:
    """The gold answer of a worked solution of MATH: its last box, which a few solutions write as `\\boxed 5`."""
    bare = _BARE_BOX.findall(solution)
    answer = last_box(solution) or (bare[-1].rstrip(".,;") if bare else "")
    return answer.strip() or None


def written(answer: str, answer_format: str) -> str:
    """A completion that gives ``answer`` in the format: what ``extract_answer`` reads back."""
    line = " ".join(answer.split())
    return f"<think>\n</think>\nAnswer: {line}" if answer_format == THINK else f"The answer is $\\boxed{{{line}}}$."
