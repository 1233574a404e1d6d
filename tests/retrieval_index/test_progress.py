"""The line that says how far a build is. Needs no veRL and no GPU."""

from __future__ import annotations

import io

from rich.console import Console

from retrieval_index.cli.progress import EVERY, WINDOW_S, Pace, build_progress


def test_rate_share_and_time_left() -> None:
    pace = Pace(100.0)
    assert pace.line(1000, 0.25, 110.0) == "1,000 documents, 100 a second, 25%, 0:30 left, 0:10 gone"


def test_the_rate_is_the_last_seconds() -> None:
    """A part that was only read again does not make what follows look fast."""
    pace = Pace(0.0)
    pace.line(1_000_000, 0.5, 1.0)
    for second in range(2, 200):
        line = pace.line(1_000_000 + 10 * second, 0.5 + second / 1000, float(second))
    assert line.startswith("1,001,990 documents, 10 a second, 70%, 5:01 left")
    assert WINDOW_S < 200


def test_an_unknown_size_has_no_share() -> None:
    assert Pace(0.0).line(500, None, 3700.0) == "500 documents, 0 a second, 1:01:40 gone"


def test_lines_without_a_terminal_and_a_live_line_on_one() -> None:
    for is_terminal in (False, True):
        shown = io.StringIO()
        with build_progress(Console(file=shown, force_terminal=is_terminal, width=120), lambda: 0.5) as progress:
            for count in (1, EVERY, EVERY + 1):
                progress(count)
        assert f"{EVERY:,} documents" in shown.getvalue()
        assert "50%" in shown.getvalue()
        assert shown.getvalue().count("documents") == 1 or is_terminal
