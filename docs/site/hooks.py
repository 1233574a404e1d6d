"""MkDocs hooks: add the pages of `benchmarks/` and an API page for every room to the site.

Pages of `benchmarks/` lie outside `docs/`, beside the scripts that print them. Links to them and back are written as
they work in a checkout (`../benchmarks/guard.md`), and changed here to what works in the site.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]


def _rooms() -> list[str]:
    """Return the import names of the rooms of `wapo_verl/`, and `retrieval_index`."""
    inside = (ROOT / "wapo_verl").iterdir()
    names = [place.stem for place in inside if (place / "__init__.py").is_file() or place.suffix == ".py"]
    return [*(f"wapo_verl.{name}" for name in sorted(names) if not name.startswith("_")), "retrieval_index"]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the benchmarks' pages and the API's to the navigation."""
    results = next(section["Results"] for section in config.nav if "Results" in section)
    results += [f"benchmarks/{page.name}" for page in _benchmarks()]
    config.nav.append({"API": [{room: _api_page(room)} for room in _rooms()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Generate the pages."""
    for page in _benchmarks():
        files.append(File.generated(config, f"benchmarks/{page.name}", content=page.read_text()))
    for room in _rooms():
        files.append(File.generated(config, _api_page(room), content=_api(room)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links and heads of code blocks that work in a checkout into those that work in the site."""
    markdown = re.sub(r"^```(\w+) ([\w./]+\.\w+)$", r'``` { .\1 title="\2" }', markdown, flags=re.MULTILINE)
    markdown = re.sub(r"^```(\w+) .+$", r"```\1", markdown, flags=re.MULTILINE)  # notes for the tests of a page
    markdown = re.sub(r"\[([\w/]+\.md)\]\(([^)]+)\)", _titled, markdown)
    up = "../" * page.file.src_uri.count("/")
    if page.file.src_uri.startswith("benchmarks/"):
        return re.sub(r"\]\(\.\./docs/", f"]({up}", markdown)
    return re.sub(r"\]\((?:\.\./)+benchmarks/([\w.]+\.md)", rf"]({up}benchmarks/\1", markdown)


def _titled(link: re.Match[str]) -> str:
    """Return a link whose text is a file's name with the page's title in place of it."""
    name = link[1].split("/")[-1]
    titles = [
        line.removeprefix("# ")
        for file in [*(ROOT / "docs").rglob(name), *(ROOT / "benchmarks").glob(name)]
        for line in file.read_text().splitlines()[:1]
    ]
    return f"[{titles[0]}]({link[2]})" if len(titles) == 1 else link[0]


def _benchmarks() -> list[Path]:
    return sorted((ROOT / "benchmarks").glob("*.md"))


def _api_page(room: str) -> str:
    return f"api/{room}.md"


def _api(room: str) -> str:
    """Return an API page: the docstring of the room, then each of its modules with its public members."""
    place = ROOT / room.replace(".", "/")
    if not place.is_dir():
        return f"# {room}\n\n::: {room}\n"
    modules = [_name(file) for file in sorted(place.rglob("*.py")) if not file.name.startswith("_")]
    head = f"# {room}\n\n::: {room}\n    options: {{members: false, show_root_heading: false}}\n"
    return head + "".join(f"\n::: {module}\n" for module in modules)


def _name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)
