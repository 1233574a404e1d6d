r"""The answer in a completion's text: where it may stand, and nothing else.

Two formats. "think": `</think>` closes the reasoning, then a line that begins with `Answer:`. "boxed": the answer in
`\boxed{}`, as Qwen2.5-Math writes it. The rules, and the hack or accident each one is there for:

- Only what follows the last `</think>` is read, up to a `<think>` after it: guesses in the reasoning earn nothing.
- "think" without a `</think>`, or "boxed" with a `<think>` that is never closed, has no answer: a completion cut off in
  its reasoning cannot be paid for a guess there, and leaving the reasoning out does not pay either.
- The last `Answer:` line counts, the last complete `\boxed{}` counts: of several answers only one is ever compared.
- Boxes side by side with nothing but a comma, "and", "or" or the same unknown's name between them are one answer, the
  list of what stands in them: each root in a box of its own.
- An answer line is what follows `Answer:` on that line alone. Where it opens a matrix, and where displayed mathematics
  (`\[`, `$$`, `\begin{align}`) opens on it or right below it, it goes on to the line that closes that. A blank one is
  no answer, and no earlier one steps in for it: whoever ends with a blank has withdrawn what was said before.
- A box that is never closed is not there (a completion cut off); the complete one before it counts. A box in a box is
  part of the outer one.
- The echoed instructions hold no answer: the prompt names `Answer:` within a sentence and `\boxed{}` empty.
- Tags, the word `Answer` and its colon are compared as exact ASCII: look-alikes of other scripts are other text.

All of it takes time linear in the text. What the answer means is `wapo_verl.environments.math.equivalence`'s business.
"""

from __future__ import annotations

import re

THINK, BOXED = "think", "boxed"
FORMATS = (THINK, BOXED)

_ANSWER_LINE = re.compile(r"^[ \t]*(?:[#>]+[ \t]*)?(?:\*\*)?Answer(?:\*\*:|:(?:\*\*)?)(.*)$", re.MULTILINE)
_BRACES = re.compile(r"\\(?P<box>boxed|fbox)[ \t]*\{|\\.|[{}]", re.DOTALL)
_DISPLAY = re.compile(r"\s*(?:\*\*)?\s*(?:\\\[|\$\$|\\begin\{((?:align|equation|gather)\*?)\})")
_NAME = r"(?:[a-zA-Z]|\\[a-zA-Z]+)"
_BELOW = r"(?:_(?:\{[^{}]*\}|[0-9a-zA-Z]))?"
_BETWEEN = re.compile(rf"\s*(?P<joint>[,;]?\s*(?:and|or)?)\s*(?:(?P<name>{_NAME}){_BELOW}\s*=)?\s*")
_NAMED = re.compile(rf"(?P<name>{_NAME}){_BELOW}\s*=[\s$]*$")
_SWITCHES = re.compile(r"\$|\\[\[\]()]|\\q?quad(?![a-zA-Z])|\\[,;: ]|\\text\s*\{([^{}]*)\}")
_LONGEST_GAP = 60
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{")
_BARE_BOX = re.compile(r"\\boxed[ \t]+([^\s${}\\]+)")


def extract_answer(completion: str, answer_format: str) -> str | None:
    """Return the answer that a completion gives, stripped of white space, or None where it gives none.

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
    answer = last_answer_line(spoken) if answer_format == THINK else last_boxes(spoken)
    return (answer or "").strip() or None


def last_answer_line(text: str) -> str | None:
    """Return what follows `Answer:` on the last line that begins with it (`**` and `#` before it are passed over)."""
    found = None
    for match in _ANSWER_LINE.finditer(text):
        found = match
    if found is None:
        return None
    after = text[found.end() :]
    shown = _displayed(found[1] + after) if not found[1].strip(" \t\r*") or _DISPLAY.match(found[1]) else None
    answer = (shown or found[1] + _rest_of_matrix(found[1], after)).strip()
    return answer.removesuffix("**").strip() if answer.count("**") == 1 else answer


def _displayed(text: str) -> str | None:
    """Return the displayed mathematics that a text begins with, to the end of the line that closes it; else None."""
    opening = _DISPLAY.match(text)
    if opening is None:
        return None
    closing = {"[": r"\]", "$": "$$"}.get(opening[0][-1], rf"\end{{{opening[1]}}}")
    end = text.find(closing, opening.end())
    if end < 0:
        return None
    end += len(closing)
    return (text[:end] + text[end:].partition("\n")[0]).strip().removeprefix("**")


def _rest_of_matrix(line: str, after: str) -> str:
    r"""Return what follows the line up to the end of that in which its last `\begin` is closed.

    "" where it closes its own.
    """
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


def last_boxes(text: str) -> str | None:
    """Return what stands in the last box and in those that are joined to it, as a list."""
    boxes = _boxes(text)
    if not boxes:
        return None
    joined = [boxes.pop()]
    while boxes and _are_joined(text, boxes[-1], joined[0]):
        joined.insert(0, boxes.pop())
    contents = dict.fromkeys(text[start:end].strip() for _, start, end in joined)
    return ", ".join(contents) if len(contents) > 1 else text[slice(*joined[-1][1:])]


def last_box(text: str) -> str | None:
    r"""Return the content of the `\boxed{}` or `\fbox{}` that is closed last; escaped braces are content."""
    boxes = _boxes(text)
    return text[slice(*boxes[-1][1:])] if boxes else None


def _boxes(text: str) -> list[tuple[int, int, int]]:
    """Return where each box that is closed and in no other closed one begins, and where its content begins and ends."""
    opened: list[tuple[int, int]] = []
    found: list[tuple[int, int, int]] = []
    for match in _BRACES.finditer(text):
        token = match[0]
        if match["box"]:
            opened.append(match.span())
        elif token == "{":
            opened.append((-1, -1))
        elif token == "}" and opened and (box := opened.pop())[0] >= 0:
            while found and found[-1][0] > box[0]:
                found.pop()
            found.append((*box, match.start()))
    return found


def _are_joined(text: str, first: tuple[int, int, int], second: tuple[int, int, int]) -> bool:
    """Say whether nothing stands between two boxes but what joins a list: `$, $`, `and`, `or x =`."""
    if second[0] - first[2] > _LONGEST_GAP:
        return False
    between = _BETWEEN.fullmatch(_SWITCHES.sub(lambda found: found[1] or " ", text[first[2] + 1 : second[0]]))
    if between is None or not (between["joint"].strip() or between["name"]):
        return False
    before = _NAMED.search(text, max(0, first[0] - _LONGEST_GAP), first[0])
    return between["name"] is None or before is None or before["name"] == between["name"]


def gold_of_solution(solution: str) -> str | None:
    r"""Return the gold answer of a worked solution of MATH: its last box, which a few write as `\boxed 5`."""
    bare = _BARE_BOX.findall(solution)
    answer = last_box(solution) or (bare[-1].rstrip(".,;") if bare else "")
    return answer.strip() or None


def written(answer: str, answer_format: str) -> str:
    """Return a completion that gives ``answer`` in the format: what ``extract_answer`` reads back."""
    line = " ".join(answer.split())
    return f"<think>\n</think>\nAnswer: {line}" if answer_format == THINK else f"The answer is $\\boxed{{{line}}}$."
