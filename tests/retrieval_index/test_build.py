"""Building: what is refused, what the manifest promises, and that nothing half-built can ever be opened."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval_index import CorpusError, Document, IndexStateError, RetrievalError, build_index, open_index
from retrieval_index.build.build import is_current
from retrieval_index.manifest import FORMAT_VERSION

DOCUMENTS = [Document(str(number), f"Title {number}", f"some text w{number}") for number in range(20)]


@pytest.fixture
def built(tmp_path: Path) -> Path:
    build_index(DOCUMENTS, tmp_path / "index", source={"corpus": "test"})
    return tmp_path / "index"


def change_manifest(path: Path, **changes: object) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([*DOCUMENTS, Document("7", "", "other")], "documents 7 and 20 have the same id '7'"),
        ([*DOCUMENTS, *DOCUMENTS[::-1]], "documents 19 and 20 have the same id '19'"),
        ([DOCUMENTS[0], Document("", "Nameless", "x")], r"document 1 \(title 'Nameless'\) has an empty id"),
        ([Document("a", None, "x")], "document 0 .* has a title of type NoneType"),
        ([Document("a", "", "\ud800")], "document 0 .* has a lone surrogate in its text"),
        ([Document("a" * 2000, "", "x")], "an id over 1024 bytes"),
        ([], "the corpus has no documents"),
    ],
)
def test_bad_documents_are_named_and_leave_nothing_behind(
    documents: list[Document], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match=message):
        build_index(documents, tmp_path / "index")
    assert not list(tmp_path.iterdir())


def test_ids_may_hold_any_character(tmp_path: Path) -> None:
    names = ["a b", "a\nb", "a", "b", " ", "\x00", "/wiki/Ü", "日本"]
    build_index([Document(name, "", "x") for name in names], tmp_path / "index")
    index = open_index(tmp_path / "index")
    assert [index.get(name) is not None for name in names] == [True] * len(names)


def test_the_manifest_says_what_was_built(built: Path, tmp_path: Path) -> None:
    manifest = open_index(built).manifest
    assert (manifest.engine, manifest.documents, manifest.source) == ("tantivy", 20, {"corpus": "test"})
    again = build_index(DOCUMENTS, tmp_path / "again", "rank_bm25")
    assert again.corpus_hash == manifest.corpus_hash
    other = build_index([Document("0", "Title", "0some text"), *DOCUMENTS[1:]], tmp_path / "other")
    assert other.corpus_hash != manifest.corpus_hash


def test_an_index_is_replaced_only_when_asked(built: Path) -> None:
    with pytest.raises(IndexStateError, match="pass overwrite"):
        build_index(DOCUMENTS[:3], built)
    build_index(DOCUMENTS[:3], built, overwrite=True)
    assert open_index(built).manifest.documents == 3
    assert [path.name for path in built.parent.iterdir()] == ["index"]


def test_a_folder_that_is_no_index_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(IndexStateError, match="exists and is not an index"):
        build_index(DOCUMENTS, tmp_path / "precious", overwrite=True)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"


def test_an_index_that_is_being_replaced_goes_on_answering(built: Path) -> None:
    index = open_index(built)
    build_index(DOCUMENTS[:3], built, overwrite=True)
    assert index.search(["w19"], 1)[0][0].document.id == "19"


def test_a_failed_build_leaves_the_old_index(built: Path) -> None:
    def broken() -> Iterator[Document]:
        yield from DOCUMENTS[:5]
        raise OSError(28, "No space left on device")

    with pytest.raises(
        RetrievalError, match=r"the disk takes no more \(No space left on device\): make room and build"
    ):
        build_index(broken(), built, overwrite=True)
    assert open_index(built).manifest.documents == 20
    assert [path.name for path in built.parent.iterdir()] == ["index"]


def test_the_second_of_two_builds_at_one_place_is_refused(tmp_path: Path) -> None:
    def interrupted() -> Iterator[Document]:
        yield from DOCUMENTS
        (tmp_path / "index").mkdir()
        (tmp_path / "index" / "manifest.json").write_text("{}")

    with pytest.raises(IndexStateError, match=r"there is an index at .* already"):
        build_index(interrupted(), tmp_path / "index")
    assert (tmp_path / "index" / "manifest.json").read_text() == "{}"


def test_nothing_stands_at_the_place_while_building(tmp_path: Path) -> None:
    seen: list[bool] = []
    build_index(DOCUMENTS, tmp_path / "index", progress=lambda count: seen.append((tmp_path / "index").exists()))
    assert seen == [False] * 20


def test_a_missing_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(IndexStateError, match=r"no index at .*nowhere: build one with"):
        open_index(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"format_version": FORMAT_VERSION + 1},
            f"has format version {FORMAT_VERSION + 1}, this program reads version {FORMAT_VERSION}: build it again",
        ),
        ({"format_version": 1}, "has format version 1, this program reads version 2: build it again"),
        (
            {"analyser": "english-cjk 1"},
            "built with the analyser 'english-cjk 1', and queries would be .*build it again",
        ),
        ({"analyser": None}, "has no usable 'analyser'"),
        ({"format_version": "one"}, "is not the manifest of an index"),
        ({"engine_version": "0.1.0"}, r"built with tantivy 0\.1\.0, installed is .*install that version, or build it"),
        ({"engine": "faiss"}, "no retrieval back end 'faiss'"),
        ({"documents": None}, "has no usable 'documents'"),
        ({"files": {}}, "are not the ones its manifest.json lists"),
    ],
)
def test_a_foreign_manifest_is_refused_with_the_mend(built: Path, changes: dict[str, object], message: str) -> None:
    change_manifest(built, **changes)
    with pytest.raises(IndexStateError, match=message):
        open_index(built)


@pytest.mark.parametrize(
    ("text", "message"), [(None, "is no finished index"), ('{"a', "cannot be read"), ("[]", "is not")]
)
def test_a_half_built_index_is_refused(built: Path, text: str | None, message: str) -> None:
    if text is None:
        (built / "manifest.json").unlink()
    else:
        (built / "manifest.json").write_text(text)
    with pytest.raises(IndexStateError, match=message):
        open_index(built)


def test_a_current_index_is_told_from_others(built: Path, tmp_path: Path) -> None:
    assert is_current(built, "tantivy", {"corpus": "test"})
    assert not is_current(built, "tantivy", {"corpus": "other"})
    assert not is_current(built, "tantivy", {"corpus": "test"}, title_weight=1.0)
    assert not is_current(built, "rank_bm25", {"corpus": "test"})
    assert not is_current(tmp_path / "nowhere", "tantivy", {"corpus": "test"})


def test_a_disk_that_takes_no_more_stops_the_build_with_a_sentence(tmp_path: Path) -> None:
    """In a child process whose files may not grow beyond 100 kB."""
    program = (
        "import resource, signal, sys\n"
        "from retrieval_index import Document, RetrievalError, build_index\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "words = lambda n: ' '.join(f'w{n * 31 + i}' for i in range(50))\n"
        "try:\n"
        "    build_index((Document(str(n), '', words(n)) for n in range(4000)), sys.argv[1])\n"
        "except (RetrievalError, OSError) as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "index")]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "tantivy cannot write the index" in shown or "the disk takes no more (File too large)" in shown
    assert not list(tmp_path.iterdir())
