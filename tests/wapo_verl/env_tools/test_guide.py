"""Follows docs/new_environment.md to the letter: writes its files, runs its commands, compares its output. No GPU.

Its last commands, which train, are run by the slow test, with veRL, Ray and vLLM.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.paths import ROOT

from wapo_verl.data.json_lines import read_json_lines

GUIDE = ROOT / "docs" / "new_environment.md"
_BLOCK = re.compile(r"^```(\w+)(?: ([^\n]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FRAME = re.compile(r"[│┃║╭╮╰╯─━]")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what follows it (a file's path, `exits=1`, `train`), and its text."""

    language: str
    note: str
    text: str


def blocks() -> list[Block]:
    return [Block(language, note or "", text) for language, note, text in _BLOCK.findall(GUIDE.read_text())]


class Reader:
    """Somebody who does what the guide says, in a folder and with one shell's variables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables = {
            **{name: value for name, value in os.environ.items() if name != "WAPO_ENVIRONMENTS"},
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),  # `examples/` is not installed
            "COLUMNS": "300",
            "NO_COLOR": "1",
            "VERL_FILE_LOGGER_PATH": str(folder / "metrics.jsonl"),
        }
        self.output = ""

    def follow(self, block: Block) -> None:
        if block.language == "bash":
            self._run(block)
        elif block.note:
            (self.folder / block.note).write_text(block.text)
        elif block.language == "text":
            self._compare(block)

    def _run(self, block: Block) -> None:
        kept = self.folder / ".variables"
        script = f"{block.text}\nenv -0 > {kept}\n"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        expected = int(block.note.removeprefix("exits=")) if block.note.startswith("exits=") else 0
        assert done.returncode == expected, f"{block.text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        if expected == 0:
            self.variables = dict(entry.split("=", 1) for entry in kept.read_text().split("\0") if "=" in entry)
        self.output = done.stdout

    def _compare(self, block: Block) -> None:
        """Every line stands in the output of the last command, in this order, whatever the tables' frames."""
        shown = [" ".join(_FRAME.sub(" ", line).split()) for line in self.output.splitlines()]
        place = 0
        for line in block.text.splitlines():
            wanted = " ".join(line.split())
            found = next((i for i, candidate in enumerate(shown[place:], place) if wanted in candidate), None)
            assert found is not None, f"{wanted!r} is not in what follows:\n" + "\n".join(shown[place:])
            place = found + 1


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """The reader, when all but the training is done."""
    reader = Reader(tmp_path_factory.mktemp("guide"))
    for block in blocks():
        if block.note != "train":
            reader.follow(block)
    return reader


@pytest.mark.slow
def test_the_guide_leads_to_rows_that_verl_reads(reader: Reader) -> None:
    import pyarrow.parquet as pq

    for name, count in (("lengths", 120), ("library", 3)):
        rows = pq.read_table(reader.folder / "data" / name / "train.parquet").to_pylist()
        assert len(rows) == count
        assert {row["data_source"] for row in rows} == {name}


@pytest.mark.slow
def test_the_guides_environments_are_as_small_as_promised(reader: Reader) -> None:
    for name, most in (("lengths", 60), ("library", 100)):
        assert len((reader.folder / "environments" / name / "__init__.py").read_text().splitlines()) <= most


@pytest.mark.slow
@pytest.mark.ray
def test_the_guides_environment_trains(reader: Reader) -> None:
    (train,) = (block for block in blocks() if block.note == "train")
    reader.follow(train)
    steps = [row["data"] for row in read_json_lines(reader.folder / "metrics.jsonl")]
    trained = [step for step in steps if "reward/correct/mean" in step]
    assert len(trained) == 2
    assert any(step["actor/skipped_steps"] == 0 and step["actor/grad_norm"] > 0 for step in trained)
    assert all(0 < step["reward/format/mean"] < 1 for step in trained)
    lines = read_json_lines(reader.folder / "rollouts" / "2.jsonl")
    assert len(lines) == 16 * 8
    assert {"correct", "format", "score"} <= set(lines[0])
