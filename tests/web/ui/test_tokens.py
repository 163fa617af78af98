"""The pages of a server with signed tokens: they ask for a token, and for another when the first is not accepted any more."""

import time
import uuid

import pytest
from playwright.sync_api import Browser, expect

from reference.client.without_trio.blocking import TrioPortal
from reference.server.access.auth import make_token
from reference.server.app import open_server
from reference.server.settings import ServerSettings

from .browser import WAIT_MS

pytestmark = pytest.mark.slow

SECRET = b"a secret of the tests, long enough for HS256"


def token(user: str, *, role: str = "member", ttl_s: int = 3600, issued_ago_s: int = 0) -> str:
    return make_token(SECRET, user, role=role, issued_at_s=int(time.time()) - issued_ago_s, ttl_s=ttl_s)  # type: ignore[arg-type]


def test_a_token_is_asked_for_and_asked_for_again(browser: Browser) -> None:
    run_id = str(uuid.uuid4())
    context = browser.new_context()
    context.set_default_timeout(WAIT_MS)
    said: list[str] = []
    context.on("weberror", lambda error: said.append(str(error.error)))
    context.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    with TrioPortal() as portal:
        server = portal.enter(open_server(ServerSettings(port=0, store="memory:", secret=SECRET)))
        portal.call(server.create_run, run_id)
        page = context.new_page()
        page.goto(f"{server.url}/#run={run_id}")
        expect(page.locator("#identity-label")).to_have_text("Access token")
        expect(page.locator("#run-input")).to_have_value(run_id)
        page.fill("#identity", token("ada", ttl_s=10, issued_ago_s=60))
        page.keyboard.press("Enter")  # in a lobby that a link has led to, it joins

        expect(page.locator("#token-dialog")).to_be_visible()
        page.fill("#token-input", token("ada"))
        page.keyboard.press("Enter")
        expect(page.locator("#health .status")).to_have_text("Connected")
        expect(page.locator("#people")).to_contain_text("ada (you)")
        assert "token" not in page.url
        page.reload()
        expect(page.locator("#health .status")).to_have_text("Connected")

        admin = context.new_page()
        admin.goto(f"{server.url}/admin")
        expect(admin.locator("#identity-label")).to_have_text("Access token with the role admin")
        admin.fill("#identity", token("ada"))
        admin.keyboard.press("Enter")
        expect(admin.locator("#sign-in-error")).to_contain_text("role admin")
        admin.fill("#identity", token("root", role="admin"))
        admin.keyboard.press("Enter")
        expect(admin.locator("#sessions tbody")).to_contain_text("ada")
        assert admin.locator("#who").inner_text() == "root"
        context.close()
    assert [text for text in said if "status of 403" not in text] == [], "Chromium itself says what was refused, and nothing else"
