r"""Names that an answer may choose: the x of `\{x : x > 1\}`, the k of `k\pi, k \in \mathbb{Z}`.

An answer with another name is read with the gold answer's, unless it says something else by that one already. Solutions
with a parameter out of all integers are the same set where one parameter is the other counted from elsewhere or
backwards: `\frac\pi2+k\pi` and `-\frac\pi2+k\pi`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from wapo_verl.environments.math.tokens import is_mathematical_word
from wapo_verl.environments.math.verdicts import DIFFERENT, EQUAL

_NAME = r"(?<![a-zA-Z])(?:[a-zA-Z](?![a-zA-Z])|\\(?:alpha|beta|gamma|lambda|mu|nu|xi|theta|tau|omega|ell)(?![a-zA-Z]))"
_SET = re.compile(
    rf"(?:\\?\{{|^)\s*(?P<name>{_NAME})\s*(?:\\in\s*(?:\(-\\infty,\\infty\)|[^:|{{}}\\]|\\mathbb\{{?[A-Z]\}}?)+)?(?::|\||\\mid(?![a-z]))"
)
_ORDER = re.compile(r"[<>]|\\[lgn]e(?![a-z])")
_SET_SIGN = r"(?:\\mathbb\s*)?\{?(?P<set>[ZN])\}?\s*(?P<mark>[\^_]\s*\{?\s*(?:\+|\*|>\s*0|0|\\ge\s*0|1)\s*\}?)?"
_KIND = r"(?P<kind{0}>(?:positive |non-?negative )?integer|natural number)s?"
_DOMAIN = (
    rf"(?:(?P<name>{_NAME})\s*(?:\\in|in)\s*(?:{_SET_SIGN}|(?:the\s+)?{_KIND.format(1)})"
    rf"|(?P<name2>{_NAME})\s+(?:is\s+)?(?:an?\s+|any\s+)?{_KIND.format(2)}"
    rf"|(?:an?\s+|any\s+|all\s+|every\s+|some\s+)?{_KIND.format(3)}\s+(?P<name3>{_NAME}))"
)
_WITH_DOMAIN = re.compile(
    rf"(?P<body>.+?)[\s,;]*\(?\s*(?:(?:where|for|with|and)\s+)?(?:any\s+|all\s+|every\s+|some\s+)?{_DOMAIN}\s*\)?"
)
_OF_A_SET = re.compile(
    rf"\\\{{\s*(?:{_NAME}\s*(?:\||:|\\mid(?![a-z])))?(?P<body>.+?)(?:\||:|\\mid(?![a-z])|[,;])\s*(?P<domain>{_DOMAIN})\s*\\\}}"
)
_RELATION = re.compile(r"([<>]|\\(?:le|ge|ne|equiv|mid|in|mapsto|to)(?![a-z]))")
_PARTS = re.compile(r"[,;]|\b(?:and|or)\b")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_LETTERS = re.compile(r"\\[a-zA-Z]+|[a-zA-Z]+")
_ALL, _POSITIVE, _NATURAL, _FROM_ZERO = "Z", "N+", "N", "N0"
_MARKS = {"+": _POSITIVE, "*": _POSITIVE, ">0": _POSITIVE, "1": _POSITIVE, "0": _FROM_ZERO, r"\ge0": _FROM_ZERO}
_KINDS = {"positive integer": _POSITIVE, "nonnegative integer": _FROM_ZERO, "natural number": _NATURAL, "integer": _ALL}


@dataclass(frozen=True, slots=True)
class Family:
    r"""Solutions with a parameter.

    Attributes:
        body: what stands before `k \in \mathbb{Z}`.
        name: the parameter.
        domain: what it is out of.
    """

    body: str
    name: str
    domain: str

    def may_be_out_of(self, other: str) -> bool:
        """Say whether the domain is another one, by some convention: natural numbers begin with 0 or with 1."""
        return self.domain == other or (_NATURAL in (self.domain, other) and _ALL not in (self.domain, other))

    def names_a_term(self) -> bool:
        """Say whether the parameter is that of a sequence's term, `a_n = ...`."""
        return any(self.name in _names(part.rpartition("=")[0]) for part in _PARTS.split(self.body))

    def is_what_is_sought(self) -> bool:
        r"""Say whether a relation is one of the name itself: `n \ge 2`, not `2n < x < 2n+1` nor `x \ne n\pi`."""
        pieces = _RELATION.split(self.body)
        if len(pieces) == 3:
            return pieces[1] not in (r"\ne", r"\in") or self.name in _names(pieces[0])
        return len(pieces) > 1 and (len(pieces) > 5 or self.name in _names(pieces[2]))

    def needs_no_domain(self) -> bool:
        """Say whether it means the same beside a gold answer without a domain: solutions are out of all integers."""
        return self.domain == _ALL or self.names_a_term()

    def in_the_name_of(self, other: Family) -> Family | None:
        """Return the family with another one's parameter; None where that has a meaning here already."""
        if self.name == other.name:
            return self
        if other.name in _names(self.body):
            return None
        return replace(self, body=renamed(self.body, self.name, other.name), name=other.name)

    def counted_otherwise(self) -> list[str]:
        """Return the bodies with the parameter counted from elsewhere or backwards; none where it names a term."""
        if self.domain != _ALL or self.names_a_term():
            return []
        others = (f"-{self.name}", *(f"{sign}{self.name}{step}" for sign in ("", "-") for step in ("+1", "-1")))
        return [renamed(self.body, self.name, f"{{({other})}}") for other in others]


