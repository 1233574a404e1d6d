"""The index of one set's questions in memory: read from its file, and filled up from the records in the background.

Steps that the file lacks (`wapo_verl.data.question_index`) are read one after the other in a thread and added to it;
until then an answer says how many steps it knows of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import RLock, Thread
from typing import Any

from wapo_verl.data.question_index import INDEX_FILE, Entry, add_entry, read_entries, step_entry
from wapo_verl.viewer.completions import read_step
from wapo_verl.viewer.questions import TABLES, Question, Row, by_id
from wapo_verl.viewer.runs import RecordSet, Run, ViewError

PATIENCE = 0.15
"""Seconds that an answer waits for steps that are being read; those of a short run are known by then."""


class QuestionIndex:
    """The questions of one set of records. Any thread may ask.

    Args:
        records: the set.
    """

    def __init__(self, records: RecordSet) -> None:
        self._records = records
        self._lock = RLock()
        self._entries: dict[int, Entry] = {}
        self._errors: dict[int, tuple[int, str]] = {}  # step -> the size of the file that cannot be read, and why
        self._place = 0
        self._questions: dict[str, Question] | None = None
        self._rows: dict[str, list[Row]] = {}
        self._reader: Thread | None = None

    def progress(self, patience: float = PATIENCE) -> dict[str, Any]:
        """Take in what is new, and tell how many of the steps are known, and why others cannot be read.

        Args:
            patience: seconds to wait for steps that are being read.
        """
        missing = self._missing()
        if missing:
            self._begin_to_read().join(patience)
            missing = self._missing()
        steps = len(self._records.steps())
        errors = [said for _, said in self._errors.values()]
        return {"steps": steps, "known": steps - len(missing) - len(errors), "errors": errors}

    def question(self, name: str) -> Question | None:
        """Return a question by its id, of the steps that are known; None where none asks it."""
        return self._by_id().get(name)

    def table(self, by: str) -> list[Row]:
        """Return the rows of a table, a name in `TABLES`, of the steps that are known.

        Raises:
            ViewError: for another name.
        """
        if by not in TABLES:
            raise ViewError(f"there is no table {by!r}; there are {', '.join(TABLES)}")
        with self._lock:
            questions = self._by_id()
            if by not in self._rows:
                self._rows[by] = TABLES[by](questions.values())
            return self._rows[by]

    def load(self) -> None:
        """Read the index's file, where there is one, so that the first question is answered as fast as the next."""
        self._missing()
        self.table("questions")

    def _by_id(self) -> dict[str, Question]:
        with self._lock:
            if self._questions is None:
                self._questions, self._rows = by_id(self._entries), {}
            return self._questions

    def _missing(self) -> list[int]:
        """Read what the index's file has gained; return the steps that are in no entry of their file's size."""
        with self._lock:
            if self._records.single is None:
                self._read_file()
            sizes = {step: size for step in self._records.steps() if (size := _size(self._records.file(step)))}
            for step in self._entries.keys() - sizes.keys():
                del self._entries[step]
                self._questions = None
            self._errors = {step: said for step, said in self._errors.items() if sizes.get(step) == said[0]}
            known = {step: entry.size for step, entry in self._entries.items()}
            known |= {step: size for step, (size, _) in self._errors.items()}
            return [step for step, size in sizes.items() if known.get(step) != size]

    def _read_file(self) -> None:
        if _size(self._records.folder / INDEX_FILE) < self._place:  # written anew
            self._place = 0
        entries, self._place = read_entries(self._records.folder, self._place)
        for entry in entries:
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        with self._lock:
            before = self._entries.get(entry.step)
            if before != entry:
                self._entries[entry.step] = entry
                self._questions = None

    def _begin_to_read(self) -> Thread:
        """Read the missing steps in a thread, where none does already."""
        with self._lock:
            if self._reader is None or not self._reader.is_alive():
                self._reader = Thread(target=self._read_missing, daemon=True)
                self._reader.start()
            return self._reader

    def _read_missing(self) -> None:
        for step in reversed(self._missing()):  # the newest first; a file that grows is not read again and again
            self._read_step(step)

    def _read_step(self, step: int) -> None:
        file = self._records.file(step)
        size = _size(file)
        try:
            read = read_step(file)
        except (ViewError, OSError) as error:
            with self._lock:
                self._errors[step] = (size, str(error))
            return
        entry = step_entry(step, size, read.lines)
        self._take(entry)
        if self._records.single is None and not read.cut:
            with suppress(OSError):  # a folder that cannot be written: the entry is kept in memory
                add_entry(self._records.folder, entry)


def places_of(question: str, runs: Sequence[Run], indexes: Mapping[RecordSet, QuestionIndex]) -> dict[str, Any]:
    """Return where a question was asked, in all runs that are open, and how many of their steps are known."""
    text, places, known, steps = None, [], 0, 0
    for number, run in enumerate(runs):
        for each in run.sets:
            progress = indexes[each].progress(PATIENCE / len(indexes))
            known, steps = known + progress["known"], steps + progress["steps"]
            found = indexes[each].question(question)
            if found is not None:
                text = found.text
                places.append({"run": number, "name": run.name, "set": each.name, "groups": found.described()})
    return {"text": text, "places": places, "known": known, "steps": steps}


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
