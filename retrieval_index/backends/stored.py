"""Documents in files, for engines that keep none themselves: memory-mapped, found by position or by id.

`documents.bin` has every document's id, title and text in UTF-8, one after the other; `ends.npy` (int64, documents x 3)
says where each of the three ends; `id_hashes.npy` (rising) and `id_positions.npy` find a position by id. Reading takes
no memory of its own but the pages in use, which all processes share.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from retrieval_index.documents import Document
from retrieval_index.manifest import fsync_directory

_DATA, _ENDS, _HASHES, _POSITIONS = "documents.bin", "ends.npy", "id_hashes.npy", "id_positions.npy"


def _hash(identity: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(identity, digest_size=8).digest(), "little")


def store(documents: Iterable[Document], directory: Path) -> Iterator[Document]:
    """Write `documents` into `directory` and pass each on; all is on the disk when the iterator is exhausted.

    Holds 32 bytes a document in memory, never the texts.
    """
    ends, hashes, place = array("q"), array("Q"), 0
    with (directory / _DATA).open("wb") as file:
        for document in documents:
            identity = document.id.encode()
            for part in (identity, document.title.encode(), document.text.encode()):
                place += file.write(part)
                ends.append(place)
            hashes.append(_hash(identity))
            yield document
        file.flush()
        os.fsync(file.fileno())
    order = np.argsort(np.frombuffer(hashes, np.uint64), kind="stable")
    save_array(directory / _ENDS, np.frombuffer(ends, np.int64).reshape(-1, 3))
    save_array(directory / _HASHES, np.frombuffer(hashes, np.uint64)[order])
    save_array(directory / _POSITIONS, order.astype(np.int32))
    fsync_directory(directory)


def save_array(path: Path, values: np.ndarray) -> None:
    """Write an array in NumPy's format and force it to the disk."""
    with path.open("wb") as file:
        np.save(file, values)
        file.flush()
        os.fsync(file.fileno())


def map_array(path: Path) -> np.ndarray:
    """Return a read-only array over the file at `path`, which is read when it is used. Raises OSError or ValueError."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


class StoredDocuments:
    """The documents that `store` wrote into `directory`. Raises OSError or ValueError when they cannot be read."""

    def __init__(self, directory: Path) -> None:
        self._ends = map_array(directory / _ENDS)
        self._hashes = map_array(directory / _HASHES)
        self._positions = map_array(directory / _POSITIONS)
        with (directory / _DATA).open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self._ends.ndim != 2 or int(self._ends[-1, 2]) != len(self._data):
            raise ValueError(f"{_ENDS} does not belong to {_DATA}")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, position: int) -> Document:
        id_end, title_end, text_end = self._ends[position].tolist()
        start = int(self._ends[position - 1, 2]) if position else 0
        part = self._data
        return Document(part[start:id_end].decode(), part[id_end:title_end].decode(), part[title_end:text_end].decode())

    def find(self, document_id: str) -> Document | None:
        """Return the document with this id, or None."""
        try:
            wanted = np.uint64(_hash(document_id.encode()))
        except UnicodeEncodeError:  # a lone surrogate: no document has one
            return None
        place = int(np.searchsorted(self._hashes, wanted))
        while place < len(self._hashes) and self._hashes[place] == wanted:
            document = self[int(self._positions[place])]
            if document.id == document_id:
                return document
            place += 1
        return None
