"""The corpora's readers: small files in every upstream layout, malformed ones, and the real slices where they exist."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import DATA

from retrieval_index import CorpusError, Document
from retrieval_index.corpora import (
    files,
    hotpotqa,
    read_hotpotqa_abstracts,
    read_hotpotqa_distractor,
    read_jsonl,
    read_ottqa,
)
from retrieval_index.corpora.hotpotqa import join_sentences
from retrieval_index.corpora.ottqa import TABLE_MARK
from retrieval_index.corpora.sources import CorpusDocuments, fingerprint

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")

PASSAGES = {"/wiki/Prime_Suspect": "A series .", "/wiki/%C3%84gypten": 'It says "{[\\u00e4" .'}
TABLE = {
    "uid": "Films_0",
    "title": "Films",
    "url": "",
    "section_title": "1990s",
    "section_text": "Of the decade .",
    "intro": "All films .",
    "header": ["Year", "Title"],
    "data": [["1997", "Bean | The\nMovie"], ["1999", ""]],
}
LINKED = TABLE | {
    "header": [["Year", []], ["Title", []]],
    "data": [[["1997", []], ["Bean | The\nMovie", ["/wiki/Bean"]]], [["1999", []], ["", []]]],
}
TABLE_TEXT = (
    "1990s\nMarkdown Table:\n| Year | Title |\n| --- | --- |\n| 1997 | Bean / The Movie |\n| 1999 |  |\n"
    "Of the decade .\nAll films ."
)
ABSTRACT = {"id": 12, "url": "u", "title": "Anarchism", "text": ["Anarchism is one.", " It is two.", "And three."]}


def write_json(path: Path, value: object) -> None:
    text = json.dumps(value).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


@pytest.mark.parametrize(
    ("passages", "tables", "table"),
    [
        ("all_passages.json", "all_plain_tables.json", TABLE),
        ("all_passages.json.gz", "traindev_tables.json.gz", LINKED),
        ("all_passages.json.gz", "traindev_tables.json", LINKED),
    ],
)
def test_ottqa_in_every_layout(tmp_path: Path, passages: str, tables: str, table: dict[str, object]) -> None:
    write_json(tmp_path / passages, PASSAGES)
    write_json(tmp_path / tables, {"Films_0": table})
    assert list(read_ottqa(tmp_path)) == [
        Document("/wiki/Prime_Suspect", "Prime Suspect", "A series ."),
        Document("/wiki/%C3%84gypten", "Ägypten", PASSAGES["/wiki/%C3%84gypten"]),
        Document("Films_0", "Films", TABLE_TEXT),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uid": None}, r"all_plain_tables\.json, table 'Films_0': field 'uid' must be a string and is a NoneType"),
        ({"header": "Year"}, "table 'Films_0': field 'header' must be a list of cells"),
        ({"data": [["1997", "x"], ["1999", 7]]}, "field 'data', row 1, cell 1 is neither text nor"),
        ({"data": {}}, "field 'data' must be a list of rows"),
        ({"intro": 3}, "field 'intro' must be a string"),
    ],
)
def test_a_malformed_table_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_json(tmp_path / "all_passages.json", PASSAGES)
    write_json(tmp_path / "all_plain_tables.json", {"Films_0": TABLE | change})
    with pytest.raises(CorpusError, match=message):
        list(read_ottqa(tmp_path))


def test_ottqa_needs_both_files(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no all_passages\.json \(or \.gz\)"):
        list(read_ottqa(tmp_path))
    write_json(tmp_path / "all_passages.json", {"/wiki/A": None})
    with pytest.raises(CorpusError, match=r"has no all_plain_tables\.json or traindev_tables\.json"):
        list(read_ottqa(tmp_path))
    write_json(tmp_path / "all_plain_tables.json", {})
    with pytest.raises(CorpusError, match="passage '/wiki/A' is a NoneType, not text"):
        list(read_ottqa(tmp_path))


def abstracts_archive(path: Path, lines: list[bytes]) -> Path:
    packed = bz2.compress(b"\n".join(lines))
    with tarfile.open(path, "w:bz2") as archive:
        member = tarfile.TarInfo("abstracts/AA/wiki_00.bz2")
        member.size = len(packed)
        archive.addfile(member, io.BytesIO(packed))
    return path


def test_abstracts_from_the_archive_and_from_a_folder(tmp_path: Path) -> None:
    lines = [json.dumps(ABSTRACT).encode(), json.dumps(ABSTRACT | {"title": "B", "text": []}).encode()]
    expected = [
        Document("Anarchism", "Anarchism", "Anarchism is one. It is two. And three."),
        Document("B", "B", ""),
    ]
    assert list(read_hotpotqa_abstracts(abstracts_archive(tmp_path / "abstracts.tar.bz2", lines))) == expected
    (tmp_path / "AA").mkdir()
    (tmp_path / "AA" / "wiki_00.bz2").write_bytes(bz2.compress(b"\n".join(lines)))
    assert list(read_hotpotqa_abstracts(tmp_path)) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"title": "A", "text": "one string"}', r"wiki_00\.bz2, line 2: field 'text' must be a list of strings"),
        (b'{"text": []}', "line 2: field 'title' must be a string and is missing"),
        (b"{", "line 2 is not JSON"),
        (b"[]", "line 2 is a list, not an object"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_malformed_abstract_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    archive = abstracts_archive(tmp_path / "abstracts.tar.bz2", [json.dumps(ABSTRACT).encode(), line])
    with pytest.raises(CorpusError, match=message):
        list(read_hotpotqa_abstracts(archive))


def test_archives_that_are_none(tmp_path: Path) -> None:
    whole = abstracts_archive(tmp_path / "abstracts.tar.bz2", [json.dumps(ABSTRACT).encode()] * 9).read_bytes()
    (tmp_path / "cut.tar.bz2").write_bytes(whole[:-40])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"cut\.tar\.bz2 cannot be read \(Compressed file ended"):
        list(read_hotpotqa_abstracts(tmp_path / "cut.tar.bz2"))
    with pytest.raises(CorpusError, match="no files wiki_"):
        list(read_hotpotqa_abstracts(tmp_path / "empty"))
    with pytest.raises(CorpusError, match="does not exist"):
        list(read_hotpotqa_abstracts(tmp_path / "nowhere.tar.bz2"))


def test_the_union_of_distractor_rows_in_both_schemas(tmp_path: Path) -> None:
    official = [{"_id": "1", "context": [["A", ["One.", " Two."]], ["B", ["Three."]]]}]
    hugging_face = [
        {"id": "2", "context": {"title": ["B", "C", "A"], "sentences": [["Other."], ["Four."], ["One. Two."]]}}
    ]
    write_json(tmp_path / "official.json", official)
    write_json(tmp_path / "hugging_face.json", hugging_face)
    conflicts: list[str] = []
    documents = list(
        read_hotpotqa_distractor(
            tmp_path / "official.json", tmp_path / "hugging_face.json", on_conflict=conflicts.append
        )
    )
    expected = {"A": "One. Two.", "B": "Three.", "C": "Four."}
    assert documents == [Document(title, title, text) for title, text in expected.items()]
    assert conflicts == ["B"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, r"rows\.json, row 1: field 'context' must be a list of paragraphs"),
        ({"context": [["A"]]}, r"row 1: paragraph 0 of 'context' is not \[title, \[sentences\]\]"),
        ({"context": [7]}, "row 1: paragraph 0 of 'context' is not"),
        ({"context": [["A", ["x", None]]]}, "row 1: paragraph 0 of 'context' has a sentence that is no string"),
        ({"context": {"title": ["A"], "sentences": []}}, "'sentences' must be a list as long as 'title'"),
        ({"context": {"sentences": []}}, "field 'title' must be a list of strings and is missing"),
        (3, "row 1 is a int, not an object"),
    ],
)
def test_a_malformed_distractor_row_is_named(tmp_path: Path, row: object, message: str) -> None:
    write_json(tmp_path / "rows.json", [{"context": []}, row])
    with pytest.raises(CorpusError, match=message):
        list(read_hotpotqa_distractor(tmp_path / "rows.json"))


def test_jsonl(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "1", "title": "T", "text": "x"}\n\n{"id": "2", "text": "y"}\n')
    assert list(read_jsonl(tmp_path / "a.jsonl")) == [Document("1", "T", "x"), Document("2", "", "y")]
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"id": "1", "text": "x"}\n{"id": 2, "text": "y"}'))
    with pytest.raises(CorpusError, match=r"b\.jsonl\.gz, line 2: field 'id' must be a string and is a int"):
        list(read_jsonl(tmp_path / "b.jsonl.gz"))
    (tmp_path / "c.jsonl.gz").write_bytes((tmp_path / "b.jsonl.gz").read_bytes()[:-12])
    with pytest.raises(CorpusError, match=r"c\.jsonl\.gz cannot be read"):
        list(read_jsonl(tmp_path / "c.jsonl.gz"))
    with pytest.raises(CorpusError, match="does not exist"):
        list(read_jsonl(tmp_path / "nowhere.jsonl"))


@pytest.mark.parametrize(
    ("row", "document"),
    [
        ({"id": "0", "contents": '"Aaron"\nAaron is a prophet.'}, Document("0", "Aaron", "Aaron is a prophet.")),
        (
            {"id": "1", "contents": '""Heroes" (album)"\nBy Bowie.\nTwo.'},
            Document("1", '"Heroes" (album)', "By Bowie.\nTwo."),
        ),
        ({"id": "doc1", "contents": "a text\nof two lines"}, Document("doc1", "", "a text\nof two lines")),
        (
            {"id": "doc2", "contents": '"quoted", he said\nand left'},
            Document("doc2", "", '"quoted", he said\nand left'),
        ),
        ({"_id": "12", "title": "T", "text": "x", "metadata": {}}, Document("12", "T", "x")),
        ({"id": "f", "title": "T", "text": "x", "contents": '"T"\nx'}, Document("f", "T", "x")),
        ({"id": "n", "title": None, "text": "x"}, Document("n", "", "x")),
    ],
    ids=["search-r1", "search-r1, quotes", "pyserini", "pyserini, quotes", "beir", "flashrag", "null title"],
)
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_corpora_of_search_r1_pyserini_and_beir_are_read_as_they_are(
    tmp_path: Path, row: dict[str, object], document: Document, ending: str
) -> None:
    text = (json.dumps(row) + "\n").encode()
    (tmp_path / f"corpus{ending}").write_bytes(gzip.compress(text) if ending.endswith(".gz") else text)
    assert list(read_jsonl(tmp_path / f"corpus{ending}")) == [document]


def test_a_folder_of_json_lines_is_a_corpus(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no files \.jsonl"):
        list(read_jsonl(tmp_path))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "docs01.json").write_text('{"id": "2", "contents": "y"}')
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"id": "1", "contents": "x"}'))
    (tmp_path / "README.md").write_text("no corpus")
    assert [document.id for document in read_jsonl(tmp_path)] == ["1", "2"]
    assert [document.id for document in CorpusDocuments("jsonl", [tmp_path])] == ["1", "2"]


def test_of_a_folder_of_beirs_the_corpus_is_read_and_not_the_queries_or_judgements(tmp_path: Path) -> None:
    folder = tmp_path / "datasets" / "scifact"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        '{"_id": "4983", "title": "Brains", "text": "White matter.", "metadata": {}}\n'
    )
    (folder / "queries.jsonl").write_text('{"_id": "0", "text": "a question", "metadata": {}}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n0\t4983\t1\n")
    for source in (folder, tmp_path / "datasets", folder / "corpus.jsonl"):
        assert list(CorpusDocuments("jsonl", [source])) == [Document("4983", "Brains", "White matter.")]


@pytest.mark.parametrize(
    "text",
    [
        '[{"id": "1", "contents": "x"}, {"id": "2", "contents": "y"}]',
        '\ufeff[\n  {\n    "id": "1",\n    "contents": "x"\n  },\n  {"id": "2", "contents": "y"}\n]\n',
        '{\n  "id": "1",\n  "contents": "x"\n}\n{\n  "id": "2",\n  "contents": "y"\n}\n',
    ],
    ids=["array", "array over lines", "objects over lines"],
)
def test_pyserinis_other_layouts_of_json_are_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "docs.json").write_text(text, encoding="utf-8")
    assert list(read_jsonl(tmp_path)) == [Document("1", "", "x"), Document("2", "", "y")]


def test_errors_in_arrays_and_long_objects_name_the_row(tmp_path: Path) -> None:
    for text, why in {
        "[]": r"docs\.json has no rows",
        '[{"id": "1", "contents": "x"}, 3]': "row 1 is a int, not an object",
        '[{"id": "1", "contents": "x"}, {"id"': "row 1 is not the JSON expected",
        '{\n"id": "1",\n"contents": "x"\n}\n{\n': "row 1 is not the JSON expected",
        '{\n"id": "1"\n}': "row 0: field 'text' must be a string and is missing",
    }.items():
        (tmp_path / "docs.json").write_text(text)
        with pytest.raises(CorpusError, match=why):
            list(read_jsonl(tmp_path / "docs.json"))


def test_packing_is_seen_in_the_file_and_not_in_its_name(tmp_path: Path) -> None:
    row = b'{"id": "1", "text": "x"}\n'
    for packed in (gzip.compress(row), bz2.compress(row), gzip.compress(row) + gzip.compress(b"\n"), row):
        for name in ("corpus.jsonl", "corpus.jsonl.gz", "corpus.jsonl.bz2"):
            (tmp_path / name).write_bytes(packed)
            assert list(read_jsonl(tmp_path / name)) == [Document("1", "", "x")]
    for packing, data in {"zip": b"PK\x03\x04...", "xz": lzma.compress(row), "zstd": b"\x28\xb5\x2f\xfd..."}.items():
        (tmp_path / "corpus.jsonl").write_bytes(data)
        with pytest.raises(CorpusError, match=rf"corpus\.jsonl is packed with {packing}, which is not read: unpack it"):
            list(read_jsonl(tmp_path / "corpus.jsonl"))


@pytest.mark.parametrize("packing", [gzip, bz2])
def test_a_packed_file_that_is_cut_anywhere_is_an_error_and_not_a_shorter_corpus(tmp_path: Path, packing: Any) -> None:
    whole = packing.compress(b"".join(b'{"id": "%d", "text": "x"}\n' % n for n in range(50)))
    for length in range(0, len(whole), 3):
        (tmp_path / "corpus.jsonl").write_bytes(whole[:length])
        with pytest.raises(CorpusError, match=r"corpus\.jsonl"):
            list(read_jsonl(tmp_path / "corpus.jsonl"))


@pytest.mark.parametrize("content", [b"", b"\n \n", gzip.compress(b"", mtime=0), b"\xef\xbb\xbf"])
def test_an_empty_source_among_several_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    name = "empty.jsonl.gz" if content[:2] == b"\x1f\x8b" else "empty.jsonl"
    (tmp_path / "full.jsonl").write_text('{"id": "1", "text": "x"}')
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=rf"{name} has no rows: download it again, or remove it from the sources"):
        list(CorpusDocuments("jsonl", [tmp_path / "full.jsonl", tmp_path / name]))


def test_an_empty_member_of_an_archive_is_an_error_that_names_it(tmp_path: Path) -> None:
    whole = bz2.compress(json.dumps(ABSTRACT).encode())
    for empty in (b"", bz2.compress(b""), bz2.compress(b"\n")):
        why = "has no rows" if empty else ".*Compressed file ended"
        members = {"abstracts/AA/wiki_00.bz2": whole, "abstracts/AA/wiki_01.bz2": empty, "AA/wiki_02.bz2": whole}
        with pytest.raises(CorpusError, match=rf"abstracts\.tar\.bz2:abstracts/AA/wiki_01\.bz2 {why}"):
            list(read_hotpotqa_abstracts(archive_of(tmp_path / "abstracts.tar.bz2", members)))
        (tmp_path / "AA").mkdir(exist_ok=True)
        (tmp_path / "AA" / "wiki_01.bz2").write_bytes(empty)
        with pytest.raises(CorpusError, match=r"AA/wiki_01\.bz2 has no rows"):
            list(read_hotpotqa_abstracts(tmp_path))


def test_files_without_rows_are_named_in_every_corpus(tmp_path: Path) -> None:
    write_json(tmp_path / "rows.json", [])
    with pytest.raises(CorpusError, match=r"rows\.json has no rows"):
        list(read_hotpotqa_distractor(tmp_path / "rows.json"))
    write_json(tmp_path / "all_passages.json", {"/wiki/A": "x"})
    write_json(tmp_path / "all_plain_tables.json", {})
    with pytest.raises(CorpusError, match=r"all_plain_tables\.json has no rows"):
        list(read_ottqa(tmp_path))


def test_a_line_in_another_encoding_is_named_by_its_number(tmp_path: Path) -> None:
    lines = ['{"id": "1", "text": "x"}', "", '{"id": "2", "text": "café"}']
    (tmp_path / "corpus.jsonl").write_bytes("\n".join(lines).encode("latin-1"))
    with pytest.raises(CorpusError, match=r"corpus\.jsonl, line 3 is not UTF-8 text .*: convert the file to UTF-8"):
        list(read_jsonl(tmp_path / "corpus.jsonl"))
    (tmp_path / "corpus.jsonl").write_bytes("\n".join(lines).encode("utf-16"))
    with pytest.raises(CorpusError, match=r"line 1 is not UTF-8 text"):
        list(read_jsonl(tmp_path / "corpus.jsonl"))


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_bytes(b'\xef\xbb\xbf{"id": "1", "text": "x"}\r\n{"id": "2", "text": "y"}\r\n')
    assert list(read_jsonl(tmp_path / "corpus.jsonl")) == [Document("1", "", "x"), Document("2", "", "y")]
    (tmp_path / "rows.json").write_bytes(b'\xef\xbb\xbf [{"context": [["A", ["One."]]]}]')
    assert list(read_hotpotqa_distractor(tmp_path / "rows.json")) == [Document("A", "A", "One.")]


def test_nesting_that_no_row_has_is_named_and_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"id": "1", "text": "x"}\n' + '{"id": ' + "[" * 100_000)
    with pytest.raises(CorpusError, match="line 2 is not JSON"):
        list(read_jsonl(tmp_path / "corpus.jsonl"))


def archive_of(path: Path, members: dict[str, bytes]) -> Path:
    """A packed archive of these files."""
    with tarfile.open(path, "w:bz2") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("ending", [".tar", ".tar.bz2", ".tar.gz"])
def test_an_archive_that_is_cut_anywhere_is_an_error_and_not_a_shorter_corpus(tmp_path: Path, ending: str) -> None:
    """`tarfile` takes a header that is cut or damaged, and an end between two files, for the archive's end."""
    packed = bz2.compress(json.dumps(ABSTRACT).encode())
    unpacked = bz2.decompress(archive_of(tmp_path / "a", {f"AA/wiki_0{n}.bz2": packed for n in range(3)}).read_bytes())
    pack = {".tar": bytes, ".tar.bz2": bz2.compress, ".tar.gz": gzip.compress}[ending]
    path = tmp_path / f"abstracts{ending}"
    path.write_bytes(pack(unpacked))
    assert len(list(read_hotpotqa_abstracts(path))) == 3
    data = 3 * 1024  # headers and contents; zeros follow
    cuts = {*range(0, data + 1, 128), 513, 1023} if ending == ".tar" else range(0, len(pack(unpacked)), 5)
    for length in cuts:
        path.write_bytes(pack(unpacked)[:length])
        with pytest.raises(CorpusError, match=r"abstracts\.tar"):
            list(read_hotpotqa_abstracts(path))
    damaged = bytearray(unpacked)
    damaged[1024 + 10] ^= 1  # in the second header
    second = pack(unpacked) + pack(unpacked)
    for content, why in ((pack(bytes(damaged)), "bad checksum"), (second, "goes on after its end")):
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=why):
            list(read_hotpotqa_abstracts(path))


