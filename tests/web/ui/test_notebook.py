"""JupyterLab in Chromium runs the widget notebook: the component changes while a cell runs, and the player's slider follows."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from .browser import ROOT, open_lab, run_all_cells, until

pytestmark = pytest.mark.slow

NOTEBOOK = "12_live_widget.ipynb"
CELL_MS = 180_000
WATCH = """
window.seen = [];
setInterval(() => {
    const element = document.querySelector('connection-health');
    const health = element && element.health;
    const status = element && element.shadowRoot.querySelector('.status').textContent;
    const isBusy = document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'busy';
    const last = window.seen.at(-1);
    const now = [status, health ? health.queuedMessages : 0, isBusy];
    if (status && JSON.stringify(last) !== JSON.stringify(now)) window.seen.push(now);
}, 20);
"""
CANVAS_FITS = """
(() => {
    const canvas = document.querySelector('.sw-player canvas');
    return canvas !== null && Math.abs(canvas.width - canvas.clientWidth * devicePixelRatio) < 40;
})()
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab with a copy of the notebook."""
    shutil.copy(ROOT / "notebooks" / NOTEBOOK, tmp_path)
    options = [
        "--ip=127.0.0.1",
        f"--ServerApp.root_dir={tmp_path}",
        "--allow-root",
        "--IdentityProvider.token=",
        "--ServerApp.password=",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with open_lab(tmp_path, "jupyterlab", *options) as url:
        yield url


def test_the_widget_notebook(browser: Browser, lab: str, screenshots: Path, axe: str) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.set_default_timeout(CELL_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    # A machine that is busy elsewhere may be asked which kernel it wants, or whether to wait: the answer is yes.
    dialog = page.locator(".jp-Dialog")
    page.add_locator_handler(dialog, lambda: _agree(page), no_wait_after=True)
    page.goto(f"{lab}/lab/tree/{NOTEBOOK}")
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")).to_be_visible(timeout=CELL_MS)
    page.evaluate(WATCH)
    run_all_cells(page)

    # The component changed while a cell was running, and the queue counted up and down.
    page.wait_for_function("seen.some(([status]) => status === 'Reconnected')", timeout=CELL_MS)
    seen = [(status, queued, is_busy) for status, queued, is_busy in page.evaluate("seen")]
    while_busy = [status for status, _ in itertools.groupby(status for status, _, is_busy in seen if is_busy)]
    turns = list(itertools.pairwise(while_busy))
    assert ("Connected", "Disconnected") in turns
    assert ("Disconnected", "Reconnected") in turns
    assert max(queued for status, queued, _ in seen if status == "Disconnected") >= 6
    until(lambda: page.evaluate("document.querySelector('connection-health').health.queuedMessages") == 0, "the queue is empty")

    # The player stands where Python put it, plays on, and follows the slider.
    player = page.locator(".sw-player").last
    player.wait_for(timeout=CELL_MS)
    slider = player.locator("input[type=range]")
    until(lambda: 30 < float(slider.input_value()) < 34, "Python has set the time", within_s=CELL_MS / 1000)
    expect(player.locator(".said")).to_contain_text("clients:")
    _scroll_to(page)
    page.screenshot(path=str(screenshots / "notebook-player.png"))
    player.screenshot(path=str(screenshots / "widget-player.png"))
    before = float(slider.input_value())
    player.locator("button").click()
    until(lambda: float(slider.input_value()) > before + 1, "it plays")
    player.locator("button").click()
    slider.focus()
    page.keyboard.press("End")
    until(lambda: float(slider.input_value()) > 300, "the slider goes anywhere")
    slider.evaluate("node => { node.value = 40; node.dispatchEvent(new Event('input')); }")
    expect(player.locator("output")).to_contain_text("40.00 of")
    assert player.locator("li .state").all_inner_texts()[0] == "up"
    page.locator("connection-health").first.scroll_into_view_if_needed()
    page.screenshot(path=str(screenshots / "notebook-live.png"))
    for name, inside in (("live_run", ":has(.sw-run)"), ("health", ":not(:has(.sw-run)):has(connection-health)")):
        _scrolled_to(page, f".jp-OutputArea-output{inside}").screenshot(path=str(screenshots / f"widget-{name}.png"))
    still = page.evaluate("document.querySelector('connection-health').health.status")
    assert still in ("Connected", "Reconnected"), "after all cells its buttons can still be tried"
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    page.evaluate(axe)
    widgets = [".sw-player", ".sw-run", "connection-health"]
    judged = page.evaluate(
        "async widgets => (await axe.run({ include: widgets }, { resultTypes: ['violations'] })).violations", widgets
    )
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in judged] == []
    _look(page, screenshots, axe_of=widgets)
    assert errors == []
    context.close()


def _agree(page: Page) -> None:
    """A dialog that is still there afterwards is agreed to again."""
    accept = page.locator(".jp-Dialog .jp-mod-accept").first
    if accept.is_visible():
        accept.click(timeout=5000)


def _look(page: Page, screenshots: Path, axe_of: list[str]) -> None:
    """The widgets in the dark, wide and narrow."""
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page.click(".lm-MenuBar-itemLabel:text-is('Settings')")
    page.hover(".lm-Menu-itemLabel:text-is('Theme')")
    page.click(".lm-Menu-itemLabel:text-is('JupyterLab Dark')")
    expect(page.locator("body[data-jp-theme-light='false']")).to_be_attached(timeout=CELL_MS)
    page.keyboard.press("Escape")
    for width in (1440, 700):
        page.set_viewport_size({"width": width, "height": 1000})
        for name, widget in (("player", ".sw-player"), ("health", "connection-health")):
            shown = _scrolled_to(page, widget)
            if name == "player":
                until(lambda: page.evaluate(CANVAS_FITS), "it is drawn for the width that it has")
            shown.screenshot(path=str(screenshots / f"notebook-{name}-dark-{width}.png"))
            assert shown.evaluate("node => node.scrollWidth <= node.clientWidth + 1"), f"{name} sticks out at {width}"
    judged = page.evaluate(
        "async widgets => (await axe.run({ include: widgets }, { resultTypes: ['violations'] })).violations", axe_of
    )
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in judged] == []


def _scrolled_to(page: Page, selector: str) -> Locator:
    """The first of them. What is far from the screen is not in the document, so it is looked for from the top down."""
    panel, shown = page.locator(".jp-WindowedPanel-outer"), page.locator(selector).first
    panel.evaluate("node => node.scrollTo(0, 0)")

    def is_there() -> bool:
        panel.evaluate("node => node.scrollBy(0, 250)")
        return shown.count() > 0

    until(is_there, f"there is a {selector}")
    shown.scroll_into_view_if_needed()
    return shown


def _scroll_to(page: Page) -> None:
    page.locator(".sw-player").last.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
