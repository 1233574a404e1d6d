"""The viewer in a real browser: what is on each screen, the way from a run to a token, keys, sizes, hostile text.

Slow: starts Chromium (Debian's package `chromium`), which a machine without it skips.
"""

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from support.paths import ROOT
from support.ports import free_port
from support.recorded_run import write_run

from wapo_verl.data.question_index import question_id
from wapo_verl.viewer.app import create_app
from wapo_verl.viewer.export import export
from wapo_verl.viewer.runs import open_runs

CHROMIUM = shutil.which("chromium")
WIDE, NARROW = (1280, 900), (390, 844)
HOSTILE = (
    "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>",
    "\u202eright to left\u0007\u0000" + "x" * 100_000,
    "</pre><a href='javascript:window.pwned=3'>click</a>",
)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=flags)


class Served:
    """The viewer on a free port, in a thread."""

    def __init__(self, run: Path, token: str | None = None) -> None:
        port = free_port()
        self.address = f"http://127.0.0.1:{port}/"
        self.server = uvicorn.Server(uvicorn.Config(create_app(open_runs([run]), token), port=port, log_level="error"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.05)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(timeout=30)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(write_run(tmp_path / "run"))
    yield made
    made.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test for an error on its console, or a request to anywhere but this machine."""
    context = browser.new_context(viewport={"width": WIDE[0], "height": WIDE[1]})
    opened = context.new_page()
    errors: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    context.close()
    assert errors == []
    assert [url for url in asked if not url.startswith(("http://127.0.0.1:", "file://", "data:"))] == []


def open_at(page: Page, address: str, wait_for: str) -> None:
    page.goto(address)
    expect(page.locator("h1")).to_contain_text(wait_for, timeout=20_000)


def test_from_a_run_to_its_tokens(served: Served, page: Page) -> None:
    open_at(page, served.address, "run")
    expect(page.get_by_text("critic/score/mean")).to_be_visible()
    expect(page.get_by_text("entropy_low: steps 2 to 3")).to_be_visible()
    page.get_by_role("link", name="2", exact=True).click()
    expect(page.locator("h1")).to_contain_text("rollouts, step 2")
    expect(page.get_by_text("without a winner: 1 all wrong, 0 all right")).to_be_visible()
    assert page.locator(".cell").count() == 8
    page.get_by_role("link", name="Question 0?").click()
    expect(page.get_by_text("2 of 4 win")).to_be_visible()
    expect(page.locator(".parting ins")).to_contain_text("Skobworth")
    expect(page.locator(".parting del")).to_contain_text("Fladglade")
    page.locator(".card").last.get_by_role("link").first.click()
    expect(page.locator("h1")).to_contain_text("Completion: reward 0")
    expect(page.get_by_text("Gold documents that no search returned: Vonursel/birthplace")).to_be_visible()
    assert page.locator(".token.theirs").count() == 1
    page.get_by_label("Colour by").select_option("advantage")
    assert "color=advantage" in page.url
    page.locator(".token").first.hover()
    expect(page.locator("#token-numbers")).to_contain_text("advantage -0.5")
    page.get_by_label("Colour by").select_option("bin")
    expect(page.locator(".scale").first).to_have_text(" neg_peak neg_valley")
    expect(page.locator(".token.bin-neg_valley")).to_have_count(1)
    page.locator(".token.bin-neg_valley").hover()
    expect(page.locator("#token-numbers")).to_contain_text("entropy 1.5, taxonomy bin neg_valley")


def test_where_winner_and_loser_part_is_a_link_to_the_token(served: Served, page: Page) -> None:
    open_at(page, f"{served.address}#run=0&set=rollouts&step=2", "step 2")
    page.get_by_role("link", name="Question 0?").click()
    said = page.locator(".parting")
    expect(said).to_contain_text("part at token ")
    token = said.inner_text().split("token ")[1].split(",")[0]
    said.locator("del a").click()
    expect(page.locator("h1")).to_contain_text("Completion: reward 0")
    expect(page.locator(".token.here")).to_have_attribute("data-at", token)
    expect(page.locator("#token-numbers")).to_contain_text(f"token {token} ")


def test_a_missed_document_is_found_whatever_was_filtered(served: Served, page: Page) -> None:
    open_at(page, f"{served.address}#run=0&set=rollouts&step=2&show=right", "step 2")
    expect(page.locator(".group")).to_have_count(0)
    page.get_by_text("Gold documents that were missed").click()
    page.locator("details a").first.click()
    expect(page.locator(".group").first).to_be_visible()
    open_at(page, f"{served.address}#run=0&set=rollouts&step=2&show=right", "step 2")
    page.get_by_role("link", name="Show all groups").click()
    expect(page.locator(".group")).to_have_count(2)


def test_another_page_begins_at_its_top_and_a_filter_keeps_the_place(served: Served, page: Page) -> None:
    page.set_viewport_size({"width": 700, "height": 300})
    open_at(page, served.address, "run")
    page.evaluate("window.scrollTo(0, 200)")
    page.get_by_role("link", name="2", exact=True).click()
    expect(page.locator("h1")).to_contain_text("rollouts, step 2")
    assert page.evaluate("window.scrollY") == 0
    page.evaluate("window.scrollTo(0, 120)")
    page.get_by_label("sort by").select_option("mean")
    expect(page).to_have_url(re.compile("sort=mean"))
    expect(page.locator(".group").first).to_be_visible()
    assert page.evaluate("window.scrollY") > 0
    page.get_by_role("link", name="next step").click()
    expect(page.locator("h1")).to_contain_text("rollouts, step 3")


def test_an_alarm_leads_to_its_worst_episodes(served: Served, page: Page) -> None:
    open_at(page, served.address, "run")
    page.get_by_role("link", name="entropy_low").click()
    expect(page.get_by_text("Alarm entropy_low")).to_be_visible()
    assert page.locator(".cell.marked").count() == 8


def test_sorting_filtering_and_searching_stand_in_the_address(served: Served, page: Page) -> None:
    open_at(page, f"{served.address}#run=0&set=rollouts&step=1", "step 1")
    page.get_by_label("show").select_option("wrong")
    expect(page.locator(".group")).to_have_count(1)
    expect(page.locator(".group")).to_contain_text("Question 1?")
    page.get_by_label("show").select_option("mixed")
    expect(page.locator(".group")).to_contain_text("Question 0?")
    page.get_by_label("Search in this step").fill("nowhere")
    page.get_by_label("Search in this step").press("Enter")
    expect(page.locator(".group")).to_have_count(0)
    address = page.url
    page.goto("about:blank")
    open_at(page, address, "step 1")
    expect(page.locator(".group")).to_have_count(0)


def test_verls_own_lines_of_a_validation_are_shown(page: Page, tmp_path: Path) -> None:
    """They have no episode's record: neither turns nor searches, and nothing says how they ended."""
    uid = "00eda1a0-c93f-4456-81b8-a426b81f9f66"
    line = {"input": "Who?", "output": "<answer> Ada </answer>", "gts": {"answers": ["Ada"]}, "score": 1.0, "step": 3}
    folder = write_run(tmp_path / "run") / "validation"
    folder.mkdir()
    (folder / "3.jsonl").write_text(json.dumps({**line, "exact_match": 1.0, "uid": f"{uid}_0_0"}) + "\n")
    served = Served(tmp_path / "run")
    try:
        open_at(page, f"{served.address}#run=0&set=validation&step=3", "validation, step 3")
        page.get_by_role("link", name="Who?").click()
        page.locator(".card").first.get_by_role("link").first.click()
        expect(page.locator("h1")).to_contain_text("Completion: reward 1")
        expect(page.get_by_text("How it ended was not recorded. Right: Ada.")).to_be_visible()
        expect(page.locator(".turn.assistant")).to_contain_text("<answer> Ada </answer>")
    finally:
        served.stop()


def test_questions_over_the_whole_run_lead_to_their_groups(served: Served, page: Page) -> None:
    open_at(page, f"{served.address}#run=0", "run")
    page.get_by_role("link", name="questions of rollouts").click()
    expect(page.locator("h1")).to_contain_text("Questions of rollouts, all steps")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("show").select_option("never")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("0 of 3")
    expect(page.locator("tbody tr")).to_contain_text("12: Vonursel/birthplace")
    page.get_by_role("link", name="Question 1?").click()
    expect(page.locator("h1")).to_contain_text("Question 1?")
    page.get_by_role("link", name="step 2").click()
    expect(page.get_by_text("All rewards are equal")).to_be_visible()
    page.locator(".elsewhere").get_by_role("link", name="step 3 (0)").click()
    expect(page).to_have_url(re.compile("step=3&group="))
    expect(page.locator(".elsewhere")).to_contain_text("step 2")
    page.get_by_role("link", name="this question over the whole run").click()
    expect(page.get_by_text("run, rollouts: asked 3 times")).to_be_visible()


def test_the_documents_that_were_missed_over_the_run_lead_to_their_questions(served: Served, page: Page) -> None:
    open_at(page, f"{served.address}#run=0&set=rollouts&table=documents", "Gold documents")
    expect(page.locator("tbody tr").first).to_contain_text("Vonursel/birthplace")
    page.get_by_role("button", name="missed", exact=False).first.click()
    expect(page.locator("tbody tr").first).to_contain_text("Losandor/author")
    page.get_by_role("link", name="Vonursel/birthplace").click()
    expect(page.locator("tbody tr")).to_have_count(2)


def test_the_same_question_at_two_steps(served: Served, page: Page) -> None:
    open_at(page, f"{served.address}#run=0&set=rollouts&step=1&compare=1&step2=3", "Compare")
    expect(page.get_by_text("rollouts step 1: mean reward 0.5")).to_be_visible()
    expect(page.get_by_text("rollouts step 3: mean reward 0.5")).to_be_visible()
    page.get_by_role("link", name="rollouts 1").click()
    expect(page.locator("h1")).to_contain_text("rollouts, step 1")
    open_at(page, f"{served.address}#run=0&set=rollouts&step=1&compare=1&step2=3&question=Nobody+asked", "Compare")
    expect(page.get_by_text("rollouts step 3: this question was not asked")).to_be_visible()


def test_everything_can_be_reached_by_keys(served: Served, page: Page) -> None:
    open_at(page, f"{served.address}#run=0&set=rollouts&step=1", "step 1")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Group")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Completion")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#token-numbers")).to_contain_text("token 0")
    page.keyboard.press("u")
    expect(page.locator("h1")).to_contain_text("Group")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    expect(page.locator("h1")).to_contain_text("step 1")
    page.keyboard.press("/")
    page.keyboard.type("Question 1")
    page.keyboard.press("Enter")
    expect(page.locator(".group")).to_have_count(1)


