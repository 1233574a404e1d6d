"""Files with one JSON value a line. No GPU, no veRL."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wapo_verl.data.json_lines import read_json_lines


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
@example(["a\u2028b", "\x85", "\x1c\r\n", "\u2029"])
def test_only_a_newline_ends_a_line(texts: list[str]) -> None:
    """veRL's dumps hold decoded text as it is, and str.splitlines would cut at more than line feeds."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "1.jsonl"
        file.write_bytes("".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts).encode())
        assert read_json_lines(file) == texts


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    file = tmp_path / "1.jsonl"
    file.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(ValueError, match=r"1\.jsonl, line 2, is not JSON \(.*\); remove the line, or"):
        read_json_lines(file)
