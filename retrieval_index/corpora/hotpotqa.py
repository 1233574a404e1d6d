"""HotpotQA's corpora: the abstracts of the 2017 Wikipedia, and the paragraphs that come with distractor questions.

A document's id is the page's title, which is unique in both, so that supporting facts name documents directly.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from retrieval_index.corpora.files import CHUNK, Meter, json_items, json_lines, not_empty, open_unpacked
from retrieval_index.corpora.jsonl import mapping, string, strings
from retrieval_index.documents import Document
from retrieval_index.errors import CorpusError

MAX_MEMBER = 1 << 25
"""Bytes of a file in the archive, packed or unpacked. Real ones have less than one megabyte; a hostile one, a few
kilobytes that unpack to gigabytes, is refused."""

MAX_HEADER = 1 << 16
"""Bytes of what is not a file but says something of one, such as a long name."""

UNPACKING_THREADS = 4
"""At most; with more, the thread that reads the JSON is what takes longest."""


def read_hotpotqa_abstracts(source: Path | str, meter: Meter | None = None) -> Iterator[Document]:
    """Yield the abstracts of `enwiki-20171001-pages-meta-current-withlinks-abstracts`: the .tar.bz2 or its folder.

    The archive is read as a stream, in its own order, and nothing of it is written to the disk. A folder is read in the
    order of its files' names (`AA/wiki_00.bz2`, JSON lines with `title` and `text`, a list of sentences).

    Raises:
        CorpusError: Naming file, line and field.
    """
    path = Path(source)
    rows = _folder(path, meter) if path.is_dir() else _archive(path, meter)
    for place, record in rows:
        row = mapping(record, place)
        title = string(row, "title", place)
        yield Document(title, title, join_sentences(strings(row, "text", place)))


def read_hotpotqa_distractor(
    *files: Path | str, on_conflict: Callable[[str], None] | None = None, meter: Meter | None = None
) -> Iterator[Document]:
    """Yield every distinct paragraph of all rows, in order of appearance.

    Args:
        *files: JSON files of distractor rows, in HotpotQA's own schema or Hugging Face's.
        on_conflict: Called with a title that comes again with another text. Repeated titles are skipped.
        meter: Measures how much has been read.

    Raises:
        CorpusError: Naming file, row and field.
    """
    seen: dict[str, bytes] = {}
    for file in map(Path, files):
        for place, record in not_empty(json_items(file, meter), file):
            for title, sentences in paragraphs(mapping(record, place), place):
                text = join_sentences(sentences)
                digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                known = seen.setdefault(title, digest)
                if known is digest:
                    yield Document(title, title, text)
                elif known != digest and on_conflict is not None:
                    on_conflict(title)


def paragraphs(row: Mapping[str, Any], place: str) -> list[tuple[str, list[str]]]:
    """Return the (title, sentences) pairs of one distractor row in either schema. Raises CorpusError naming `place`."""
    context = row.get("context")
    if isinstance(context, dict):
        inside = f"{place}, field 'context'"
        titles, sentences = strings(context, "title", inside), context.get("sentences")
        if not isinstance(sentences, list) or len(sentences) != len(titles):
            raise CorpusError(f"{inside}: 'sentences' must be a list as long as 'title': fix or remove the row")
        pairs: list[Any] = list(zip(titles, sentences, strict=True))
    elif isinstance(context, list):
        pairs = context
    else:
        raise CorpusError(f"{place}: field 'context' must be a list of paragraphs: fix or remove the row")
    for number, pair in enumerate(pairs):
        if not _is_paragraph(pair):
            raise CorpusError(f"{place}: paragraph {number} of 'context' is not [title, [sentences]]: fix the row")
        if not all(isinstance(sentence, str) for sentence in pair[1]):
            raise CorpusError(f"{place}: paragraph {number} of 'context' has a sentence that is no string: fix the row")
    return [(title, sentences) for title, sentences in pairs]


def _is_paragraph(pair: Any) -> bool:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        return False
    return isinstance(pair[0], str) and isinstance(pair[1], list)


def join_sentences(sentences: list[str]) -> str:
    """Join sentences, which upstream mostly, but not always, begin with the space that separates them."""
    text = ""
    for sentence in sentences:
        gap = "" if not text or text[-1].isspace() or sentence[:1].isspace() else " "
        text += gap + sentence
    return text.strip()


def _folder(path: Path, meter: Meter | None) -> Iterator[tuple[str, Any]]:
    files = sorted(path.rglob("wiki_*.bz2"))
    if not files:
        raise CorpusError(
            f"{path} has no files wiki_*.bz2: give the unpacked folder of abstracts, or the .tar.bz2 itself"
        )
    for name in files:
        with open_unpacked(name, meter) as file:
            yield from json_lines(file, str(name))


def _archive(path: Path, meter: Meter | None) -> Iterator[tuple[str, Any]]:
    has_members = False
    for name, unpacked in _unpacked_ahead(_packed_members(path, meter)):
        has_members = True
        yield from json_lines(io.BytesIO(unpacked), name)
    if not has_members:
        raise CorpusError(f"{path} holds no .bz2 files of abstracts: give HotpotQA's archive of abstracts")


class _Member(tarfile.TarInfo):
    """A header of the archive. What `tarfile` takes for its end, or follows into any size, is an error here."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        """Read a header.

        Raises:
            tarfile.ReadError: For one that is damaged or missing, where `tarfile` would end without a word, and for one
                that announces more than `MAX_MEMBER` bytes of a file, or `MAX_HEADER` of anything else.
            tarfile.EOFHeaderError: For the mark at the archive's end.
        """
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"it is cut short or damaged, {error}") from error
        most = MAX_MEMBER if member.isreg() else MAX_HEADER
        if not 0 <= member.size <= most:
            raise tarfile.ReadError(f"{member.name!r} announces {member.size} bytes, {most} are allowed")
        return member


class _Bounded:
    """The unpacked archive as `tarfile` reads it: a little more than `MAX_MEMBER` bytes for one member."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._taken = file, 0

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        chunk = self._file.read(size)
        self._taken += len(chunk)
        if self._taken > MAX_MEMBER + (1 << 20):
            raise tarfile.ReadError(f"a file in it has more than {MAX_MEMBER} bytes")
        return chunk

    def next_member(self) -> None:
        """Begin to count anew."""
        self._taken = 0

    def end(self) -> None:
        """Read what follows the archive's end, which is padding: a cut or a second archive there is an error too."""
        while chunk := self._file.read(CHUNK):
            if chunk.strip(b"\0"):
                raise tarfile.ReadError("it goes on after its end")


