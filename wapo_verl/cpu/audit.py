"""Ask for known vulnerabilities of the pinned packages: what `make audit` runs. Imports nothing that is not in Python.

pip-audit runs outside this environment (by uv) and asks the package index about each pin; nothing is installed or
resolved. The status is 0 if every pin was checked and none has a known vulnerability, 1 if one has, and 2 if not every
pin could be checked, because the index cannot be reached or does not know the package: that is not a pass.

Options of pip-audit follow the files: where the index cannot be reached but a mirror of the OSV list can, those are
`--vulnerability-service osv --osv-url http://mirror/v1/query`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PIP_AUDIT = "pip-audit==2.10.1"
SAFE, VULNERABLE, UNCHECKED = 0, 1, 2


def pins(texts: Sequence[str]) -> list[str]:
    """Return the pins ("name==version") in texts of requirements, without their hashes."""
    return [pin for text in texts for pin in re.findall(r"^[A-Za-z0-9._-]+==[^\s;\\]+", text, re.MULTILINE)]


def judge(answers: Sequence[Mapping[str, Any]], asked: Sequence[str]) -> tuple[int, list[str]]:
    """Read pip-audit's answers.

    Args:
        answers: Its `dependencies`: for each a name, with a version and `vulns`, or with a `skip_reason`.
        asked: The pins.

    Returns:
        The status, and the lines to show.
    """
    checked = [answer for answer in answers if "vulns" in answer]
    lines = [
        f"{answer['name']} {answer['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'none'}"
        for answer in checked
        for flaw in answer["vulns"]
    ]
    unchecked = len(asked) - len(checked)
    status = VULNERABLE if lines else UNCHECKED if unchecked else SAFE
    lines.append(f"audit: {len(checked)} of {len(asked)} pins checked, {len(lines)} known vulnerabilities")
    if unchecked:
        names = sorted(answer["name"] for answer in answers if "vulns" not in answer)
        shown = ", ".join(names[:5] + ["..."] * (len(names) > 5)) or "no answer at all"
        lines.append(
            f"audit: {unchecked} pins were NOT checked, which is no pass ({shown}): "
            "the package index does not answer for them; try again with a network"
        )
    return status, lines


def main(uv: str, files: Sequence[str], options: Sequence[str] = ()) -> int:
    """Audit the pins of some files of requirements, show what is known, and return the status.

    Args:
        uv: The program that fetches and runs pip-audit.
        files: The files of requirements.
        options: More of pip-audit's options.
    """
    asked = pins([Path(file).read_text(encoding="utf-8") for file in files])
    with tempfile.TemporaryDirectory() as folder:
        requirements, answer = Path(folder, "pins.txt"), Path(folder, "answer.json")
        requirements.write_text("\n".join(asked), encoding="utf-8")
        command = [uv, "tool", "run", "--from", PIP_AUDIT, "pip-audit", "--disable-pip", "--no-deps"]
        command += ["--progress-spinner", "off", "--format", "json", "-o", str(answer), "-r", str(requirements)]
        command += options
        done = subprocess.run(command, capture_output=True, text=True)
        if answer.is_file():
            status, lines = judge(json.loads(answer.read_text(encoding="utf-8"))["dependencies"], asked)
        else:
            status, lines = judge([], asked)
            lines[:0] = done.stderr.splitlines()[-1:]
    sys.stdout.write("\n".join(lines) + "\n")
    return status


if __name__ == "__main__":
    first_option = next((place for place, word in enumerate(sys.argv) if word.startswith("--")), len(sys.argv))
    sys.exit(main(sys.argv[1], sys.argv[2:first_option], sys.argv[first_option:]))
