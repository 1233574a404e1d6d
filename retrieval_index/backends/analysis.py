"""The analyser: how texts and queries become the terms that an index holds. All back ends use this one.

A text is normalised (Unicode's NFKC), accents are removed, letters that have a counterpart in ASCII are replaced by it
(ø is o, ß is ss), and runs of a script that is written without spaces become single characters and pairs of neighbours.
The rest is split at all that is neither a letter nor a digit, put into lower case, and stemmed by Snowball's English
stemmer.

Stopwords are indexed. A query is searched for its other words; if there is at most one, for its stopwords too: in
titles alone ("There Will Be Blood"), or everywhere if there is nothing else. A title that consists of stopwords ("The
Who", "This Is Us (TV series)") is also one word, theːwhoː, and a query is searched for its neighbouring stopwords in
this form, so that "drummer of The Who" finds the band.

Words are split and stemmed by tantivy's analyser, because it is compiled, and because its stemmer changes only with
tantivy's version, which is pinned.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import tantivy

ANALYSER = "english-cjk 2"
"""Name and version, kept in every manifest. Raise the version whenever a text gets other terms than before."""

LONGEST_WORD = 40
"""Bytes. Words of this length and longer (addresses, noise) are neither indexed nor searched for."""

MAX_QUERY_TERMS = 64
"""Distinct terms of one query that are searched for; the rest of a longer query is ignored. Real questions have about
ten (the longest of OTT-QA's dev set has under 50 words). Without a limit, one query of a megabyte would occupy a worker
for minutes."""

MAX_QUERY_CHARACTERS = 20_000
"""Characters of one query that are read at all, so that even splitting a huge query is cheap."""

_FUNCTION_WORDS = """
    a about above after again against all also am an and any are as at be became because been before being below
    between both but by can could did do does doing done down during each either else ever few for from further had
    has have having he her here hers herself him himself his how i if in into is it its itself just me more most my
    myself no nor not of off on once only or other our ours ourselves out over own s same she should so some such t
    than that the their theirs them themselves then there these they this those through to too under until up upon
    us very was we were what when where whether which while who whom whose why will with within would you your yours
    yourself yourselves
    """
STOPWORDS = frozenset(_FUNCTION_WORDS.split())
"""English words without content of their own."""

_MARK = "ː"
"""Ends every word of the term for a title that consists of stopwords, and begins the term for a stopword in a title
where title and text are one field. It counts as a letter, so that no word is split at it; English does not have it."""

_LONGEST_TITLE = 8
"""Words of a title that consists of stopwords."""

_SHORT_RUN = 8
"""Characters. The normal form of a run as short as this ("é", "–") is cached."""

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_IN_BRACKETS = re.compile(r"(?<!\s)\s*\([^()]*\)\s*$")  # "Them (band)"; a run of white space is gone through once
_MARKS = re.compile("[\u0300-\u036f\u00ad\u200c\u200d\ufeff]+")  # accents, and invisible characters inside words
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Burmese, Khmer
    "\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\uac00-\ud7af"  # Japanese, Korean
    "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]+"  # Chinese characters
)


def _chain(tokenizer: tantivy.Tokenizer, *filters: tantivy.Filter) -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tokenizer)
    for each in filters:
        builder = builder.filter(each)
    return builder.build()


_SPLIT = (tantivy.Filter.remove_long(LONGEST_WORD), tantivy.Filter.lowercase())
_STEM = tantivy.Filter.stemmer("english")

WORDS = _chain(tantivy.Tokenizer.simple(), *_SPLIT, _STEM)
"""Turns a prepared text (see `prepared`) into terms."""
_UNSTEMMED_WORDS = _chain(tantivy.Tokenizer.simple(), *_SPLIT)
_STEMS = _chain(tantivy.Tokenizer.whitespace(), _STEM)
_ASCII_LETTERS = _chain(tantivy.Tokenizer.raw(), tantivy.Filter.ascii_fold())


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """What a query is searched for: distinct terms, `MAX_QUERY_TERMS` of each kind at most.

    Attributes:
        anywhere: Terms that count in titles and texts.
        in_titles: Terms that count in titles alone.
        whole_titles: Terms that stand for a whole title each.
        only_stopwords: Whether the query has words, and all of them are stopwords.
    """

    anywhere: list[str]
    in_titles: list[str]
    whole_titles: list[str]
    only_stopwords: bool = False

    def in_one_field(self) -> list[str]:
        """Return the terms for an index that holds what `document_terms` returns."""
        return [*self.anywhere, *(_MARK + term for term in self.in_titles), *self.whole_titles]


def query_terms(query: str) -> QueryTerms:
    """Return what to search for: nothing where the query has no word."""
    readable = query[:MAX_QUERY_CHARACTERS].encode("utf-8", "ignore").decode("utf-8")  # without lone surrogates
    words = _UNSTEMMED_WORDS.analyze(_replaced(readable, lambda run: _pairs(run) or [run]))
    others = _distinct_stems([word for word in words if word not in STOPWORDS])
    if len(others) > 1:
        return QueryTerms(others, [], _titles_in(words, single_words=False))
    stopwords = _distinct_stems([word for word in words if word in STOPWORDS])
    titles = _titles_in(words, single_words=True)
    return QueryTerms(others or stopwords, stopwords, titles, only_stopwords=bool(stopwords) and not others)


def document_terms(title: str, text: str) -> list[str]:
    """Return the terms of a document for an index with one field, with repetitions."""
    stopwords = STOPWORDS.intersection(_UNSTEMMED_WORDS.analyze(prepared(title)))
    marked = [_MARK + stem for stem in _distinct_stems(sorted(stopwords))]
    return [*WORDS.analyze(f"{prepared_title(title)}\n{prepared(text)}"), *marked]


def prepared(text: str) -> str:
    """Return a document's text as `WORDS` takes it: normalised, without accents, unspaced scripts taken apart."""
    return _replaced(text, lambda run: [*run, *_pairs(run)])


def prepared_title(title: str) -> str:
    """Return a title as `prepared` does, with the word that stands for it if it consists of stopwords."""
    words = _UNSTEMMED_WORDS.analyze(prepared(_IN_BRACKETS.sub("", title)))
    is_stopwords = len(words) <= _LONGEST_TITLE and STOPWORDS.issuperset(words)
    return f"{prepared(title)} {_title_term(words)}" if is_stopwords else prepared(title)


def _titles_in(words: list[str], single_words: bool) -> list[str]:
    """Return the terms for all titles that neighbouring stopwords of a query may be, lone ones if `single_words`."""
    titles: list[str] = []
    row: list[str] = []
    for word in [*words[:MAX_QUERY_TERMS], ""]:
        if word in STOPWORDS:
            row.append(word)
            titles += [_title_term(row[-length:]) for length in range(2, min(len(row), _LONGEST_TITLE) + 1)]
        else:
            titles += [_title_term(row)] if single_words and len(row) == 1 else []
            row = []
    return list(dict.fromkeys(titles))[:MAX_QUERY_TERMS]


def _title_term(words: list[str]) -> str:
    return "".join(word + _MARK for word in words)


def _replaced(text: str, unspaced: Callable[[str], list[str]]) -> str:
    """Normalise a text; `unspaced` returns the words that replace a run of an unspaced script."""
    if text.isascii():
        return text

    def replace(run: re.Match[str]) -> str:
        normal = _normalised(run.group())
        if normal.isascii():
            return normal
        return _UNSPACED.sub(lambda found: f" {' '.join(unspaced(found.group()))} ", normal)

    return _NOT_ASCII.sub(replace, text)


def _normalised(run: str) -> str:
    return _normalised_short(run) if len(run) <= _SHORT_RUN else _normalised_short.__wrapped__(run)


@lru_cache(maxsize=1 << 14)
def _normalised_short(run: str) -> str:
    """Return a run in NFKC, without accents, in ASCII letters where there are some."""
    without_marks = _MARKS.sub("", unicodedata.normalize("NFKD", run))
    return "".join(_ASCII_LETTERS.analyze(unicodedata.normalize("NFKC", without_marks)))


def _pairs(run: str) -> list[str]:
    """Return all pairs of neighbouring characters."""
    return [run[place : place + 2] for place in range(len(run) - 1)]


def _distinct_stems(words: list[str]) -> list[str]:
    return list(dict.fromkeys(_STEMS.analyze(" ".join(words))))[:MAX_QUERY_TERMS] if words else []
