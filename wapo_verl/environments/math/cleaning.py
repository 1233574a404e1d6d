r"""One way of writing where LaTeX, Markdown and Unicode have several: `\dfrac` and `\frac`, `**` and `^`, `−` and `-`.

Pure text in, pure text out, linear in its length. What a word, a number or an expression means is for the modules that
read the cleaned text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache, partial

from wapo_verl.environments.math.figures import with_figures
from wapo_verl.environments.math.forms import is_balanced
from wapo_verl.environments.math.tokens import FUNCTIONS, SYNONYMS

_GREEK_NAMES = """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega
    phi epsilon theta mu Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega
"""
_GREEK = dict(zip("αβγδεζηθικλμνξρστυφχψωϕϵϑµΓΔΘΛΞΣΦΨΩ", _GREEK_NAMES.split(), strict=True))
_WRITTEN_AS = {
    **dict.fromkeys("−–—‐‑﹣", "-"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2009\u200a\u202f\t\n\r", " "),
    **{"×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "•": r"\cdot ", "∗": "*", "÷": "/", "⁄": "/"},
    **{"π": r"\pi ", "∞": r"\infty ", "°": r"^\circ ", "º": r"^\circ ", "∠": r"\angle ", "△": r"\triangle "},
    **{"≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≃": r"\approx "},
    **{"≡": r"\equiv ", "≅": r"\cong ", "±": r"\pm ", "∓": r"\mp ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in "},
    **{
        "∅": r"\emptyset ",
        "ℝ": r"\mathbb{R}",
        "ℤ": r"\mathbb{Z}",
        "ℕ": r"\mathbb{N}",
        "⟨": r"\langle ",
        "⟩": r"\rangle ",
        "∣": "|",
        "′": "'",
        "’": "'",
    },
    **{"⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "ℯ": "e", "ⅈ": "i"},
    **{"½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}"},
    **{"⅕": r"\frac{1}{5}", "⅖": r"\frac{2}{5}", "⅗": r"\frac{3}{5}", "⅘": r"\frac{4}{5}", "⅙": r"\frac{1}{6}"},
    **{"⅚": r"\frac{5}{6}", "⅛": r"\frac{1}{8}", "⅜": r"\frac{3}{8}", "⅝": r"\frac{5}{8}", "⅞": r"\frac{7}{8}"},
    **{"€": r"\euro ", "£": r"\pounds ", "¥": r"\yen ", "₹": r"\rupee ", "¢": r"\text{ cents}"},
    **{"℃": r"^\circ C", "℉": r"^\circ F", "％": "%", "“": '"', "”": '"', "‘": "'"},
    **{letter: rf"\{name} " for letter, name in _GREEK.items()},
}
_TRANSLATION = str.maketrans(_WRITTEN_AS)
_ABOVE, _BELOW = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "₀₁₂₃₄₅₆₇₈₉₊₋ₙ"
_RUNS = tuple(
    (re.compile(f"[{signs}]+"), mark, str.maketrans(signs, "0123456789+-n"))
    for signs, mark in ((_ABOVE, "^"), (_BELOW, "_"))
)
_UNICODE_ROOT = re.compile(r"([√∛])\s*(?:\(([^()]*)\)|([0-9]+|[a-zA-Z]))")

_INSIDE = r"(?:[^{}]|\{[^{}]*\})*"
_ROMAN = re.compile(
    rf"\{{\\(?:rm|bf|it|sf)\s+(?P<old>{_INSIDE})\}}"
    r"|\\(?:mathrm|operatorname\*?|mathop|mathit|mathsf|mathtt|mathnormal|text|textrm|textit)\s*"
    rf"(?:\{{(?P<braced>{_INSIDE})\}}|(?P<bare>\\[a-zA-Z]+|[a-zA-Z0-9]))"
)
_SPACE = re.compile(r"\\[,;:! ]|~")
_POWERS_OF_UNITS = re.compile(r"(?:[A-Za-z]{1,10}(?:\^\{?-?[0-9]\}?)?[ /]*)+")
_UNIT_LETTERS = frozenset("mglshLNJWVACFKT")
_BEHIND_A_NUMBER = re.compile(rf"[0-9}})]\s*(?:{_SPACE.pattern})*\s*$")
_TEXT_COMMAND = re.compile(r"\\(?:mbox|hbox|textbf|textit|textrm|textnormal|textsf|texttt|textsuperscript)\s*\{")
_BOLD = re.compile(r"(?<![\w)}\]])\*\*(?=\S)(.*?\S)\*\*(?![\w({\\[])")
_WRAPPINGS = (("```", "```"), ("``", "``"), ("`", "`"), ("**", "**"), ("*", "*"), ("__", "__"), ('"', '"'), ("'", "'"))
_DISPLAY = re.compile(r"\\(?:begin|end)\{(?:align|aligned|equation|gather|gathered|split|multline|eqnarray)\*?\}")
_ABOUT = r"(?:or |which is |that is )?(?:approximately|approx\.?|about|roughly)"
_ORDINAL = r"(?:st|nd|rd|th)"
_ANSWER_IS = r"(?:(?:the\s+)?(?:final\s+)?answer(?:\s+is\s*:?|\s*:))"
_FEW = r"\s*(?:\{([^{}]+)\}|([0-9]+|[a-z]))"  # what stands above or below: {}_5C_2

_CLEANINGS = (
    (re.compile(rf"^\s*(?:\\text\{{\s*{_ANSWER_IS}\s*\}}|{_ANSWER_IS}(?=[\s$]))", re.IGNORECASE), " "),
    (re.compile(r"\\\\\s*\[-?[0-9.]+\s*(?:pt|em|ex|mm|cm)\]"), r"\\\\"),
    # Thousands: 10,\!080 10{,}080 10\,080; not 0{,}350.
    (re.compile(r"(?:(?<=[1-9])|(?<=[0-9]{2}))(?:,\\!\s*|\{,\}\s*|\\,)(?=[0-9]{3}(?![0-9]))"), ""),
    # What a parser would drop one side of: each is an equation, whose sides are all looked at.
    (re.compile(r"={2,}|\\(?:equiv|cong)(?![a-zA-Z])"), "="),
    (re.compile(r"\\(?:approx|simeq|doteq|approxeq|thickapprox)(?![a-zA-Z])|~="), r"\\approx "),
    (re.compile(rf"\\text\{{[\s,]*\(\s*{_ABOUT}\s*\}}([^()]*)\)\s*$"), r"\\approx \1"),
    (re.compile(rf"\\text\{{[\s,]*{_ABOUT}\s*\}}|(?:(?<=[\s,(])|^){_ABOUT}\s"), r"\\approx "),
    (re.compile(r"\(\s*\\approx([^()]*)\)\s*$"), r"\\approx\1"),
    (re.compile(r",\s*(?=\\approx)"), " "),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\[dt]binom(?![a-zA-Z])"), r"\\binom"),
    (re.compile(r"\\frac\s*([0-9])\s*([0-9])"), r"\\frac{\1}{\2}"),
    (
        re.compile(rf"(?:\{{\}}|^|(?<=[-+*/(=,])|(?<=\\cdot)|(?<=\\times))\s*[_^]{_FEW}\s*C\s*_{_FEW}"),
        r"\\binom{\1\2}{\3\4}",
    ),
    (
        re.compile(
            r"(?:^|(?<=[(=,]))\s*([0-9]+|[a-z])\s*(?:\\text\{\s*choose\s*\}|\bchoose\b)\s*([0-9]+|[a-z])\s*(?=[),=]|$)"
        ),
        r"\\binom{\1}{\2}",
    ),
    (re.compile(r"\{\}(?=\s*[\^_])"), ""),
    (re.compile(r"\{:\}"), ":"),
    (re.compile(r"^([^{}\\]+)\\choose(?![a-zA-Z])([^{}\\]+)$"), r"\\binom{\1}{\2}"),
    (re.compile(r"\\(?:mathbf|boldsymbol|bm)\s*\{([a-zA-Z0-9])\}"), r" \1"),
    (re.compile(r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|!|mathbf|boldsymbol|bm|limits|middle)(?![a-zA-Z])"), ""),
    (re.compile(r"(?<!\\)\\[,;:> ]|~|\\q?quad(?![a-zA-Z])|\\(?:thin|med|thick)?space(?![a-zA-Z])"), " "),
    (re.compile(r"\\leq?s?l?a?n?t?q?q?(?![a-zA-Z])"), r"\\le "),
    (re.compile(r"\\geq?s?l?a?n?t?q?q?(?![a-zA-Z])"), r"\\ge "),
    (re.compile(r"\\neq?(?![a-zA-Z])|(?<=\s)!=|<>"), r"\\ne "),
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
    (re.compile(r"\\varnothing(?![a-zA-Z])"), r"\\emptyset"),
    (re.compile(r"\\lbrace(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\+/-|(?:^|(?<=[=,]))\s*\+-"), r"\\pm "),
    (
        re.compile(
            r"\^\s*(?:\{\s*(?:\\circ|\\degree|o)\s*\}|\\circ(?![a-zA-Z])|o(?![a-zA-Z]))|\\(?:degree|textdegree)(?![a-zA-Z])"
            r"|(?<=[0-9])\s*(?:\\text\{\s*deg(?:ree)?s?\s*\}|deg(?:ree)?s?)(?=\s*[)}])"
        ),
        r"^\\circ ",
    ),
    (re.compile(r"(?<!\\)%|\\text\{\s*\\?%\s*\}"), r"\\%"),
    (re.compile(r"\bper\s+cents?\b|\bp\.\s?c\.(?![a-z])"), "percent"),
    (re.compile(r"(?<!\\)\\[()\[\]]"), " "),
    (re.compile(r"\b([apAP])\.\s?[mM]\b\.?"), r"\1m"),
    (re.compile(r"\\mathbb\s*(?:\{R\}|R)\s*(?:[\^_]\s*\{?\+\}?|_\{?>0\}?)"), r"(0,\\infty)"),
    (
        re.compile(r"\\mathbb\s*\{?R\}?|\\text\{\s*all real numbers\s*\}|^\s*all real numbers\s*$"),
        r"(-\\infty,\\infty)",
    ),
    (
        re.compile(
            rf"(?:(?<=[0-9)}}a-z])\s*(?:\^\s*\{{\s*\\text\{{\s*{_ORDINAL}\s*\}}\s*\}}|\^?\s*\\text\{{\s*-?{_ORDINAL}\s*\}})"
            rf"|(?<=[0-9])\s*\^\s*(?:\{{\s*{_ORDINAL}\s*\}}|{_ORDINAL}(?![a-zA-Z]))"
            rf"|(?<=[0-9])-?{_ORDINAL}(?![a-zA-Z]))(?!\s*(?:\\text\{{\s*)?(?:roots?|powers?)(?![a-zA-Z]))"
        ),
        "",
    ),
    (re.compile(r"(?<=[)\]])\s*union\s*(?=[(\[])"), r" \\cup "),
    (re.compile(r"^\s*(?:the\s+)?(\([0-9]*[a-z]\s*[-+]\s*[0-9]+\))-?th(?=\s|$)"), r"\1"),  # (2n+1)th
    (re.compile(r"^\s*[tT]he\s+(?=[0-9])"), ""),
    (re.compile(r"(?<=[0-9])\s*[xX]\s*(?=10\s*\^)"), r"\\times "),  # 1.2 x 10^5
    (re.compile(r"\s+"), " "),
)
_MINUTES = re.compile(
    r"(?P<degrees>[0-9]+)\s*\^\\circ\s*(?P<minutes>[0-9]{1,2})\s*(?:'|\^\s*\{?\\prime\}?)"
    r"(?:\s*(?P<seconds>[0-9]{1,2})\s*(?:''|\"|\^\s*\{?\\prime\s*\\prime\}?))?"
)
_DOLLAR_OF_ORDINAL = re.compile(rf"(?<=[0-9])\$(?=-?{_ORDINAL}(?![a-zA-Z]))")
_DOLLARS = re.compile(r"(?<!\\)\$")


@lru_cache(maxsize=4_096)
def clean(text: str) -> str:
    r"""Return the text in one way of writing.

    Signs that switch to mathematics, a box, bold print, quotes and backticks around the whole and a full stop after it
    are taken off. Characters outside ASCII that have no mathematical meaning here stay (see ``forms.is_readable``).
    """
    text = _bold_and_powers(_without_dollars(_unwrapped(text)))
    text = _UNICODE_ROOT.sub(_root, text)
    for run, mark, digits in _RUNS:
        text = run.sub(partial(_on_the_line, mark, digits), text)
    text = _ROMAN.sub(_upright, text.translate(_TRANSLATION))
    if _DISPLAY.search(text) and "matrix" not in text:
        text = _DISPLAY.sub(" ", text).replace("&", "").replace(r"\\", " ")
    text = _TEXT_COMMAND.sub(lambda _: r"\text{", text)
    for pattern, replacement in _CLEANINGS:
        text = pattern.sub(replacement, text)
    return _unwrapped(with_figures(_MINUTES.sub(_degrees, text)))


def _without_dollars(text: str) -> str:
    """Take off the signs that switch to mathematics; an odd one is money."""
    if len(_DOLLARS.findall(text)) % 2:
        return text
    return _DOLLARS.sub(" ", _DOLLAR_OF_ORDINAL.sub("", text))


def _on_the_line(mark: str, digits: Mapping[int, int], raised: re.Match[str]) -> str:
    """Write a run of raised or lowered digits behind `^` or `_`."""
    return f"{mark}{{{raised[0].translate(digits)}}}"


def _degrees(found: re.Match[str]) -> str:
    seconds = f"+{found['seconds']}/3600" if found["seconds"] else ""
    return rf"({found['degrees']}+{found['minutes']}/60{seconds})^\circ "


def _root(found: re.Match[str]) -> str:
    return rf"\sqrt{'[3]' if found[1] == '∛' else ''}{{{found[2] or found[3]}}}"


def _bold_and_powers(text: str) -> str:
    """Take `**` off where it is bold print, a pair around words, and write `^` where it is Python's power."""
    if "**" not in text:
        return text
    text = _BOLD.sub(r"\1", text)
    text = text.strip()
    text = text.removeprefix("**") if text.startswith("**") else text
    return text.removesuffix("**").replace("**", "^")


