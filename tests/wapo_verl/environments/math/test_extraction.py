"""Where an answer may stand in a completion, and the hacks that do not pay. No algebra, no processes, no GPU."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wapo_verl.environments.math.extraction import (
    BOXED,
    FORMATS,
    THINK,
    extract_answer,
    gold_of_solution,
    last_answer_line,
    last_box,
    written,
)

IN_THINK_FORMAT = {
    "plain": ("<think>2+3</think>\nAnswer: 5", "5"),
    "the template opened the tag": ("2+3</think>\nAnswer: 5", "5"),
    "same line as the tag": ("<think>x</think>Answer: 5", "5"),
    "words around it": ("<think>x</think>So it is.\nAnswer: 5\nI hope this helps.", "5"),
    "bold": ("<think>x</think>\n**Answer:** 5", "5"),
    "bold but for the colon": ("<think>x</think>\n**Answer**: 5", "5"),
    "a matrix over several lines": (
        "<think>x</think>\nAnswer: $\\begin{pmatrix} 1 \\\\\n2\n\\end{pmatrix}$\nDone.",
        "$\\begin{pmatrix} 1 \\\\\n2\n\\end{pmatrix}$",
    ),
    "a matrix that is never closed": (
        "<think>x</think>\nAnswer: \\begin{pmatrix} 1 \\\\\n2",
        "\\begin{pmatrix} 1 \\\\",
    ),
    "a line after a matrix that is not closed": ("<think>x</think>\nAnswer: \\begin{pmatrix} 1\nAnswer: 5", "5"),
    "all of it bold": ("<think>x</think>\n**Answer: 5**", "5"),
    "heading": ("<think>x</think>\n## Answer: 5", "5"),
    "indented": ("<think>x</think>\n   Answer: 5  ", "5"),
    "windows line ends": ("<think>x</think>\r\nAnswer: 5\r\n", "5"),
    "box on the line": ("<think>x</think>\nAnswer: $\\boxed{5}$", "$\\boxed{5}$"),
    "several lines: the last": ("<think>x</think>\nAnswer: 1\nAnswer: 2\nAnswer: 5", "5"),
    "several thoughts: after the last": ("<think>a</think>\nAnswer: 1\n<think>b</think>\nAnswer: 5", "5"),
    "a thought after it": ("<think>a</think>\nAnswer: 5\n<think>Answer: 6", "5"),
    "only in the thought": ("<think>Answer: 5</think>\nDone.", None),
    "cut off in the thought": ("<think>maybe\nAnswer: 5", None),
    "cut off, the template opened the tag": ("maybe\nAnswer: 5", None),
    "the thought after the last close is open": ("<think>a</think><think>\nAnswer: 5", None),
    "displayed below it, three lines": ("<think>x</think>\nAnswer:\n\\[\n5\n\\]\nDone.", "\\[\n5\n\\]"),
    "displayed from its own line on": ("<think>x</think>\nAnswer: \\[\n5\n\\]", "\\[\n5\n\\]"),
    "displayed between dollars": ("<think>x</think>\nAnswer:\n\n$$\nx = 5\n$$", "$$\nx = 5\n$$"),
    "displayed on the next line": ("<think>x</think>\n**Answer:**\n$$5$$\nDone.", "$$5$$"),
    "displayed, with another beside it": ("<think>x</think>\nAnswer: $$5$$ or $$6$$", "$$5$$ or $$6$$"),
    "displayed below, with another beside it": ("<think>x</think>\nAnswer:\n$$5$$ or $$6$$", "$$5$$ or $$6$$"),
    "displayed as aligned lines": (
        "<think>x</think>\nAnswer:\n\\begin{align*}\nx &= 5\n\\end{align*}\n",
        "\\begin{align*}\nx &= 5\n\\end{align*}",
    ),
    "displayed and never closed": ("<think>x</think>\nAnswer:\n\\[\n5", None),
    "displayed after a sentence": ("<think>x</think>\nAnswer:\nIt is\n\\[5\\]", None),
    "displayed, then withdrawn": ("<think>x</think>\nAnswer:\n\\[5\\]\nAnswer:", None),
    "Python's power": ("<think>x</think>\nAnswer: x**2", "x**2"),
    "no thought at all": ("Answer: 5", None),
    "no answer": ("<think>x</think>\nFive.", None),
    "box but no line": ("<think>x</think>\n$\\boxed{5}$", None),
    "blank": ("<think>x</think>\nAnswer:  ", None),
    "blank after a full one": ("<think>x</think>\nAnswer: 5\nAnswer:", None),
    "on the next line": ("<think>x</think>\nAnswer:\n5", None),
    "inside a sentence": ("<think>x</think>\nThe Answer: 5", None),
    "small letter": ("<think>x</think>\nanswer: 5", None),
    "full-width colon": ("<think>x</think>\nAnswer： 5", None),
    "Cyrillic letter": ("<think>x</think>\n\u0410nswer: 5", None),
    "look-alike tag": ("<think>x\uff1c/think\uff1e\nAnswer: 5", None),
    "capital tag": ("<think>x</THINK>\nAnswer: 5", None),
    "empty": ("", None),
    "nothing but tags": ("<think></think>", None),
}
IN_BOXED_FORMAT = {
    "plain": ("So $\\boxed{5}$.", "5"),
    "fbox": ("\\fbox{5}", "5"),
    "space before the brace": ("\\boxed {5}", "5"),
    "braces inside": ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
    "escaped braces inside": ("\\boxed{\\left\\{ 1, 2 \\right.}", "\\left\\{ 1, 2 \\right."),
    "row break before the end": ("\\boxed{a\\\\}", "a\\\\"),
    "several: the last": ("\\boxed{1} \\boxed{2} so \\boxed{5}", "5"),
    "a box for each root": ("$x = \\boxed{1}$ or $x = \\boxed{-2}$", "1, -2"),
    "boxes with a comma between": ("$\\boxed{1}, \\boxed{2}, \\boxed{5}$", "1, 2, 5"),
    "boxes with and": ("The roots are $\\boxed{1}$ and $\\boxed{-2}$.", "1, -2"),
    "boxes with and in text": ("\\boxed{1} \\text{ and } \\boxed{-2}", "1, -2"),
    "boxes with names and subscripts": ("$x_1 = \\boxed{1}, x_2 = \\boxed{-2}$", "1, -2"),
    "boxes in displays": ("\\[x=\\boxed{1}\\]\nor\n\\[x=\\boxed{2}\\]", "1, 2"),
    "one box twice": ("$\\boxed{5}$, $\\boxed{5}$", "5"),
    "boxes of different unknowns: the last": ("$x = \\boxed{1}, y = \\boxed{2}$", "2"),
    "boxes with words between: the last": ("First \\boxed{1}, and then the answer \\boxed{2}", "2"),
    "a guess and a better one: the last": ("\\boxed{1}. No, \\boxed{2}", "2"),
    "box in a box": ("\\boxed{a \\boxed{5}}", "a \\boxed{5}"),
    "not closed: the one before": ("\\boxed{5} and \\boxed{6", "5"),
    "not closed around a closed one": ("\\boxed{ \\boxed{5}", "5"),
    "too many closing braces": ("} \\boxed{5} }}", "5"),
    "after the thought": ("<think>\\boxed{1}</think> \\boxed{5}", "5"),
    "never closed": ("\\boxed{5", None),
    "empty box": ("\\boxed{5} \\boxed{}", None),
    "only in the thought": ("<think>\\boxed{5}</think> five", None),
    "cut off in the thought": ("<think>\\boxed{5}", None),
    "escaped command": ("\\\\boxed 5", None),
    "answer line only": ("Answer: 5", None),
    "look-alike brace": ("\\boxed\uff5b5\uff5d", None),
    "empty": ("", None),
}


@pytest.mark.parametrize("case", IN_THINK_FORMAT)
def test_the_answer_line(case: str) -> None:
    completion, answer = IN_THINK_FORMAT[case]
    assert extract_answer(completion, THINK) == answer


@pytest.mark.parametrize("case", IN_BOXED_FORMAT)
def test_the_box(case: str) -> None:
    completion, answer = IN_BOXED_FORMAT[case]
    assert extract_answer(completion, BOXED) == answer


@pytest.mark.parametrize(
    ("solution", "gold"),
    [
        ("so $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("first \\boxed{1}, then \\boxed{2}", "2"),
        ("it is $\\fbox{7}$", "7"),
        ("it is $\\boxed 5$.", "5"),
        ("it is \\boxed 42.", "42"),
        ("it is 5", None),
        ("\\boxed{", None),
    ],
)
def test_the_gold_answer_of_a_solution(solution: str, gold: str | None) -> None:
    assert gold_of_solution(solution) == gold


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="answer_format 'xml' is unknown; use think or boxed"):
        extract_answer("5", "xml")


@pytest.mark.parametrize("answer_format", FORMATS)
@pytest.mark.parametrize("piece", ["\\boxed{", "\\boxed{}", "{", "}", "Answer: 1\n", "<think>", "</think>", "\\", "**"])
def test_very_long_completions_take_linear_time(answer_format: str, piece: str) -> None:
    started = time.process_time()
    extract_answer("</think>\n" + piece * (1_000_000 // len(piece)), answer_format)
    assert time.process_time() - started < 5


lines = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).map(str.strip).filter(bool)


@given(lines.filter(lambda text: "think>" not in text and "**" not in text))
def test_any_line_comes_back_from_the_think_format(answer: str) -> None:
    line = " ".join(answer.split())
    assert extract_answer(written(answer, THINK), THINK) == line


@settings(max_examples=40)
@given(
    st.recursive(
        st.sampled_from(["1", "x", "\\{", "\\}", "\\\\", " "]),
        lambda part: st.lists(part).map("".join).map("{{{}}}".format),
    )
)
def test_any_balanced_text_comes_back_from_a_box(answer: str) -> None:
    assert last_box(f"a \\boxed{{{answer}}} b") == answer


@given(st.text(st.sampled_from("\\boxed{}Answer:<think>/ \n1"), max_size=60))
def test_no_text_breaks_the_extraction(completion: str) -> None:
    for answer_format in FORMATS:
        answer = extract_answer(completion, answer_format)
        assert answer is None or (answer and answer == answer.strip())
        assert answer is None or all(part in completion for part in answer.split(", "))


@given(st.text(max_size=40), st.sampled_from(FORMATS))
def test_a_thought_never_holds_the_answer(thought: str, answer_format: str) -> None:
    inside = thought.replace("think>", "")
    assert extract_answer(f"<think>{inside}\nAnswer: 5 \\boxed{{5}}\n</think>", answer_format) is None


def test_the_last_answer_line_is_the_last() -> None:
    assert last_answer_line("Answer: 1\nAnswer: 2\n") == "2"
    assert last_answer_line("nothing") is None
