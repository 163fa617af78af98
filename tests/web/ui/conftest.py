"""Chromium for the tests of this folder, and a place for their screenshots."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from .browser import CHROMIUM, CHROMIUM_ARGUMENTS, Site, npm_package, open_site


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def site(browser: Browser, tmp_path: Path) -> Iterator[Site]:
    with open_site(browser, tmp_path) as site:
        yield site


@pytest.fixture(scope="module")
def module_site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for tests that leave the server as it is."""
    with open_site(browser, tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def new_run(module_site: Site) -> Iterator[Site]:
    """The module's server with a run of the test's own."""
    module_site.new_run()
    yield module_site
    module_site.close_pages()


@pytest.fixture(scope="session")
def axe(pytestconfig: pytest.Config) -> str:
    """The source of axe-core, which judges the accessibility of a page."""
    return (npm_package("axe-core@4.14.1", pytestconfig) / "axe.min.js").read_text("utf-8")


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept. `STEADYWIRE_SCREENSHOTS`: a folder for them."""
    folder = os.environ.get("STEADYWIRE_SCREENSHOTS")
    path = Path(folder) if folder else tmp_path_factory.mktemp("screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path
