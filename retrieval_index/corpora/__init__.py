"""Readers of corpora. Each streams documents; a CorpusError names file, row and field, and says how to fix it."""

from retrieval_index.corpora.hotpotqa import read_hotpotqa_abstracts, read_hotpotqa_distractor
from retrieval_index.corpora.jsonl import read_jsonl
from retrieval_index.corpora.ottqa import read_ottqa

__all__ = ["read_hotpotqa_abstracts", "read_hotpotqa_distractor", "read_jsonl", "read_ottqa"]
