"""The page in a real browser: Chromium, and what axe finds wrong with it."""

import shutil

import pytest

from fitwell.evaluation.report.page import write_report
from reported_runs import judge, make_run

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed here"),
]
NARROW, WIDE = 360, 1100


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def show(browser, run, *, width=WIDE, scheme="light"):
    """Return the report of `run` in a window, and the addresses that it asked for."""
    page = browser.new_page(bypass_csp=True, viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(run.report_html.as_uri())
    return page, asked


@pytest.fixture(params=["finished", "interrupted", "several classes"])
def run(request, tmp_path):
    if request.param == "several classes":
        found, images = request.getfixturevalue("run_of_sets")
        from reported_runs import judge_sets

        for split in ("val", "test"):
            judge_sets(found, images, split)
    else:
        found = make_run(tmp_path, state=request.param)
        if request.param == "finished":
            judge(found, "val")
            judge(found, "test")
    write_report(found)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(browser, run, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page, _ = show(browser, run, scheme=scheme)
    faults = Axe().run(page).response["violations"]
    assert [(fault["id"], fault["impact"], fault["nodes"][0]["html"]) for fault in faults] == []


def test_the_page_asks_for_nothing_but_itself(browser, run):
    _, asked = show(browser, run)
    assert [address for address in asked if not address.startswith("data:")] == [run.report_html.as_uri()]


def test_a_telephone_need_not_scroll_sideways(browser, run):
    page, _ = show(browser, run, width=NARROW)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= NARROW


def test_the_page_prints(browser, run):
    page, _ = show(browser, run)
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF-")