def _upright(found: re.Match[str]) -> str:
    r"""Return what upright print stands for: a function, a constant or a letter of mathematics, or else text."""
    inside = _SPACE.sub(" ", found["old"] or found["braced"] or found["bare"] or "").strip()
    name = inside.removeprefix("\\")
    if name in FUNCTIONS or name in SYNONYMS:
        return rf"\{name} "
    if found[0].startswith((r"\text", r"\mathop")):
        return found[0]
    if len(inside) == 1 and inside.isalpha():
        return rf"\text{{{inside}}}" if _is_unit_letter(inside, found) else f" {inside}"
    if re.fullmatch(r"[A-Za-z][A-Za-z ./-]*", inside):
        return rf"\text{{{found['old'] or found['braced'] or inside}}}"
    names = re.findall("[a-zA-Z]+", inside)
    if _POWERS_OF_UNITS.fullmatch(inside) and all(len(name) > 1 or _is_unit_letter(name, found) for name in names):
        return re.sub("[a-zA-Z]+", r"\\text{\g<0>}", inside)
    return f" {inside} "


def _is_unit_letter(letter: str, found: re.Match[str]) -> bool:
    """Say whether an upright letter is a unit's name: one of the few, right behind a number, and no `C_5^2`."""
    behind_a_number = _BEHIND_A_NUMBER.search(found.string, 0, found.start()) is not None
    return letter in _UNIT_LETTERS and behind_a_number and found.string[found.end() : found.end() + 1] != "_"


def _unwrapped(text: str) -> str:
    """Take off what stands around the whole: a full stop, a box, and Markdown's or a quotation's marks."""
    while True:
        before, text = text, text.strip()
        if text.endswith((".", ";", ",")) and not text.endswith("\\,"):
            text = text[:-1].rstrip()
        text = without_box(text)
        if re.fullmatch(r"\{[^,]*[^,\s][^,]*\}", text) and is_balanced(text[1:-1]):  # with a comma it is a set
            text = text[1:-1]
        for opening, closing in _WRAPPINGS:
            inside = text[len(opening) : -len(closing)]
            if len(text) > len(opening + closing) and text.startswith(opening) and text.endswith(closing):
                text = inside if opening not in inside else text
        if text == before:
            return text


def without_box(text: str) -> str:
    r"""Return what stands in a `\boxed{}` or `\fbox{}` that is all of the text."""
    for box in (r"\boxed{", r"\fbox{"):
        if text.startswith(box) and text.endswith("}") and is_balanced(text[len(box) : -1]):
            return text[len(box) : -1]
    return text
