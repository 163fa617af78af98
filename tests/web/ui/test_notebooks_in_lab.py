"""Three notebooks are opened and run in JupyterLab in Chromium: every cell runs, and figures show without a magic line."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from .browser import ROOT, run_all_cells, until
from .test_notebook import CELL_MS, lab

__all__ = ["lab"]  # a fixture

pytestmark = pytest.mark.slow

SHOWN = {"03_delivery_rates": 2, "08_is_the_simulator_right": 4, "10_a_guarantee_broken": 1}
"""Notebooks, and how many figures each has."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYWIRE_NOTEBOOKS", "ci")


@pytest.mark.parametrize("name", SHOWN)
def test_it_runs_in_jupyterlab(browser: Browser, small: None, lab: str, tmp_path: Path, screenshots: Path, name: str) -> None:
    shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", tmp_path)
    page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    dialog = page.locator(".jp-Dialog")
    page.add_locator_handler(dialog, lambda: dialog.locator(".jp-mod-accept").click())
    page.goto(f"{lab}/lab/tree/{name}.ipynb")
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")).to_be_visible(timeout=CELL_MS)
    run_all_cells(page)
    last = page.locator(".jp-CodeCell .jp-InputPrompt").last
    until(lambda: last.inner_text().strip("[]: ").isdigit(), "the last cell has run", within_s=240)
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert page.locator(".jp-RenderedImage img").count() == SHOWN[name]
    page.locator(".jp-RenderedImage img").first.scroll_into_view_if_needed()
    page.screenshot(path=str(screenshots / f"lab-{name}.png"))
    page.context.close()