def test_an_archive_never_writes_outside_its_folder(tmp_path: Path) -> None:
    """Names that climb out of the folder are names and nothing more: the archive is read, not extracted."""
    packed = bz2.compress(json.dumps(ABSTRACT).encode())
    (tmp_path / "inside").mkdir()
    names = ["../escaped.bz2", str(tmp_path / "absolute.bz2"), "a/../../../escaped2.bz2"]
    path = archive_of(tmp_path / "inside" / "abstracts.tar.bz2", dict.fromkeys(names, packed))
    with pytest.raises(CorpusError, match=r"'wiki_\\x1b\[2J\.bz2' has no rows"):
        list(
            read_hotpotqa_abstracts(
                archive_of(tmp_path / "inside" / "named.tar.bz2", {"wiki_\x1b[2J.bz2": bz2.compress(b"")})
            )
        )
    assert len(list(read_hotpotqa_abstracts(path))) == 3
    assert sorted(child.name for child in tmp_path.rglob("*")) == ["abstracts.tar.bz2", "inside", "named.tar.bz2"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_link_in_an_archive_is_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "abstracts.tar.bz2", "w:bz2") as archive:
        member = tarfile.TarInfo("AA/wiki_00.bz2")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(CorpusError, match=r"AA/wiki_00\.bz2 is a link or another special file"):
        list(read_hotpotqa_abstracts(tmp_path / "abstracts.tar.bz2"))


