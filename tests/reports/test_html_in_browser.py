"""The HTML report in a real browser: from disk, without network, without script, by keyboard, for everybody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import fake_runs as fake
import pytest
from hostile import PAYLOADS, hostile_run
from pages import CHROMIUM, FLAGS, batch, page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

AXE = Path(os.environ.get("AXE_CORE", Path(__file__).parents[2] / ".cache" / "axe.min.js"))
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install it, or name it in CHROMIUM")


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield found
        found.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for name, run in {"batch": batch(), "passed": fake.passing(), "failed": fake.failing()}.items():
        (folder / f"{name}.html").write_text(page(run), encoding="utf-8")
    return folder


class Opened:
    """A page from disk that may not reach any network, and what it complained about."""

    def __init__(self, browser: sync_api.Browser, path: Path, *, hash_: str = "", width: int = 1280, **options) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri() + hash_)

    def visible(self, selector: str) -> int:
        return sum(node.is_visible() for node in self.page.query_selector_all(selector))

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


def test_it_opens_from_disk_asks_for_nothing_and_complains_about_nothing(browser, files):
    with Opened(browser, files / "batch.html") as one:
        assert one.page.title().startswith("✗ Failed · 2 of 25 jobs failed")
        assert [url for url in one.asked if not url.startswith(("file:", "data:"))] == []
        assert one.complaints == []


def test_without_script_everything_is_there(browser, files):
    with Opened(browser, files / "batch.html", java_script_enabled=False) as one:
        assert one.visible("section.problem") == 4
        assert one.visible("table.jobs tbody tr") == 25
        assert one.visible("main details[id$='/4'] > summary") == 5
        assert not one.visible("#tools")


@pytest.mark.parametrize("name", ["batch", "passed", "failed"])
def test_nothing_is_wider_than_a_phone(browser, files, name):
    with Opened(browser, files / f"{name}.html", width=420) as one:
        assert one.page.evaluate("document.documentElement.scrollWidth") <= 420


@pytest.mark.parametrize("name", ["batch", "passed", "failed"])
def test_nothing_is_cut_off_on_paper(browser, files, name):
    # What a sheet of A4 leaves between its margins.
    with Opened(browser, files / f"{name}.html", width=718) as one:
        one.page.emulate_media(media="print")
        too_wide = """() => [...document.querySelectorAll("table, .scroll svg")]
            .filter(it => it.getBoundingClientRect().right > 718).map(it => it.outerHTML.slice(0, 80))"""
        assert one.page.evaluate(too_wide) == []


def test_an_address_opens_its_criterion_and_moves_the_focus_there(browser, files):
    with Opened(browser, files / "batch.html", hash_="#sft_standard/batch/5/trains") as one:
        assert one.visible("[id='sft_standard/batch/5/trains']")
        assert one.page.evaluate("document.activeElement.id") == "sft_standard/batch/5/trains"


def test_filters_live_in_the_address_and_work_on_rows_and_problems(browser, files):
    with Opened(browser, files / "batch.html", hash_="#q=verdict:failed+template:dpo") as one:
        assert one.visible("table.jobs tbody tr") == 1
        assert one.visible("section.problem") == 1
        one.page.click(".tools a[data-chip='']")
        one.page.select_option(".tools select[name=template]", "")
        assert one.visible("table.jobs tbody tr") == 25


def test_a_filter_that_nothing_fits_says_how_many_there_are_without_it(browser, files):
    with Opened(browser, files / "batch.html") as one:
        one.page.keyboard.press("/")
        one.page.keyboard.type("no such job")
        assert one.visible("table.jobs tbody tr") == 0
        assert one.page.inner_text("#none") == "No job fits this filter; there are 25 without it."


def test_keys_walk_through_the_problems(browser, files):
    with Opened(browser, files / "batch.html") as one:
        one.page.keyboard.press("j")
        one.page.keyboard.press("j")
        assert "No NaN loss" in one.page.evaluate("document.activeElement.textContent")
        one.page.keyboard.press("k")
        assert "Loss decreases" in one.page.evaluate("document.activeElement.textContent")
        one.page.keyboard.press("Enter")
        assert one.page.evaluate("decodeURIComponent(location.hash)") == "#dpo_standard/batch/4"
        one.page.keyboard.press("f")
        assert one.visible("table.jobs tbody tr") == 2
        one.page.keyboard.press("?")
        assert one.visible("#help")


def test_a_column_sorts_by_what_it_means(browser, files):
    with Opened(browser, files / "batch.html") as one:
        one.page.click("table.jobs th:has-text('last loss') button")
        first = one.page.inner_text("table.jobs tbody tr:first-child td:nth-child(6)")
        assert first == min(
            one.page.eval_on_selector_all("table.jobs td:nth-child(6)", "all => all.map(n => n.textContent)")
        )


def test_the_first_paint_comes_at_once(browser, files):
    with Opened(browser, files / "batch.html") as one:
        paint = "performance.getEntriesByType('paint')[0]?.startTime ?? 0"
        assert one.page.evaluate(paint) <= 2_000  # 0.1 s when nothing else runs; the limit is for a busy machine


@pytest.mark.skipif(not AXE.exists(), reason="no axe-core here: `npm pack axe-core` and name axe.min.js in AXE_CORE")
@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("batch", 420, "light"), ("failed", 1280, "dark"), ("failed", 420, "dark"), ("passed", 1280, "light")],
)
def test_no_rule_of_accessibility_is_broken(browser, files, name, width, scheme):
    with Opened(browser, files / f"{name}.html", width=width, color_scheme=scheme, bypass_csp=True) as one:
        one.page.evaluate("document.querySelectorAll('details').forEach((node, at) => { node.open = at < 2 })")
        one.page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
        found = one.page.evaluate("axe.run(document).then((result) => result.violations.map((one) => one.id))")
        assert found == []


def test_hostile_text_runs_nothing(browser, tmp_path):
    paths = [tmp_path / f"{number}.html" for number in range(3, len(PAYLOADS), 6)]
    for path in paths:
        path.write_bytes(page(hostile_run(PAYLOADS[int(path.stem)])).encode("utf-8", "replace"))
    with Opened(browser, paths[0]) as one:
        for path in paths[1:]:
            one.page.goto(path.as_uri())
        assert one.complaints == []
        assert [url for url in one.asked if not url.startswith(("file:", "data:"))] == []
