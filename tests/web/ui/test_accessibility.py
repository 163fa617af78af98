"""Every page, in light and dark, wide and narrow: axe-core finds nothing, nothing overflows, and a screenshot is kept."""

from pathlib import Path as FilePath

import pytest
from playwright.sync_api import Page, expect

from .browser import Member, Site

pytestmark = pytest.mark.slow

LOOKS = [("light", 1440), ("dark", 1440), ("light", 390), ("dark", 390)]
TWO_LOOKS = [("light", 1440), ("dark", 390)]


class Judge:
    """Looks at a page in every look."""

    def __init__(self, axe: str, folder: FilePath) -> None:
        self._axe = axe
        self._folder = folder
        self.found: list[str] = []

    def look(self, page: Page, name: str, looks: list[tuple[str, int]] = LOOKS) -> None:
        page.evaluate(self._axe)
        for scheme, width in looks:
            # Without motion, for an animation that began in the dark would go on in its colours.
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
            page.screenshot(path=str(self._folder / f"{name}-{scheme}-{width}.png"), full_page=width < 1000)
            violations = page.evaluate("async () => (await axe.run(document, { resultTypes: ['violations'] })).violations")
            for violation in violations:
                nodes = [
                    " ".join((str(node["target"]), node["html"][:200], node.get("failureSummary", "")[:300]))
                    for node in violation["nodes"][:3]
                ]
                self.found.append(f"{name} {scheme} {width}: {violation['id']}: {violation['help']}: {nodes}")
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                self.found.append(f"{name} {scheme} {width}: the page is wider than the screen")


@pytest.fixture
def judge(axe: str, screenshots: FilePath) -> Judge:
    return Judge(axe, screenshots)


def test_the_runs_page(new_run: Site, judge: Judge) -> None:
    site = new_run
    lobby = site.page("/")
    lobby.fill("#identity", "ada")
    judge.look(lobby, "lobby")
    lobby.fill("#run-input", "no run")
    lobby.click("#join")
    expect(lobby.locator("#lobby-error")).to_contain_text("UUID")
    judge.look(lobby, "lobby-error", TWO_LOOKS)

    ada, bob = site.join("ada", site.line("ada")), site.join("bob", site.line("bob"))
    for member in (ada, bob):
        member.shows("Connected")
    for number in range(6):
        ada.graft(f"a thought of ada's, the {number}. of several that are not short", f"step-{number + 1}")
    bob.page.fill("#step-input", "step-2")
    bob.page.click("#flag")
    bob.page.click("#prune")
    bob.page.hover("#steps li[data-key='step-4']")
    bob.has(8)
    judge.look(ada.page, "connected")
    _open_details(ada)
    judge.look(ada.page, "details", TWO_LOOKS)
    _open_details(ada)
    ada.page.click("#cut")
    ada.shows("Disconnected")
    ada.graft("made while cut off")
    judge.look(ada.page, "disconnected")
    ada.page.click("#cut")
    ada.shows("Reconnected")
    judge.look(ada.page, "reconnected")
    ada.apply(ada.line.block_upgrade, 30.0)
    ada.shows("HTTP Polling")
    judge.look(ada.page, "polling")
    cleo = site.join("cleo", site.line("cleo"), config={"outboxAgeMaxS": 0.3})
    cleo.shows("Connected")
    cleo.page.click("#cut")
    cleo.graft("a thought that was too old when it could have been sent", "step-7")
    expect(cleo.page.locator("#failures-box")).to_be_visible()
    judge.look(cleo.page, "not-accepted", TWO_LOOKS)
    site.ask("DELETE", f"/api/admin/websocket/runs/{site.run_id}")
    expect(ada.page.locator("#ended")).to_be_visible()
    judge.look(ada.page, "ended", TWO_LOOKS)
    site.said[:] = [line for line in site.said if "status of 4" not in line]  # Chromium says what was refused
    assert judge.found == []


def test_the_admin_view(site: Site, judge: Judge) -> None:
    members = [site.join(user, site.line(user)) for user in ("ada", "bob", "cleo")]
    for member in members:
        member.shows("Connected")
    members[0].page.click("#cut")
    members[1].apply(members[1].line.reset)
    members[1].shows("Reconnected")
    site.ask("PUT", "/api/admin/websocket/refused-users?userId=mallory")
    page = site.page("/admin")
    expect(page.locator("#sessions tbody tr")).to_have_count(3)
    page.click("#sessions th button:has-text('Reconnections')")
    judge.look(page, "admin")
    page.click("[aria-label='Refuse user bob']")
    judge.look(page, "admin-dialog")
    page.keyboard.press("Escape")
    page.click("#sign-out")
    judge.look(page, "admin-sign-in", TWO_LOOKS)
    assert judge.found == []


def test_the_theme_that_is_chosen_is_kept(module_site: Site) -> None:
    page = module_site.page("/", color_scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.select_option("#theme", "dark")
    dark = page.evaluate(colour)
    assert dark != light
    assert page.locator("#health").get_attribute("theme") == "dark"
    page.goto(page.url.replace("/#", "/") + "admin")
    assert page.evaluate(colour) == dark
    page.select_option("#theme", "")
    assert page.evaluate(colour) == light


def test_the_whole_room_by_keyboard(new_run: Site) -> None:
    site = new_run
    ada = site.join("ada", site.line("ada"))
    ada.shows("Connected")
    page = ada.page
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name = page.evaluate(
            """() => {
                const host = document.activeElement;
                const active = host.shadowRoot?.activeElement ?? host;
                const ring = getComputedStyle(active).outlineStyle;
                return active === document.body ? '' : `${active.id || active.className || active.textContent} ${ring}`;
            }"""
        )
        if not name:
            break
        seen.append(name)
    names = [one.rsplit(" ", 1)[0] for one in seen]
    for needed in (
        "copy-link",
        "leave",
        "theme",
        "more",
        "step",
        "step-input",
        "text-input",
        "graft",
        "prune",
        "flag",
        "log-scroll",
        "cut",
    ):
        assert needed in names, f"{needed} cannot be reached"
    assert all(one.endswith(("solid", "auto")) for one in seen), "the focus is always seen"


def _open_details(member: Member) -> None:
    member.page.locator("#health button").click()