def header(name: str, size: int, kind: bytes) -> bytes:
    """A header of an archive that announces `size` bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def block(text: bytes) -> bytes:
    return text.ljust(512, b"\0")


def write_bombs(folder: Path, size: int) -> list[str]:
    """Files of a few kilobytes that unpack to `size` bytes, or announce more, and their names."""
    packer = bz2.BZ2Compressor()
    zeros = b"".join(packer.compress(b"0" * (1 << 20)) for _ in range(size >> 20)) + packer.flush()
    later = header("x", 20, tarfile.XHDTYPE) + block(b"20 size=20000000000\n") + header("b.bz2", 0, tarfile.REGTYPE)
    sparse = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
    sparse = header("x", len(sparse), tarfile.XHDTYPE) + block(sparse) + header("b.bz2", 512, tarfile.REGTYPE)
    announced = {
        f"{name}.tar.bz2": bz2.compress(header("AA/wiki_00.bz2", 1 << 32, kind)) + zeros
        for name, kind in {"size": tarfile.REGTYPE, "pax": tarfile.XHDTYPE, "name": tarfile.GNUTYPE_LONGNAME}.items()
    }
    archive_of(folder / "member.tar.bz2", {"AA/wiki_00.bz2": zeros})
    files = {
        "line.jsonl.bz2": zeros,
        "row.json.bz2": bz2.compress(b'[{"context": "') + zeros,
        **announced,
        "later.tar.bz2": bz2.compress(later) + zeros,
        "chain.tar.bz2": bz2.compress(header("x", 0, tarfile.XGLTYPE) * 2000),
        "sparse.tar.bz2": bz2.compress(sparse + b"9999999999\n") + bz2.compress(b"1\n" * (size // 4)),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return ["member.tar.bz2", *files]


def read_bombs(folder: Path, names: Sequence[str]) -> Iterator[str]:
    """What is said of each file, without long numbers."""
    for name in names:
        jsonl, json_ = ".jsonl" in name, ".json" in name
        read = read_jsonl if jsonl else read_hotpotqa_distractor if json_ else read_hotpotqa_abstracts
        with pytest.raises(CorpusError) as refused:
            list(read(folder / name))
        yield re.sub(r"\d{5,}", "N", str(refused.value).replace(f"{folder}/", ""))


SAID = [
    "member.tar.bz2:AA/wiki_00.bz2 in the archive cannot be unpacked (it has more than N bytes): download it again",
    "line.jsonl.bz2, line 1 is longer than N bytes: split the row",
    "row.json.bz2, row 0 is not the JSON expected (it is longer than N bytes): download the file again",
    *[
        f"{name}.tar.bz2 cannot be read as an archive ('AA/wiki_00.bz2' announces N bytes, N are allowed): download it "
        "again"
        for name in ("size", "pax", "name")
    ],
    "later.tar.bz2 cannot be read as an archive (a file in it has more than N bytes): download it again",
    "chain.tar.bz2 cannot be read as an archive (it has headers within headers): download it again",
    "sparse.tar.bz2 cannot be read as an archive (a file in it has more than N bytes): download it again",
]


def test_compression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_ROW", 1 << 17)
    monkeypatch.setattr(hotpotqa, "MAX_MEMBER", 1 << 17)
    names = write_bombs(tmp_path, 1 << 22)
    assert all((tmp_path / name).stat().st_size < 10_000 for name in names)
    assert list(read_bombs(tmp_path, names)) == SAID


@pytest.mark.slow
def test_compression_bombs_are_refused_within_bounded_memory(tmp_path: Path) -> None:
    """In a process that may have 1 GB of address space, by files that unpack to 256 MB or claim to have 4 GB."""
    names = write_bombs(tmp_path, 1 << 28)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from test_corpora import read_bombs\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "print(*read_bombs(Path(), sys.argv[1:]), sep='\\n')"
    )
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", code, *names]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=os.environ | paths)
    assert shown.stdout.splitlines() == SAID, shown.stderr


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**63, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    members=st.dictionaries(st.text(max_size=6), JSON, max_size=5),
    chunk=st.integers(1, 9),
    indent=st.none() | st.just(1),
)
def test_json_read_in_pieces_equals_json_read_at_once(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, object], chunk: int, indent: int | None
) -> None:
    path = tmp_path_factory.mktemp("json") / "file.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK", chunk)
        path.write_text(json.dumps(members, indent=indent))
        assert list(files.json_members(path)) == list(members.items())
        path.write_text(json.dumps(list(members.values()), indent=indent))
        assert [value for _, value in files.json_items(path)] == list(members.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 0 .*cut short"),
        ("[1]", "row 0 .*found '\\[' where '{' should be"),
        ('{"a": 1, "b": {"c": "d', "row 1, which comes after 'a', is not .*cut short"),
        ('{"a": "1"', "row 0 is not .*cut short"),
        ('{"a": 1, "b": nope' + "." * 99, "row 1, which comes after 'a', .*invalid string in json text"),
        ('{"a": "1" "b": 2}', "row 0 is not .*I expect ',' or '}'"),
        ("{1: 2}", "row 0 is not .*invalid object key"),
        ('{"a": 1} {"b": 2}', "row 1, which comes after 'a', .*trailing garbage"),
        ('{"a": 1, "b": "\udcff"}', "row 1, which comes after 'a', .*invalid bytes in UTF8 string"),
        ('{"a": 1, "b": 123456789012345678901234567890}', "row 1, which comes after 'a', .*integer overflow"),
    ],
)
def test_a_broken_json_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "file.json").write_text(text, errors="surrogateescape")
    with pytest.raises(CorpusError, match=rf"file\.json, {message}"):
        list(files.json_members(tmp_path / "file.json"))


@settings(deadline=None)
@given(sentences=st.lists(st.sampled_from(["One.", " Two.", "Three. ", "", " "])))
def test_joined_sentences_keep_every_word_apart(sentences: list[str]) -> None:
    assert join_sentences(sentences).split() == " ".join(sentences).split()


def test_a_fingerprint_follows_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("1")
    first = fingerprint("jsonl", [file])
    assert first == fingerprint("jsonl", [file])
    file.write_text("2")
    assert fingerprint("jsonl", [file]) != first
    with pytest.raises(ValueError, match="no corpus 'trec': choose one of ottqa"):
        fingerprint("trec", [file])
    with pytest.raises(CorpusError, match="No such file"):
        fingerprint("jsonl", [tmp_path / "b.jsonl"])


@needs_data
def test_the_real_distractor_rows() -> None:
    conflicts: list[str] = []
    documents = list(read_hotpotqa_distractor(DATA / "hotpotqa/distractor_sample.json", on_conflict=conflicts.append))
    assert (len(documents), conflicts) == (500, [])
    assert documents[0].id == documents[0].title == "Constantin Medien"


@needs_data
@pytest.mark.slow
def test_the_real_ottqa_corpus() -> None:
    documents = list(read_ottqa(DATA / "ottqa"))
    tables = [document for document in documents if TABLE_MARK in document.text]
    assert (len(documents), len(tables)) == (187_666, 8_891)
    assert not any(document.id.startswith("/wiki/") for document in tables)
    assert len({document.id for document in documents}) == len(documents)


READ_AND_MEASURE = """
import sys, resource
from retrieval_index.corpora import read_hotpotqa_abstracts, read_ottqa
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
tables = sum(1 for _ in read_ottqa(sys.argv[1]))
middle = peak()
abstracts = sum(1 for _ in read_hotpotqa_abstracts(sys.argv[1] + "/abstracts.tar.bz2"))
print(tables, middle - before, abstracts, peak() - middle)
"""


def test_big_files_in_upstream_s_layouts_are_read_in_little_memory(tmp_path: Path) -> None:
    """24 MB of passages, 12 MB of tables and 24 MB of abstracts, which are 2 MB packed: in a process of its own."""
    text = "word " * 200
    with (tmp_path / "all_passages.json").open("w") as file:
        file.write("{" + ", ".join(f'"/wiki/Page_{number}": "{text}"' for number in range(24_000)) + "}")
    table = json.dumps(TABLE | {"data": [["1997", text]] * 20}, indent=1)
    with (tmp_path / "all_plain_tables.json").open("w") as file:
        file.write("{\n" + ",\n".join(f'"Films_{number}": {table}' for number in range(600)) + "\n}\n")
    noise = hashlib.shake_256(b"noise").hexdigest(40_000)
    lines = [json.dumps(ABSTRACT | {"text": [text, noise[n * 80 : n * 80 + 80]]}).encode() for n in range(1000)]
    packed = bz2.compress(b"\n".join(lines))
    with tarfile.open(tmp_path / "abstracts.tar.bz2", "w:bz2") as archive:
        for number in range(22):
            member = tarfile.TarInfo(f"abstracts/AA/wiki_{number:02}.bz2")
            member.size = len(packed)
            archive.addfile(member, io.BytesIO(packed))
    command = [sys.executable, "-c", READ_AND_MEASURE, str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert (shown[0], shown[2]) == ("24600", "22000")
    assert float(shown[1]) < 12
    assert float(shown[3]) < 36  # eight members that wait, of one megabyte each, and what unpacking them takes


def test_a_row_without_an_end_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_ROW", 200_000)
    (tmp_path / "file.json").write_text('{"a": 1, "b": {' + ", ".join(f'"{n}": "{n}"' for n in range(99_999)))
    with pytest.raises(CorpusError, match=r"row 1, which comes after 'a', .*it is longer than 200000 bytes"):
        list(files.json_members(tmp_path / "file.json"))


@pytest.mark.parametrize("name", ["all_passages.json", "all_passages.json.gz"])
def test_the_share_that_was_read_grows_to_one(tmp_path: Path, name: str) -> None:
    write_json(
        tmp_path / name, {f"/wiki/{number}": hashlib.sha256(b"%d" % number).hexdigest() for number in range(9000)}
    )
    write_json(tmp_path / "all_plain_tables.json", {"Films_0": TABLE})
    documents = CorpusDocuments("ottqa", [tmp_path])
    for _ in range(2):
        shares = [documents.meter.share() for _ in documents]
        assert shares == sorted(shares)
        assert 0 < shares[0] < 0.7
        assert documents.meter.share() == 1.0


def test_the_share_of_an_archive(tmp_path: Path) -> None:
    documents = CorpusDocuments(
        "hotpotqa-abstracts", [abstracts_archive(tmp_path / "abstracts.tar.bz2", [json.dumps(ABSTRACT).encode()] * 9)]
    )
    assert len(list(documents)) == 9
    assert documents.meter.share() == 1.0


def test_a_member_that_is_no_bz2_is_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "abstracts.tar.bz2", "w:bz2") as archive:
        member = tarfile.TarInfo("abstracts/AA/wiki_07.bz2")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"BZh9x"))
    with pytest.raises(CorpusError, match=r"wiki_07\.bz2 in the archive cannot be unpacked"):
        list(read_hotpotqa_abstracts(tmp_path / "abstracts.tar.bz2"))