def _packed_members(path: Path, meter: Meter | None) -> Iterator[tuple[str, bytes]]:
    """Yield name and contents of each .bz2 in the archive, which is read as a stream."""
    try:
        with open_unpacked(path, meter) as file:
            source = _Bounded(file)
            with tarfile.open(fileobj=source, mode="r|", tarinfo=_Member) as archive:  # type: ignore[call-overload]
                while (member := archive.next()) is not None:
                    source.next_member()
                    archive.members.clear()  # it would keep them all
                    if not member.isdir() and member.name.endswith(".bz2"):
                        yield _named(path, member), _contents(path, archive, member)
            source.end()
    except (tarfile.TarError, RecursionError) as error:
        reason = "it has headers within headers" if isinstance(error, RecursionError) else error
        raise CorpusError(f"{path} cannot be read as an archive ({reason}): download it again") from error


def _named(path: Path, member: tarfile.TarInfo) -> str:
    return f"{path}:{member.name if member.name.isprintable() else repr(member.name)}"


def _contents(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member) if member.isreg() and not member.issparse() else None
    if file is None:
        raise CorpusError(f"{_named(path, member)} is a link or another special file: pack the files themselves")
    return file.read()


def _unpacked_ahead(members: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Yield the members unpacked, in order, by threads that work ahead.

    Unpacking takes most of the time and releases the interpreter's lock. A member unpacks to a few megabytes, so that
    several at once need little memory.
    """
    threads = min(UNPACKING_THREADS, len(os.sched_getaffinity(0)))
    waiting: deque[tuple[str, Future[bytes]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="unpack") as pool:
        for name, packed in members:
            waiting.append((name, pool.submit(_unpack, packed)))
            if len(waiting) > 2 * threads:
                yield _unpacked(*waiting.popleft())
        while waiting:
            yield _unpacked(*waiting.popleft())


def _unpack(packed: bytes) -> bytes:
    with bz2.open(io.BytesIO(packed)) as file:
        unpacked = file.read(MAX_MEMBER + 1)
    if len(unpacked) > MAX_MEMBER:
        raise ValueError(f"it has more than {MAX_MEMBER} bytes")
    return unpacked


def _unpacked(name: str, contents: Future[bytes]) -> tuple[str, bytes]:
    try:
        return name, contents.result()
    except (OSError, ValueError, EOFError) as error:
        raise CorpusError(f"{name} in the archive cannot be unpacked ({error}): download it again") from error
