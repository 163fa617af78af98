"""The admin view: what it shows of a running server, and an operator's actions."""

import re

import pytest
from playwright.sync_api import Page, expect

from .browser import Site, until

pytestmark = pytest.mark.slow


def column(page: Page, name: str) -> list[str]:
    heads = page.locator("#sessions th").all_inner_texts()
    index = next(index for index, head in enumerate(heads) if head.startswith(name))
    return page.locator(f"#sessions tbody tr td:nth-child({index + 1})").all_inner_texts()


def test_it_shows_what_there_is(site: Site) -> None:
    members = [site.join(user, site.line(user)) for user in ("ada", "bob", "cleo")]
    for member in members:
        member.shows("Connected")
    page = site.page("/admin")
    expect(page.locator("#sessions tbody tr")).to_have_count(3)
    assert "operator" in page.locator("#who").inner_text(), "a development server lets anybody be the operator"
    expect(page.locator("#runs .count")).to_have_text("3")
    until(lambda: "3" in page.locator("#quality-legend").inner_text().splitlines()[1], "all are healthy")

    # Sorting, by pointer and keyboard.
    assert column(page, "User") == ["ada", "bob", "cleo"]
    page.click("#sessions th button:has-text('User')")
    assert column(page, "User") == ["cleo", "bob", "ada"]
    assert page.locator("#sessions th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.locator("#sessions th button:has-text('Reconnections')").focus()
    page.keyboard.press("Enter")
    assert page.locator("#sessions th[aria-sort]").inner_text().startswith("Reconnections")

    # Searching.
    page.fill("#search", "connected bo")
    assert column(page, "User") == ["bob"]
    assert page.locator("#sessions-count").inner_text() == "1 of 3 sessions"
    page.fill("#search", "")

    # Live: a reconnection is seen, and counted over time.
    members[1].apply(members[1].line.reset)
    members[1].shows("Reconnected")
    until(lambda: "Reconnected" in column(page, "Status"), "the session is shown as it is")
    until(lambda: page.locator("#reconnections-now").inner_text().startswith("1 "), "the reconnection is counted")
    assert "1 reconnection" in str(page.locator("#reconnections-chart svg").get_attribute("aria-label"))

    # The server goes and comes back.
    site.kill()
    expect(page.locator("#trouble")).to_contain_text("cannot be reached")
    expect(page.locator("#trouble")).to_contain_text("What you see is from")
    assert page.locator("#sessions tbody tr").count() == 3, "the last picture stays"
    site.restart()
    expect(page.locator("#trouble")).to_be_hidden()


def test_an_operator_acts(site: Site) -> None:
    ada, bob, cleo = (site.join(user, site.line(user)) for user in ("ada", "bob", "cleo"))
    for member in (ada, bob, cleo):
        member.shows("Connected")
    page = site.page("/admin")
    expect(page.locator("#sessions tbody tr")).to_have_count(3)

    # Calling it off does nothing.
    page.click("[aria-label='Close the session of ada']")
    page.keyboard.press("Escape")
    page.click("[aria-label='Close the session of ada']")
    page.click("#confirm-cancel")
    assert ada.status == "Connected"

    page.click("[aria-label='Close the session of ada']")
    page.click("#confirm-ok")
    expect(page.locator("#notice")).to_have_text("The session of ada was closed: 1 connection closed.")
    expect(ada.page.locator("#ended")).to_contain_text("an operator has ended this session")
    ada.shows("Disconnected")

    page.click(f"[aria-label='Send away everybody in run {site.run_id}']")
    page.fill("#confirm-time", "0.5")
    page.click("#confirm-ok")
    for member in (bob, cleo):
        member.shows("Reconnected")

    page.click("[aria-label='Refuse user bob']")
    page.fill("#confirm-time", "-1")
    page.click("#confirm-ok")
    expect(page.locator("#confirm-error")).to_have_text("Give a number from 0 to 43200.")
    page.fill("#confirm-time", "5")
    page.click("#confirm-ok")
    expect(page.locator("#refused")).to_contain_text("bob")
    expect(bob.page.locator("#ended")).to_be_visible()
    bob.page.reload()
    expect(bob.page.locator("#ended")).to_contain_text("refused")
    page.click("[aria-label='Allow again: bob']")
    expect(page.locator("#refused")).to_have_text("Nobody is refused.")
    bob.page.reload()
    bob.carried()

    page.click("#refuse")
    page.fill("#confirm-user", "<b>mallory</b>")
    page.click("#confirm-ok")
    expect(page.locator("#refused .user")).to_have_text("<b>mallory</b>")

    page.click(f"[aria-label='Delete run {site.run_id}']")
    page.click("#confirm-ok")
    expect(cleo.page.locator("#ended")).to_contain_text("deleted")
    expect(page.locator("#notice")).to_contain_text("The run was deleted")
    page.locator("#connected-only").check()
    expect(page.locator("#sessions tbody tr")).to_have_count(0)


def test_an_action_is_on_the_user_of_its_row_and_names_where_it_was_not_done(site: Site) -> None:
    site.ask("GET", f"/api/runs/{site.run_id}/collaboration/poll?clientId=c", token="dev: bob")  # another user than "bob"
    page = site.page("/admin")
    page.click("[aria-label^='Refuse user']")
    page.click("#confirm-ok")
    expect(page.locator("#refused .user")).to_be_visible()
    assert [one["userId"] for one in site.ask("GET", "/api/admin/websocket/refused-users")["users"]] == [" bob"]
    silent = {"wasRefused": True, "processesSilent": ["10.0.0.9:8765"]}
    page.route("**/refused-users?*", lambda route: route.fulfill(json=silent))
    page.click("[aria-label^='Allow again']")
    expect(page.locator("#notice")).to_contain_text("Not done at the processes that did not answer: 10.0.0.9:8765.")


def test_a_user_who_is_not_admin_gets_the_reason(site: Site) -> None:
    page = site.page("/admin", init="sessionStorage.setItem('steadywire.token', 'dev-admin:');")
    expect(page.locator("#sign-in")).to_be_visible()
    expect(page.locator("#sign-in-error")).to_contain_text(re.compile("user must be", re.IGNORECASE))
    page.fill("#identity", "dev:ada")
    page.click("#sign-in button")
    expect(page.locator("#sign-in-error")).to_contain_text("role admin")
    page.fill("#identity", "ada")
    page.click("#sign-in button")
    expect(page.locator("#view")).to_be_visible()
    page.click("#sign-out")
    expect(page.locator("#sign-in")).to_be_visible()
    site.said[:] = [line for line in site.said if "status of 40" not in line]  # Chromium says what was refused
