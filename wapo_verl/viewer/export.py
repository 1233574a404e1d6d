"""One self-contained HTML file of a chosen step: page, scripts and data, for any browser, without a server."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from wapo_verl.viewer import completions
from wapo_verl.viewer.answer import encoded
from wapo_verl.viewer.app import STATIC
from wapo_verl.viewer.completions import StepReader
from wapo_verl.viewer.runs import Run, ViewError

MOST_BYTES = 5_000_000
"""The largest file that is written."""

_IMPORT = re.compile(r'^import (?:\{[^}]*\} )?(?:from )?"\./([a-z_]+)\.js";\n', re.MULTILINE)


def export(run: Run, name: str, step: int, file: Path) -> int:
    """Write one step of a run as a page, and return its bytes.

    The groups are written in the file's order for as long as they fit; the page says how many are left out.

    Raises:
        ViewError: when there is no such step, or nothing of it fits.
        OSError: when the file cannot be written.
    """
    read = StepReader().read(run.records(name).file(step))
    read.refuse_none()
    base = f"/api/runs/0/sets/{name}/steps/{step}"
    about = {**run.described(), "folder": "", "sets": [{"name": name, "steps": [step]}]}
    data: dict[str, Any] = {"/api/runs": [about], "/api/runs/0/metrics": run.columns()}
    room = MOST_BYTES - len(page_of(data).encode())
    kept = []
    groups = completions.groups(read)
    for group in groups:
        members = completions.group(read, group["group"])
        pages: dict[str, Any] = {f"{base}/group?group={group['group']}": members}
        for member in members:
            pages[f"{base}/completion?key={member['key']}"] = completions.completion(read, member["key"])
        size = len(_json(pages).encode()) + len(_json(group).encode()) + 2
        if size > room:
            break
        room -= size
        data.update(pages)
        kept.append(group)
    if not kept:
        raise ViewError(f"not even one group of {name} step {step} fits into {MOST_BYTES:,} bytes")
    data[f"{base}/groups"] = {"groups": kept, "cut": read.cut, "left_out": len(groups) - len(kept)}
    text = page_of(data).encode()
    file.write_bytes(text)
    return len(text)


def page_of(data: dict[str, Any]) -> str:
    """Return the page with its style, its scripts as one, and `data` as the answers to what it asks for."""
    script = bundle()
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:"
    html = (STATIC / "index.html").read_text(encoding="utf-8")
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{style}</style>'
    body = f'<script type="application/json" id="data">{_json(data)}</script>\n<script type="module">{script}</script>'
    html = html.replace('<link rel="stylesheet" href="/static/style.css">', head)
    return html.replace('<script type="module" src="/static/main.js"></script>', body)


def bundle() -> str:
    """Return the page's modules as one script, each after those it imports."""
    done: dict[str, str] = {}

    def add(name: str) -> None:
        if name in done:
            return
        text = (STATIC / f"{name}.js").read_text(encoding="utf-8")
        done[name] = ""
        for needed in _IMPORT.findall(text):
            add(needed)
        del done[name]
        done[name] = re.sub(r"^export ", "", _IMPORT.sub("", text), flags=re.MULTILINE)

    add("main")
    return "\n".join(done.values())


def _json(value: Any) -> str:
    """Encode for a script element, in which nothing but `</` and `<!` could end it."""
    return encoded(value).decode().replace("<", "\\u003c")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
