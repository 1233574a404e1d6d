"""The line that says how far a build is. Needs no veRL and no GPU."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from retrieval_index.cli.progress import EVERY, WINDOW_S, build_progress


class Shown:
    """The lines for a terminal, or none, with a clock and a share of its own."""

    def __init__(self, share: float | None = 0.0, is_terminal: bool = False) -> None:
        self.now, self.share, self.text = 100.0, share, io.StringIO()
        console = Console(file=self.text, force_terminal=is_terminal, width=120)
        self.progress = build_progress(console, None if share is None else self._share, lambda: self.now)

    def _share(self) -> float:
        assert self.share is not None
        return self.share

    @property
    def line(self) -> str:
        return " ".join(self.text.getvalue().splitlines()[-1].split())


def test_rate_share_and_time_left() -> None:
    shown = Shown()
    with shown.progress as progress:
        for number in (1, 2):
            shown.now, shown.share = shown.now + 10, 0.25 * number
            progress(EVERY * number)
    assert shown.line == "100,000 documents, 5,000 a second 50% 0:00:20 left 0:00:20 gone"


def test_the_first_line_has_a_rate() -> None:
    shown = Shown()
    with shown.progress as progress:
        shown.now, shown.share = 110.0, 0.25
        progress(EVERY)
    assert shown.line.startswith("50,000 documents, 5,000 a second 25%")


def test_the_rate_is_the_last_seconds() -> None:
    """A part that was only read again does not make what follows look fast."""
    shown = Shown()
    with shown.progress as progress:
        shown.now, shown.share = 101.0, 0.5
        progress(20 * EVERY)
        for number in range(1, 20):
            shown.now, shown.share = shown.now + 10, 0.5 + number / 100
            progress((20 + number) * EVERY)
    assert shown.line == "1,950,000 documents, 5,000 a second 69% 0:02:56 left 0:03:11 gone"
    assert WINDOW_S < 190


def test_an_unknown_size_has_no_share() -> None:
    shown = Shown(share=None)
    with shown.progress as progress:
        shown.now += 3700
        progress(EVERY)
    assert shown.line == "50,000 documents, 14 a second 1:01:40 gone"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_lines_without_a_terminal_and_a_live_line_on_one(is_terminal: bool) -> None:
    shown = Shown(0.5, is_terminal)
    with shown.progress as progress:
        for count in (1, EVERY, EVERY + 1):
            shown.now += 1
            progress(count)
    assert f"{EVERY:,} documents" in shown.text.getvalue()
    assert "50%" in shown.text.getvalue()
    assert shown.text.getvalue().count("documents") == 1 or is_terminal
