"""What a turn of the policy means in a search episode, and how results are written back to it: two protocols.

Every turn is an optional ``<think>..</think>``, then exactly one action. In the text protocol (`parse_turn`) that is
``<search>query</search>`` or ``<answer>text</answer>``; in the tool protocol (`parse_tool_turn`) it is one or more
``<tool_call>..</tool_call>`` (`wapo_verl.environments.tool_calls` reads what stands in them) or the same ``<answer>``.
Both parsers are total: every string is a `Search`, an `Answer` or an `Invalid` with one named outcome, in linear time.

What counts, rule by rule, in both:

- What stands inside a think block is thought: tags in it are ignored. A block that is never closed swallows the rest of
  the turn. Chat templates may open the block in the prompt, so a ``</think>`` before any ``<think>`` closes one too.
- Free text around the action is ignored, and so is a closing tag that closes nothing.
- Any tag of the protocol inside an action, or an action closed by another one's tag: ``nested_tags``.
- A second action, finished or only begun: ``two_tags``; several calls are one action. No finished action: ``no_tag``.
- An action with nothing but white space in it: ``empty_query`` or ``empty_answer``; so is a call with a blank query.
- A call that is not closed, no JSON, names another tool, or has no list of queries, or too long a one: ``bad_call``.
- An ``<information>`` or ``<tool_response>`` written by the policy is text like any other. Results exist only where the
  agent loop put them: a policy that writes its own gains nothing by it.
- Tags are these characters and no others: look-alikes (full-width brackets, letters of other scripts) are plain text.

Outcomes that no text can show (a turn cut by a length limit, a full context, the last turn) are those of
`wapo_verl.environments.episode_rules`.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from wapo_verl.environments.tool_calls import QUERIES_KEY, SEARCH_TOOL, CallError, read_calls

STOP_STRINGS: tuple[str, ...] = ("</search>", "</answer>")
"""Generation of a turn ends at the first of these, the string itself included."""

_TAG = re.compile(r"<(/?)(think|search|answer|information)>")
_TOOL_TAG = re.compile(r"<(/?)(think|tool_call|answer|tool_response)>")
_ANY_TAG = re.compile(r"<(/?)(think|search|answer|information|tool_call|tool_response)>")
_XML_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]*>")
_END = re.compile(r"<\|\w+\|>\s*")
"""A special token such as <|im_end|>."""


@dataclass(frozen=True, slots=True)
class Search:
    """A turn that asks the retriever.

    Attributes:
        queries: at least one, each stripped and not empty; exactly one in the text protocol.
        repaired: whether a malformed call was read all the same.
    """

    queries: tuple[str, ...]
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A turn that ends the episode with an answer; `text` is stripped and not empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """A turn outside the protocol.

    Attributes:
        outcome: `no_tag`, `two_tags`, `nested_tags`, `empty_query`, `empty_answer` or `bad_call`.
        error: what the policy is told of a malformed call; "" where the turn ends the episode.
    """

    outcome: str
    error: str = field(default="", compare=False)


Turn = Search | Answer | Invalid
_Action = tuple[str, str]
"""The name of an action's tag, and its content, stripped."""


def parse_turn(text: str) -> Turn:
    """Read one turn of the policy in the text protocol. Never raises; one pass over `text`.

    Args:
        text: what the policy wrote in this turn, decoded, special tokens kept or not.
    """
    actions = _actions(text, _TAG, ("search", "answer"))
    if isinstance(actions, Invalid):
        return actions
    if len(actions) > 1:
        return Invalid("two_tags")
    name, content = actions[0]
    if name == "search":
        return Search((content,)) if content else Invalid("empty_query")
    return _answer(content)


def parse_tool_turn(text: str, most_queries: int) -> Turn:
    """Read one turn of the policy in the tool protocol. Never raises; one pass over `text`.

    Args:
        text: as for `parse_turn`.
        most_queries: how many queries a turn may have.
    """
    actions = _actions(text, _TOOL_TAG, ("tool_call", "answer"))
    if isinstance(actions, Invalid):
        return actions
    if actions[0][0] == "answer" and len(actions) == 1:
        return _answer(actions[0][1])
    if any(name == "answer" for name, _ in actions):
        return Invalid("two_tags")
    try:
        return Search(*read_calls((content for _, content in actions), most_queries))
    except CallError as error:
        return Invalid(error.outcome, str(error))


def _actions(text: str, tags: re.Pattern[str], names: tuple[str, ...]) -> list[_Action] | Invalid:
    """Return the turn's finished actions, at least one, or what is wrong with its tags."""
    actions: list[_Action] = []
    opened: tuple[str, int] | None = None  # the action we are inside of, and where its content starts
    thinking = False
    body = _without_thought_opened_by_the_prompt(text)
    for tag in tags.finditer(body):
        closing, name = tag.group(1) == "/", tag.group(2)
        if opened is not None:
            if not (closing and name == opened[0]):
                return _unfinished("nested_tags", [*actions, (opened[0], "")], "a call holds another tag")
            actions.append((name, body[opened[1] : tag.start()].strip()))
            opened = None
        elif thinking:
            thinking = not (closing and name == "think")
        elif name == "think":
            thinking = not closing
        elif name in names and not closing:
            opened = (name, tag.end())
    if opened is not None:
        return _unfinished("two_tags" if actions else "no_tag", [*actions, (opened[0], "")], "a call is not closed")
    return actions or Invalid("no_tag")


