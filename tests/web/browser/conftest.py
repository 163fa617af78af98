"""Chromium, a server for its page, and a steadywire server, for the tests of this folder."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .places import CHROMIUM, CHROMIUM_ARGUMENTS, WAIT_MS, Room, pages, steadywire

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext


OF_A_CUT = (
    "net::ERR_",
    "failed: Connection closed before receiving a handshake response",
    "failed: WebSocket is closed before the connection is established",
)
"""What Chromium writes to the console when a line is cut; the second when that is during the handshake, the third when a client
gives a handshake up or its page is left during one."""


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Pages that are left and shown again, hidden, or slowed are things to be seen; playwright would switch these off.
        kept = [
            "--disable-back-forward-cache",
            "--disable-background-timer-throttling",
            "--disable-backgrounding-occluded-windows",
            "--disable-renderer-backgrounding",
        ]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS, ignore_default_args=kept)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    with pages() as origin, steadywire() as server:
        yield server, origin


@pytest.fixture
def room(servers: tuple[str, str]) -> Iterator[Room]:
    room = Room(*servers)
    yield room
    room.line.close()


@pytest.fixture
def context(browser: "Browser") -> Iterator["BrowserContext"]:
    """A fresh profile. Nothing in it may be written to the console but what Chromium itself says of a line that is cut."""
    context = browser.new_context()
    context.set_default_timeout(WAIT_MS)
    complaints: list[str] = []
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    yield context
    context.close()
    assert [text for text in complaints if not any(cut in text for cut in OF_A_CUT)] == []
