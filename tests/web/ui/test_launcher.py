"""`steadywire lab` in Chromium: the launcher notebook runs, and its figure follows a slider."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from .browser import open_lab, run_all_cells, until

pytestmark = pytest.mark.slow

TOKEN = "a-token-for-this-test"
CELL_MS = 60_000
FIGURE = ".jp-OutputArea img.widget-image"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """The address of the JupyterLab that the command has opened."""
    with open_lab(tmp_path, "simulation.cli", "lab", "--folder", str(tmp_path / "mine"), JUPYTER_TOKEN=TOKEN) as url:
        yield url


def test_the_figure_follows_a_slider(browser: Browser, lab: str, screenshots: Path, tmp_path: Path) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 1300})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    dialog = page.locator(".jp-Dialog")
    page.add_locator_handler(dialog, lambda: dialog.locator(".jp-mod-accept").click())
    page.goto(f"{lab}/lab/tree/00_launcher.ipynb?token={TOKEN}")
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")).to_be_visible(timeout=CELL_MS)
    run_all_cells(page)
    figure = page.locator(FIGURE)
    figure.wait_for(timeout=CELL_MS)
    expect(page.locator(".jp-OutputArea-output", has_text="attempts in the busiest second")).to_be_visible(timeout=CELL_MS)
    until(lambda: page.evaluate(f"document.querySelector('{FIGURE}').naturalWidth") > 400, "the figure is drawn", within_s=60)
    page.locator(".jp-OutputArea-output:has(img.widget-image)").first.screenshot(path=str(screenshots / "widget-launcher.png"))
    for label, key in (("outage (s)", "ArrowRight"), ("jitter", "ArrowLeft"), ("clients", "ArrowRight")):
        before, said = figure.get_attribute("src"), page.locator(".jp-OutputArea .widget-html").first.inner_text()
        slider = page.locator(".widget-slider", has_text=label).locator(".noUi-handle")
        slider.focus()
        began_at = time.perf_counter()
        page.keyboard.press(key)
        until(lambda before=before: figure.get_attribute("src") != before, f"the figure follows {label}", within_s=30)
        print(f"{label}: the figure followed after {time.perf_counter() - began_at:.2f} s")
        until(lambda said=said: page.locator(".jp-OutputArea .widget-html").first.inner_text() != said, "and the words")
    figure.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    page.screenshot(path=str(screenshots / "launcher.png"))
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert errors == []
    assert (tmp_path / "mine" / "01_first_look.ipynb").exists()
    context.close()
