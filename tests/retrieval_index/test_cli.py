"""`python -m retrieval_index`: what it prints, and that errors are one sentence and exit status 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from retrieval_index.cli.app import app, shortened


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text(
        '{"id": "otter", "title": "Otter [red]", "text": "lives near rivers"}\n{"id": "heron", "text": "eats frogs"}\n'
    )
    return path


def test_build_then_info_then_search(tmp_path: Path, corpus: Path) -> None:
    index = tmp_path / "index"
    built = run("build", index, corpus, "--corpus", "jsonl", "--parameter", "title_weight=2")
    assert built.exit_code == 0, built.output
    assert "2 documents indexed" in built.output
    shown = run("info", index).output
    assert "tantivy" in shown
    assert "title_weight=2" in shown
    assert "corpus=jsonl" in shown
    assert "1. Otter [red]  otter" in run("search", index, "river").output
    assert json.loads(run("search", index, "frogs", "--json", "--top-k", 1).output)["id"] == "heron"
    assert "analyser        english-cjk 2" in shown
    assert "Nothing found: no word of the query is in the index" in run("search", index, "granite").output


def test_a_query_of_stopwords_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text(
        '{"id": "ford", "text": "The Model T"}\n{"id": "otter", "text": "a river"}\n'
    )
    assert run("build", tmp_path / "index", tmp_path / "corpus.jsonl", "--corpus", "jsonl").exit_code == 0
    stopword, unknown, word = (run("search", tmp_path / "index", query) for query in ("T", "upon", "model"))
    assert "1. ford" in stopword.stdout
    assert "Every word of this query is a stopword" in stopword.stderr
    assert "Nothing found" in unknown.stdout
    assert "Every word of this query is a stopword" in unknown.stderr
    assert word.stderr == ""


def test_a_terminal_is_not_driven_by_a_corpus(tmp_path: Path) -> None:
    row = {"id": "\x1b]0;x\x07", "title": "Otter \u202e", "text": "otter \x1b[2J [red]not red[/red]"}
    (tmp_path / "corpus.jsonl").write_text(json.dumps(row))
    assert run("build", tmp_path / "index", tmp_path / "corpus.jsonl", "--corpus", "jsonl").exit_code == 0
    shown = run("search", tmp_path / "index", "otter").stdout
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert "[red]not red[/red]" in shown


def test_skip_existing_builds_only_when_something_changed(tmp_path: Path, corpus: Path) -> None:
    build = ("build", tmp_path / "index", corpus, "--corpus", "jsonl", "--skip-existing", "--overwrite")
    assert "indexed" in run(*build).output
    assert "holds this corpus already" in run(*build).output
    assert "indexed" in run(*build, "--parameter", "title_weight=1").output
    corpus.write_text('{"id": "1", "text": "other"}\n')
    assert "1 documents indexed" in run(*build, "--parameter", "title_weight=1").output


def test_conflicting_paragraphs_are_counted(tmp_path: Path) -> None:
    rows = [{"context": [["A", ["One."]], ["B", ["Two."]]]}, {"context": [["A", ["Other."]], ["B", ["Two."]]]}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    shown = run("build", tmp_path / "index", tmp_path / "rows.json", "--corpus", "hotpotqa-distractor").output
    assert "2 documents indexed" in shown
    assert "1 paragraphs came again with another text, such as 'A'" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "nowhere"), "there is no index at nowhere"),
        (("search", "nowhere", "q"), "there is no index at nowhere"),
        (("build", "index", "nowhere.jsonl", "--corpus", "jsonl"), "nowhere.jsonl cannot be read"),
        (("build", "index", "corpus.jsonl", "--corpus", "trec"), "there is no corpus 'trec': choose one of"),
        (("build", "index", "corpus.jsonl", "--corpus", "jsonl", "--backend", "x"), "no retrieval back end 'x'"),
        (("build", "index", "corpus.jsonl", "--corpus", "jsonl", "--parameter", "k1"), "wants NAME=VALUE, got 'k1'"),
    ],
)
def test_errors_are_one_sentence(
    arguments: tuple[str, ...], message: str, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(corpus.parent)
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
    assert not Path("index").exists()


def test_shortened_text_ends_at_a_word() -> None:
    assert shortened("one two three", 8) == "one two ..."
    assert shortened("one two", 8) == "one two"