def test_a_run_that_goes_on_shows_its_new_steps(served: Served, page: Page, tmp_path: Path) -> None:
    open_at(page, f"{served.address}#run=0", "run")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "data": {"critic/score/mean": 0.987}}\n')
    expect(page.get_by_text("0.987").first).to_be_attached(timeout=15_000)


def test_what_a_policy_wrote_is_never_run(page: Page, tmp_path: Path) -> None:
    served = Served(write_run(tmp_path / "run", text=HOSTILE))
    try:
        open_at(page, f"{served.address}#run=0&set=rollouts&step=1", "step 1")
        for screen in ("Question 0?", "winner"):
            page.get_by_role("link", name=screen).first.click()
            expect(page.get_by_text("<script>window.pwned = 1</script>").first).to_be_attached()
        expect(
            page.get_by_text("⟨U+202E⟩right to left⟨U+7⟩").or_(page.get_by_text("⟨U+202E⟩right")).first
        ).to_be_attached()
        assert page.evaluate("window.pwned") is None
        assert page.locator("a[href^='javascript']").count() == 0
    finally:
        served.stop()


def test_an_export_opens_without_a_server(served: Served, page: Page, tmp_path: Path) -> None:
    file = tmp_path / "out.html"
    export(open_runs([tmp_path / "run"])[0], "rollouts", 2, file)
    served.stop()
    open_at(page, f"{file.as_uri()}#run=0&set=rollouts&step=2", "step 2")
    page.get_by_role("link", name="Question 0?").click()
    page.locator(".card").first.get_by_role("link").first.click()
    expect(page.locator(".token").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_finding_of_accessibility_and_nothing_wider_than_the_screen(
    served: Served, browser: Browser, scheme: str
) -> None:
    for width, height in (WIDE, NARROW):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        page = context.new_page()
        step = f"{served.address}#run=0&set=rollouts&step=1"
        uid = "00000000-0000-0000-0000-000000000000"
        for address, title in (
            (f"{served.address}#run=0", "run"),
            (step, "step 1"),
            (f"{step}&group={uid}", "Group"),
            (f"{step}&group={uid}&key={uid}_1_0", "Completion"),
            (f"{step}&compare=1&step2=2", "Compare"),
            (f"{served.address}#run=0&set=rollouts&table=questions", "Questions"),
            (f"{served.address}#run=0&set=rollouts&table=documents", "Gold documents"),
            (f"{served.address}#run=0&set=rollouts&asked={question_id('Question 0?')}", "Question 0?"),
        ):
            page.goto("about:blank")
            open_at(page, address, title)
            found = Axe().run(page).response["violations"]
            assert [
                (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")
            ] == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width, address
        context.close()


PICTURES = {
    "run": "#run=0",
    "step": "#run=0&set=rollouts&step={step}",
    "group": "#run=0&set=rollouts&step={step}&group={group}",
    "questions": "#run=0&set=rollouts&table=questions&show=never",
    "completion": "#run=0&set=rollouts&step={step}&group={group}&key={key}",
}
"""Name of a picture in docs/viewer.md -> its address."""


def mixed_group(run: Path) -> dict[str, str]:
    """The middle step of a run: its first group with winners and losers, and a loser of it that searched."""
    steps = sorted(int(file.stem) for file in (run / "rollouts").glob("*.jsonl"))
    step = steps[len(steps) // 2]
    groups: dict[str, list[dict]] = {}
    for line in (run / "rollouts" / f"{step}.jsonl").read_text().splitlines():
        completion = json.loads(line)
        groups.setdefault(completion["uid"].rsplit("_", 2)[0], []).append(completion)
    group, rows = next((group, rows) for group, rows in groups.items() if len({row["score"] for row in rows}) > 1)
    key = next(row["uid"] for row in rows if row["score"] == 0 and row["episode"]["queries"])
    return {"step": str(step), "group": group, "key": key}


def test_the_pictures_of_the_docs(page: Page, tmp_path: Path) -> None:
    """Write docs/viewer_NAME.png of the run that WAPO_VERL_PICTURES names; without it, of a made one, and keep none."""
    real = os.environ.get("WAPO_VERL_PICTURES")
    run, out = (Path(real), ROOT / "docs") if real else (write_run(tmp_path / "run"), tmp_path)
    served, places = Served(run), mixed_group(run)
    page.set_viewport_size({"width": WIDE[0], "height": 700})
    try:
        for name, address in PICTURES.items():
            page.goto("about:blank")
            page.goto(served.address + address.format(**places))
            expect(page.locator("h1")).to_be_visible(timeout=20_000)
            expect(page.locator("#crumbs li").last).to_be_visible()
            file = out / f"viewer_{name}.png"
            file.write_bytes(page.screenshot(full_page=name == "completion"))
            assert file.stat().st_size > 10_000, "more than an empty page"
    finally:
        served.stop()


def test_the_docs_show_every_picture() -> None:
    text = (ROOT / "docs" / "viewer.md").read_text()
    for name in PICTURES:
        assert f"(viewer_{name}.png)" in text
        assert (ROOT / "docs" / f"viewer_{name}.png").is_file()