@lru_cache(maxsize=4_096)
def family(text: str) -> Family | None:
    r"""Return the family of `k\pi, k \in \mathbb{Z}` or `\{k\pi : k \in \mathbb{Z}\}`; None for anything else."""
    if not (r"\in" in text or " in " in text or "integer" in text or "number" in text):
        return None
    flat = " ".join(_TEXT.sub(r" \1 ", text).split())
    found = _OF_A_SET.fullmatch(flat) or _WITH_DOMAIN.fullmatch(flat)
    if found is None:
        return None
    name = found["name"] or found["name2"] or found["name3"]
    if name not in _names(found["body"]):
        return None
    return Family(found["body"].strip(), name, _domain(found))


def families_compared(gold: str, answer: str, compared: Callable[[str, str], str]) -> str:
    """Return the verdict on an answer that may be a family; where gold or answer has no domain, the names decide.

    Args:
        gold: cleaned.
        answer: cleaned.
        compared: the verdict on two texts without a parameter, gold first.
    """
    wanted, given = family(gold), family(answer)
    if any(side and side.is_what_is_sought() for side in (wanted, given)):
        if wanted and given and (wanted.name, wanted.domain) == (given.name, given.domain):
            return compared(wanted.body, given.body)
        return compared(gold, answer)
    if wanted is None or given is None:
        if given and not given.needs_no_domain():
            return DIFFERENT
        return compared(wanted.body if wanted else gold, given.body if given else answer)
    same_name = given.in_the_name_of(wanted) if given.may_be_out_of(wanted.domain) else None
    if same_name is None:
        return DIFFERENT
    verdict = compared(wanted.body, same_name.body)
    if verdict != DIFFERENT or wanted.names_a_term():
        return verdict
    return EQUAL if any(compared(wanted.body, body) == EQUAL for body in same_name.counted_otherwise()) else DIFFERENT


def _domain(found: re.Match[str]) -> str:
    kind = found["kind1"] or found["kind2"] or found["kind3"]
    if kind:
        return _KINDS[kind.replace("-", "")]
    mark = re.sub(r"[\s^_{}]", "", found["mark"] or "")
    return _MARKS.get(mark, _NATURAL if found["set"] == "N" else _ALL)


def in_the_names_of(gold: str, answer: str) -> str:
    r"""Return the answer with the gold answer's name for a set's element, where both have one: `\{t : t > 1\}`."""
    wanted, given = _element(gold), _element(answer)
    if wanted and given and wanted != given and wanted not in _names(answer):
        return renamed(answer, given, wanted)
    return answer


def _element(text: str) -> str | None:
    found = list(_SET.finditer(text)) if "|" in text or ":" in text or r"\mid" in text else []
    single = len(found) == 1 and (text[found[0].start()] in "\\{" or _ORDER.search(text))
    return found[0]["name"] if single else None


def renamed(text: str, old: str, new: str) -> str:
    """Return the text with another name, or an expression in brackets, in place of a variable."""

    def replacement(found: re.Match[str]) -> str:
        run = found[0]
        if run.startswith("\\") or is_mathematical_word(run) or run in ("and", "or", "in"):
            return f"{new} " if run == old else run
        return run.replace(old, f" {new} ")

    return _LETTERS.sub(replacement, text)


def _names(text: str) -> set[str]:
    """Return the letters and commands in a text, words of mathematics as a whole."""
    runs = _LETTERS.findall(text)
    whole = {run for run in runs if run.startswith("\\") or is_mathematical_word(run)}
    return whole | {letter for run in runs if run not in whole for letter in run}
