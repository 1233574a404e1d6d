r"""Answers that are a letter of a multiple choice, with or without the text of that option, or words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wapo_verl.environments.math.tokens import is_mathematical_word

_LETTER = re.compile(
    r"\\text\{\s*\(?(?P<text>[A-Za-z])\)?\.?\s*\}|\(\s*(?:\\text\{)?(?P<brackets>[A-Za-z])\}?\s*\)|(?P<bare>[A-Z])"
)
_FLAT = re.compile(r"\\text\{([^{}]*)\}")
_OPTION = re.compile(
    r"\s*(?P<said>(?:the\s+)?(?:correct\s+)?(?:option|choice|answer)(?:\s+is)?:?\s+)?"
    r"(?:\((?P<brackets>[A-Za-z])\)|(?P<marked>[A-Z])(?=\s*[).:])|(?P<bare>[A-Z])(?=\s*$))\s*[).:]?(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_OTHER_OPTION = re.compile(r"(?:^|[\s,;(])[A-Z]\s*[).:]|(?:^|\s)(?:or|and)\s+\(?[A-Z]\)?(?![a-zA-Z])")
_LETTER_ALONE = re.compile(r"[(\s]*[A-Z][)\s]*")
_CHANGES = re.compile(r"\s*[+*/^=!<>]")
_ALL_TEXT = re.compile(r"\\text\{(?P<inside>[^{}\\]*)\}")
_SAYS_NOTHING = re.compile(r"^there (?:is|are|exists?) ")
_BARE_WORDS = re.compile(r"(?=.*[A-Za-z]{3})[A-Za-z]+(?:[ -][A-Za-z]+)*")


@dataclass(frozen=True, slots=True)
class Option:
    """A letter and what is written behind it, "" where there is nothing.

    Attributes:
        letter: a capital.
        rest: the option's text.
        marked: whether brackets, text or a word leave no doubt that the letter is an option.
    """

    letter: str
    rest: str
    marked: bool


def option(text: str) -> Option | None:
    r"""Return the option that a cleaned answer names: `\text{(C)}`, `C`, `(C) 12`, `\text{C. }12`, `Option C`."""
    text = text.strip()
    if letter := _LETTER.fullmatch(text):
        return Option(str(letter[letter.lastgroup or 0]).upper(), "", letter["bare"] is None)
    flat = _FLAT.sub(r"\1", text)
    found = _OPTION.fullmatch(flat)
    if found is None or not (found["brackets"] or found["marked"] or found["said"]):
        return None
    letter_ = found["brackets"] or found["marked"] or found["bare"]
    rest = found["rest"].strip()
    if (not found["brackets"] and letter_.islower()) or _is_no_text(rest):
        return None
    if rest and flat != text:  # with its own commands for text, as far as they are the rest's
        rest = _rest_of(text, rest)
    return Option(letter_.upper(), rest, True)


def _is_no_text(rest: str) -> bool:
    """Say whether what follows a letter names another option, or makes an expression of the letter."""
    return bool(_OTHER_OPTION.search(rest) or _CHANGES.match(rest) or _LETTER_ALONE.fullmatch(rest))


def _rest_of(text: str, rest: str) -> str:
    r"""Return the end of ``text`` that flattens to ``rest``; `\text{C) blue}` has no such end, its rest is text."""
    for start in (match.start() for match in re.finditer(r"\S", text)):
        if _FLAT.sub(r"\1", text[start:]).strip() == rest and text.count("{", 0, start) == text.count("}", 0, start):
            return text[start:]
    return rf"\text{{{rest}}}" if "\\" not in rest else rest


def words(text: str) -> str | None:
    r"""Return the words of an answer that is nothing else, `\text{Evelyn}`, `no solutions`, small and singular."""
    match = _ALL_TEXT.fullmatch(text.strip())
    found = (match["inside"] if match else text).strip()
    if not re.fullmatch(_BARE_WORDS if not match else r"[^0-9]*[A-Za-z][^0-9]*", found.rstrip(".")):
        return None
    if not match and any(map(is_mathematical_word, found.split())):
        return None
    said = _SAYS_NOTHING.sub("", found.lower().rstrip(". "))
    return " ".join(word.removesuffix("s") if len(word) > 3 else word for word in said.split())


def in_text(text: str) -> str | None:
    r"""Return what stands in a `\text{}` that is the whole answer."""
    match = _ALL_TEXT.fullmatch(text.strip())
    return match and match["inside"].strip()
