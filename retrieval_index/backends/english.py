"""English words that carry no content in a query. All back ends drop them from queries, not from documents."""

from __future__ import annotations

import re

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

MAX_QUERY_WORDS = 64
"""Distinct content words of one query that are searched for; the rest of a longer query is ignored. Real questions have
about ten (the longest of OTT-QA's dev set has under 50 words in all); without a cap, one query of a megabyte would take
a worker for minutes."""

MAX_QUERY_CHARACTERS = 20_000
"""Characters of one query that are looked at at all, so that even splitting a huge query stays cheap."""


def clean_query(query: str) -> str:
    """The part of a query that is looked at, without what UTF-8 cannot hold (lone surrogates)."""
    return query[:MAX_QUERY_CHARACTERS].encode("utf-8", "ignore").decode("utf-8")


_WHOLE_WORD = re.compile(r"(?<![\w'’])[^\W_]+(?![\w'’])")


def without_stopwords(query: str) -> str:
    """The query without its stopwords, for engines that split it into words themselves."""
    return _WHOLE_WORD.sub(lambda word: "" if word.group().lower() in STOPWORDS else word.group(), query)
