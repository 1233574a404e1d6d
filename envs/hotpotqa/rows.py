"""Read the supporting facts of a raw row of HotpotQA, in the official and in the hub's schema."""

from __future__ import annotations

from wapo_verl.environments.raw_rows import RawRow

_FACTS = "must be pairs [title, sentence number], or {'title': [..], 'sent_id': [..]} of one length"


def supporting_facts(raw: RawRow) -> list[tuple[str, int]]:
    """Return the row's supporting facts as (title, sentence number), in their order.

    Raises:
        RowError: where they are missing or of another form.
    """
    facts = raw.values.get("supporting_facts")
    if isinstance(facts, dict):
        titles, sentences = facts.get("title"), facts.get("sent_id")
        if not isinstance(titles, list) or not isinstance(sentences, list) or len(titles) != len(sentences):
            raise raw.error("supporting_facts", _FACTS)
        pairs = list(zip(titles, sentences, strict=True))
    elif isinstance(facts, list) and all(isinstance(fact, list) and len(fact) == 2 for fact in facts):
        pairs = [(title, sentence) for title, sentence in facts]
    else:
        raise raw.error("supporting_facts", _FACTS)
    if not all(isinstance(title, str) and title and type(sentence) is int for title, sentence in pairs):
        raise raw.error("supporting_facts", _FACTS)
    return pairs
