"""The interface itself: options, registry, episode records, a small environment made here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.environments import registry
from wapo_verl.environments.environment import Environment, Example, RowError
from wapo_verl.environments.episode import OUTCOMES, Episode


class Sums(Environment):
    """A single-turn environment, answered in the completion's last word."""

    name, ability, splits = "sums", "math", ("train",)
    agent_name = "single_turn_agent"
    options = {"terms": 2, "scale": 1.0, "signed": False, "style": "plain"}  # noqa: RUF012

    def examples(self, split: str, source: Path | None, **options: Any) -> Iterator[Example]:
        terms = self.resolve_options(options)["terms"]
        yield Example(" + ".join("1" * terms), (str(terms),))

    def prompt(self, example: Example) -> list[dict[str, str]]:
        return [{"role": "user", "content": example.question}]

    def parts(self, episode: Episode, ground_truth: Any) -> dict[str, float]:
        words = episode.completion.split()
        return {"exact_match": float(bool(words) and words[-1] in ground_truth["answers"])}


def test_options_take_their_defaults_type() -> None:
    given_as_text = {"terms": "3", "scale": "2", "signed": "TRUE", "style": "x"}
    assert Sums().resolve_options(given_as_text) == {"terms": 3, "scale": 2.0, "signed": True, "style": "x"}
    assert Sums().resolve_options({}) == dict(Sums.options)


@pytest.mark.parametrize(("name", "value"), [("terms", "3.5"), ("terms", True), ("signed", "1"), ("scale", "much")])
def test_an_option_that_does_not_convert_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"option '{name}' takes a value of type"):
        Sums().resolve_options({name: value})


def test_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'term'; its options: scale, signed, style, terms"):
        Sums().resolve_options({"term": 3})


def test_a_single_turn_environment_is_scored_by_its_completion() -> None:
    env = Sums()
    row = env.row(next(env.examples("train", None)), "train", 0)
    assert row["agent_name"] == "single_turn_agent"
    assert env.score(Episode(None, completion="it is 2"), row["reward_model"]["ground_truth"])["score"] == 1.0
    with pytest.raises(ValueError, match="'sums' has no documents"):
        env.documents(None)


def test_an_unknown_environment_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no environment 'otqa'; the environments are .*ottqa"):
        registry.environment("otqa")


def test_a_folder_alone_makes_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zz_new").mkdir()
    (tmp_path / "zz_new" / "__init__.py").write_text("ENVIRONMENT = None\n")
    monkeypatch.setattr(registry.installed, "__path__", [*registry.installed.__path__, str(tmp_path)])
    assert "zz_new" in registry.names()
    with pytest.raises(ValueError, match=r"zz_new/__init__\.py must set ENVIRONMENT"):
        registry.environment("zz_new")


def test_a_row_error_names_file_row_and_field() -> None:
    assert str(RowError("a.json", 3, "answer", "is missing")) == "a.json, row 3, field 'answer': is missing"


words = st.text(max_size=8)


@given(
    st.builds(
        Episode,
        answer=words,
        queries=st.lists(words, max_size=3).map(tuple),
        document_ids=st.lists(st.lists(words, max_size=3).map(tuple), max_size=3).map(tuple),
        turns=st.integers(1, 10),
        completion=words,
    )
)
def test_a_record_gives_its_episode_back(episode: Episode) -> None:
    assert Episode.from_record(episode.to_record()) == episode


def test_episodes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="outcome 'tired' is unknown"):
        Episode(None, outcome="tired")
    for outcome in OUTCOMES[1:]:
        with pytest.raises(ValueError, match="has no answer"):
            Episode("Vesk", outcome=outcome)
    with pytest.raises(ValueError, match="unknown key 'reply'"):
        Episode.from_record({"answer": None, "reply": "Vesk"})
    with pytest.raises(ValueError, match="no key 'answer'"):
        Episode.from_record({"turns": 2})
