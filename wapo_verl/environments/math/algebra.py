"""Single expressions compared by math-verify; imported by the worker processes alone, since it may hang or crash.

math-verify's own search for an answer in a text, its units and its time limit (by a signal, which works in a process's
main thread alone) are all off: `wapo_verl.environments.math.extraction` finds the answer,
`wapo_verl.environments.math.quantities` knows units, and the worker's limits hold where a signal's handler would never
run.

An expression too large for the memory limit is not told from a different one. math-verify swallows most memory
errors of its own comparisons and goes on to the next, so such an answer may come out as "different".
"""

from __future__ import annotations

import logging
import re
from typing import Any

import sympy
from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify

from wapo_verl.environments.math.verdicts import Unreadable

_CONFIG = LatexExtractionConfig(
    boxed_match_priority=-1,
    normalization_config=NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    ),
)
_TWO_NUMBERS = re.compile(r"(?<![_^0-9.])[0-9.]+\s+[0-9.]")
_DROPPED = re.compile(r"'|\\prime(?![a-z])")
"""What math-verify reads over: `f'(x)` is f(x) to it."""
_RELATIVE = 1e-12
_PLACES = 1e-6
logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its time limit is off


def same_expression(gold: str, answer: str) -> bool:
    """Tell whether two expressions in LaTeX are equal. Gold goes first: math-verify follows its form, not the answer's.

    Raises:
        Unreadable: for one that does not parse, or a pair that cannot be compared.
        MemoryError: where the process's limit does not suffice.
    """
    if _DROPPED.findall(gold) != _DROPPED.findall(answer):
        return False
    wanted, given = _parsed(gold, is_gold=True), _parsed(answer, is_gold=False)
    pairs = [(wanted, given)]
    if all(isinstance(side, sympy.Eq) and not side.free_symbols for side in pairs[0]):  # both hold, or neither does
        pairs = [(wanted.lhs, given.lhs), (wanted.rhs, given.rhs)]
    try:
        return all(_same(*pair) and _close(*pair) for pair in pairs)
    except MemoryError:
        raise
    except Exception as error:  # sympy raises anything; every kind means "cannot be compared"
        raise Unreadable(answer, gold=False) from error


def _same(gold: Any, answer: Any) -> bool:
    return bool(verify(gold, answer, float_rounding=6, strict=True, timeout_seconds=None, raise_on_error=True))


def _parsed(text: str, is_gold: bool) -> Any:
    if "$" in text or _TWO_NUMBERS.search(text):  # math-verify would add "6 7" up
        raise Unreadable(text, is_gold)
    found = parse(f"${text}$", [_CONFIG], "no_fallback", "first_match", parsing_timeout=None)
    if len(found) != 1:
        raise Unreadable(text, is_gold)
    return found[0]


def _close(gold: Any, answer: Any) -> bool:
    """Tell whether two numbers are as close relative to the gold as math-verify wants them absolutely; others pass."""
    if not all(isinstance(value, sympy.Expr) and value.is_number for value in (gold, answer)):
        return True
    wanted, given = (sympy.N(value.doit(), 30) for value in (gold, answer))
    if not wanted.is_finite:
        return True
    decimal = gold.has(sympy.Float) or answer.has(sympy.Float)
    near = _PLACES * min(1.0, float(abs(wanted))) if decimal else _RELATIVE * float(abs(wanted))
    return float(abs(wanted - given)) <= near