def is_well_formed(text: str, action: str, last: bool) -> bool:
    """Tell whether a turn is exactly one thought and then one action, as the published reward of WAPO counts it.

    White space around is allowed, and an end-of-turn token after it; both parts hold something, and no tag.

    Args:
        text: the turn, decoded, special tokens kept or not.
        action: the tag of a search, "search" or "tool_call".
        last: whether it is the episode's last turn, which may be an answer too.
    """
    end = len(text)
    while (place := text.rfind("<|", 0, end)) >= 0 and _END.fullmatch(text, place, end):
        end = place
    thought, closing, rest = text[:end].strip().partition("</think>")
    rest = rest.strip()
    for tag in (action, "answer") if last else (action,):
        opening, ending = f"<{tag}>", f"</{tag}>"
        if not (closing and thought.startswith("<think>") and rest.startswith(opening) and rest.endswith(ending)):
            continue
        parts = (thought.removeprefix("<think>"), rest.removeprefix(opening).removesuffix(ending))
        return all(part.strip() and not _XML_TAG.search(part) for part in parts)
    return False


def _unfinished(outcome: str, begun: Sequence[_Action], problem: str) -> Invalid:
    """Return what a turn is whose last action is broken: a malformed call where it does nothing but call."""
    if any(name != "tool_call" for name, _ in begun):
        return Invalid(outcome)
    error = CallError(problem)
    return Invalid(outcome if outcome == "nested_tags" else error.outcome, str(error))


def _without_thought_opened_by_the_prompt(text: str) -> str:
    thought, closing, rest = text.partition("</think>")
    return rest if closing and "<think>" not in thought else text


def _answer(content: str) -> Answer | Invalid:
    return Answer(content) if content else Invalid("empty_answer")


def neutralise(text: str, markers: Iterable[str] = ()) -> str:
    """Take either protocol's tags and `markers` out of `text`, so that a document cannot speak for the environment.

    A passage that contains ``</information>``, or a chat template's own token as plain text, would otherwise end the
    result or open a turn of its own. ``<search>`` becomes ``(search)`` and a marker becomes a space; neither can make a
    new tag or marker out of what stood around it, so one pass is enough.

    Args:
        text: a document's title or text.
        markers: further strings to remove, usually the tokenizer's special tokens; empty ones are ignored.
    """
    return _unwanted(tuple(markers)).sub(lambda found: f"({found.group(2)})" if found.group(2) else " ", text)


@lru_cache(maxsize=4)  # with a tokenizer's thousands of tokens, compiling it takes longer than using it
def _unwanted(markers: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted({marker for marker in markers if marker}, key=len, reverse=True)
    return re.compile("|".join([_ANY_TAG.pattern, *map(re.escape, longest_first)]))


def render_passage(title: str, text: str) -> str:
    """Write a passage as the policy sees it: `title`, a line break, `text`; or `text` alone when there is no title."""
    return f"{title}\n{text}" if title else text


def render_information(passages: Iterable[str]) -> str:
    """Write the user turn with the results: passages between blank lines; none give an empty ``<information>``."""
    content = "\n\n".join(passages)
    return f"<information>{content}</information>"


def render_tool_response(results: Sequence[Sequence[str]]) -> str:
    """Write the tool's answer to a call, for the chat template to wrap: each query's passages between blank lines.

    Where a call had several queries, a line before each one's passages says which it was, by number: the query's own
    text is the policy's, and is not repeated.
    """
    texts = ["\n\n".join(passages) if passages else "No passage was found." for passages in results]
    if len(texts) == 1:
        return texts[0]
    return "\n\n".join(f"Results of query {number}:\n\n{text}" for number, text in enumerate(texts, start=1))


def render_tool_search(queries: Sequence[str]) -> str:
    """Write a turn that calls the tool, as demonstrations and tests do; `parse_tool_turn` reads it back."""
    call = json.dumps({"name": SEARCH_TOOL, "arguments": {QUERIES_KEY: list(queries)}}, ensure_ascii=False)
    return f"<tool_call>\n{call}\n</tool_call>"


def render_search(query: str) -> str:
    """Write a turn that searches, as demonstrations and tests do; `parse_turn` reads it back."""
    return f"<search>{query}</search>"


def render_answer(text: str) -> str:
    """Write a turn that answers, as demonstrations and tests do; `parse_turn` reads it back."""
    return f"<answer>{text}</answer>"


@dataclass(frozen=True, slots=True)
class Protocol:
    """How turns of an agent loop are read and written.

    Attributes:
        ends: strings at which the engine ends a turn.
        read: a turn's text and the most queries it may have -> what it means.
        write: queries -> a turn that searches for them.
        results: the passages of each query -> what the policy is shown.
        action: the tag of a search.
    """

    ends: tuple[str, ...]
    read: Callable[[str, int], Turn]
    write: Callable[[Sequence[str]], str]
    results: Callable[[Sequence[Sequence[str]]], str]
    action: str


PROTOCOLS: Mapping[str, Protocol] = {
    "search_agent": Protocol(
        ends=STOP_STRINGS,
        read=lambda text, _: parse_turn(text),
        write=lambda queries: render_search(queries[0]),
        results=lambda passages: render_information(passages[0]),
        action="search",
    ),
    "search_tool_agent": Protocol((), parse_tool_turn, render_tool_search, render_tool_response, "tool_call"),
}
"""The agent loops with several turns, by their name in a row."""
