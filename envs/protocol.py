"""The text protocol of a search episode: what one turn of the policy means, and how results are written back to it.

A turn is an optional ``<think>..</think>``, then exactly one ``<search>query</search>`` or ``<answer>text</answer>``.
`parse_turn` is total: every string is a `Search`, an `Answer` or an `Invalid` with one named outcome, in linear time.

What counts, rule by rule:

- What stands inside a think block is thought: tags in it are ignored. A block that is never closed swallows the rest of
  the turn. Chat templates may open the block in the prompt, so a ``</think>`` before any ``<think>`` closes one too.
- Free text around the one action is ignored, and so is a closing tag that closes nothing.
- Any tag of the protocol inside an action, or an action closed by another one's tag: ``nested_tags``.
- A second action, finished or only begun: ``two_tags``. No finished action: ``no_tag``.
- An action with nothing but white space in it: ``empty_query`` or ``empty_answer``.
- An ``<information>`` written by the policy is text like any other. Results exist only where the agent loop put them:
  a policy that writes its own gains nothing by it.

Left out: outcomes that no text can show (a turn cut by a length limit, a full context, the last turn); the agent loop
knows them and names them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

STOP_STRINGS: tuple[str, ...] = ("</search>", "</answer>")
"""Generation of a turn ends at the first of these, the string itself included."""

_TAG = re.compile(r"<(/?)(think|search|answer|information)>")
_ACTIONS = ("search", "answer")


@dataclass(frozen=True, slots=True)
class Search:
    """A turn that asks the retriever; `query` is stripped and not empty."""

    query: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A turn that ends the episode with an answer; `text` is stripped and not empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """A turn outside the protocol: `no_tag`, `two_tags`, `nested_tags`, `empty_query` or `empty_answer`."""

    outcome: str


Turn = Search | Answer | Invalid


def parse_turn(text: str) -> Turn:
    """Read one turn of the policy. Never raises; one pass over `text`.

    Args:
        text: what the policy wrote in this turn, decoded, special tokens kept or not.
    """
    actions: list[tuple[str, str]] = []
    opened: tuple[str, int] | None = None  # the action we are inside of, and where its content starts
    thinking = False
    body = _without_thought_opened_by_the_prompt(text)
    for tag in _TAG.finditer(body):
        closing, name = tag.group(1) == "/", tag.group(2)
        if opened is not None:
            if not (closing and name == opened[0]):
                return Invalid("nested_tags")
            actions.append((name, body[opened[1] : tag.start()].strip()))
            opened = None
        elif thinking:
            thinking = not (closing and name == "think")
        elif name == "think":
            thinking = not closing
        elif name in _ACTIONS and not closing:
            opened = (name, tag.end())
    return _judge(actions, begun=opened is not None)


def _without_thought_opened_by_the_prompt(text: str) -> str:
    thought, closing, rest = text.partition("</think>")
    return rest if closing and "<think>" not in thought else text


def _judge(actions: list[tuple[str, str]], begun: bool) -> Turn:
    if len(actions) + begun > 1:
        return Invalid("two_tags")
    if not actions:
        return Invalid("no_tag")
    name, content = actions[0]
    if name == "search":
        return Search(content) if content else Invalid("empty_query")
    return Answer(content) if content else Invalid("empty_answer")


def neutralise(text: str, markers: Iterable[str] = ()) -> str:
    """`text` without the protocol's tags and without `markers`, so that a document cannot speak for the environment.

    A passage that contains ``</information>``, or a chat template's own token as plain text, would otherwise end the
    result or open a turn of its own. ``<search>`` becomes ``(search)`` and a marker becomes a space; neither can make a
    new tag or marker out of what stood around it, so one pass is enough.

    Args:
        text: a document's title or text.
        markers: further strings to remove, usually the tokenizer's special tokens; empty ones are ignored.
    """
    longest_first = sorted({marker for marker in markers if marker}, key=len, reverse=True)
    unwanted = re.compile("|".join([_TAG.pattern, *map(re.escape, longest_first)]))
    return unwanted.sub(lambda found: f"({found.group(2)})" if found.group(2) else " ", text)


def render_passage(title: str, text: str) -> str:
    """One passage as the policy sees it: `title`, a line break, `text`; or `text` alone when there is no title."""
    return f"{title}\n{text}" if title else text


def render_information(passages: Iterable[str]) -> str:
    """The user turn with the results: passages joined by a blank line; no passage gives an empty ``<information>``."""
    content = "\n\n".join(passages)
    return f"<information>{content}</information>"


def render_search(query: str, thought: str = "") -> str:
    """A policy's turn that searches, as demonstrations and tests write it; `parse_turn` reads it back."""
    return f"{_render_thought(thought)}<search>{query}</search>"


def render_answer(text: str, thought: str = "") -> str:
    """A policy's turn that answers, as demonstrations and tests write it; `parse_turn` reads it back."""
    return f"{_render_thought(thought)}<answer>{text}</answer>"


def _render_thought(thought: str) -> str:
    return f"<think>{thought}</think>" if thought else ""
