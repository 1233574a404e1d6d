"""What an index holds of a benchmark's rows, on a corpus small enough to count by hand."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from retrieval_index import CorpusError, Document, Index, build_index, open_index
from retrieval_index.cli.app import app
from retrieval_index.coverage import GoldRow, coverage, read_gold_rows, words

DOCUMENTS = (
    Document("film", "Heat Wave (film)", "A film of 1990 that Ada Moss directed."),
    Document("ada", "Ada Moss", "Ada Moss, or A. Moss, is a director. Ada Moss was born in Fernhill."),
    Document("fern", "Fernhill", "Fernhill is a town on the river Tarn. Fernhill, or Old Fernhill, has 900 people."),
    Document("tarn", "Tarn", "The Tarn is a river. The Tarn, or Little Tarn, has its source in the Zürich mountains."),
    *(Document(f"other{number}", f"Film {number}", f"A film of {1900 + number}.") for number in range(20)),
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coverage") / "index"
    build_index(DOCUMENTS, folder)
    return folder


@pytest.fixture
def opened(index: Path) -> Index:
    return open_index(index)


def of(opened: Index, question: str, answer: str, *gold: str, top_k: int = 1, most: int = 4):
    return next(coverage(opened, [GoldRow("q", question, (answer,), gold)], top_k, most))


def test_each_hop_is_a_search(opened: Index) -> None:
    """The film names its director, the director her town, the town its river."""
    question, gold = "Who directed Heat Wave?", ("film", "ada", "fern", "tarn")
    assert of(opened, question, "Ada Moss", *gold).searches == 1
    assert of(opened, question, "Fernhill", *gold).searches == 2
    assert of(opened, question, "900", *gold).searches == 3
    assert of(opened, question, "zurich mountains", *gold).searches == 4
    assert of(opened, question, "zurich mountains", *gold, most=3).searches is None


def test_a_title_that_nobody_named_is_not_asked_for(opened: Index) -> None:
    assert of(opened, "Who directed Heat Wave?", "900", "film", "fern").searches is None


def test_a_yes_is_answered_once_all_gold_documents_were_read(opened: Index) -> None:
    found = of(opened, "Did Ada Moss, born in Fernhill, direct Heat Wave?", "yes", "film", "ada", "fern")
    assert (found.searches, found.in_gold, found.in_index) == (3, None, None)


def test_ranks_and_what_is_missing(opened: Index) -> None:
    found = of(opened, "Ada Moss", "1990", "ada", "gone", "tarn")
    assert found.missing == ("gone",)
    assert found.question_ranks == (1, None, None)
    assert found.title_ranks == (1, None, 1)
    assert (found.in_gold, found.in_index) == (False, True)
    assert of(opened, "Ada Moss", "nowhere at all", "ada").in_index is False


def test_whole_words_are_compared_without_case_accents_and_punctuation(opened: Index) -> None:
    assert words("Café-Bar, (Łódź)  No. 5!") == "cafe bar łodz no 5"
    assert of(opened, "Tarn", "90", "fern").in_gold is False
    assert of(opened, "Tarn", "river tarn", "fern").in_gold is True


def write_rows(file: Path, **changes: object) -> Path:
    row = {"extra_info": {"question": "Who directed Heat Wave?", "id": "7"}}
    row["reward_model"] = {"ground_truth": {"answers": ["Ada Moss"], "document_ids": ["film", "ada"]}}
    pq.write_table(pa.Table.from_pylist([{**row, **changes}]), file)
    return file


def test_the_command_says_it_and_writes_it(index: Path, tmp_path: Path) -> None:
    rows, out = write_rows(tmp_path / "rows.parquet"), tmp_path / "coverage.jsonl"
    done = CliRunner().invoke(app, ["coverage", str(index), str(rows), "--out", str(out)], env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    assert "a reader without mistakes has read the answer │ 1.000" in done.output
    (line,) = map(json.loads, out.read_text().splitlines())
    assert (line["row"]["id"], line["question_ranks"], line["searches"]) == ("7", [1, None], 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reward_model": {"ground_truth": {"answers": []}}}, "row 0: reward_model.ground_truth.answers is missing"),
        ({"extra_info": {"index": 0}}, "row 0: extra_info.question is missing"),
    ],
)
def test_a_row_without_what_is_needed_is_named(tmp_path: Path, changes: dict, sentence: str) -> None:
    with pytest.raises(CorpusError, match=sentence):
        read_gold_rows(write_rows(tmp_path / "rows.parquet", **changes))


def test_a_file_that_holds_no_rows_of_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(CorpusError, match=r"text\.parquet is no parquet file"):
        read_gold_rows(tmp_path / "text.parquet")
    pq.write_table(pa.table({"question": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(CorpusError, match=r"other\.parquet has no column extra_info"):
        read_gold_rows(tmp_path / "other.parquet")
