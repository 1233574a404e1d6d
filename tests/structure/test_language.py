"""Words that a reader who learned English as a second language stumbles over do not occur. No GPU."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.paths import ROOT

INSTEAD = {
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\b(go(es)?|gone|went|going) on with\b": "resume, continue",
    r"\bLeft out:": "say it where it matters",
    r"\bto be had\b": "is not available",
}
"""What not to write -> what to write."""

READ = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs",
    "recipes",
    "benchmarks",
    "examples",
    "wapo_verl",
    "envs",
    "retrieval_index",
)
"""What people read; the parts of `wapo_verl/` count one by one."""

KNOWN: set[str] = set()
"""Parts that still have such words. Take an entry out together with its last one; never add one."""


def parts() -> list[Path]:
    found = []
    for name in READ:
        place = ROOT / name
        inner = (child for child in place.iterdir() if child.name != "__pycache__") if name == "wapo_verl" else [place]
        found += [part for part in inner if part.exists()]
    return sorted(found)


def faults(part: Path) -> list[str]:
    files = sorted(part.rglob("*")) if part.is_dir() else [part]
    return [
        f"{file.relative_to(ROOT)}:{number}: {match.group()!r}: write {better}"
        for file in files
        if file.suffix in (".py", ".md", ".txt", ".yaml", ".sh")
        for number, line in enumerate(file.read_text().splitlines(), 1)
        for pattern, better in INSTEAD.items()
        if (match := re.search(pattern, line))
    ]


@pytest.mark.parametrize("name", [str(part.relative_to(ROOT)) for part in parts()])
def test_no_words_that_stop_a_reader(name: str) -> None:
    there = faults(ROOT / name)
    if name in KNOWN:
        assert there, f"{name} is clean: take it out of KNOWN"
    else:
        assert not there, "\n".join(there)


def test_known_parts_are_there() -> None:
    assert {str(part.relative_to(ROOT)) for part in parts()} >= KNOWN, "take what is gone out of KNOWN"


def test_such_words_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "page.md").write_text("It says the mend.\nIt is resumed.\n")
    assert faults(tmp_path / "page.md") == ["page.md:1: 'mend': write fix"]
