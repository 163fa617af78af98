"""A tab in the background and a frozen one, in a real browser: each ends with the log that all others have."""

from typing import TYPE_CHECKING

import pytest

from .places import Room
from .tab import Tab, open_tab
from .test_survival import connected, open_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

pytestmark = pytest.mark.slow
LIFE = """
globalThis.life = [];
for (const name of ["freeze", "resume"]) document.addEventListener(name, () => life.push(name));
globalThis.ticks = [performance.now()];
globalThis.tick = () => ticks.push(performance.now());
setInterval(tick, 50);
globalThis.pongs = 0;
let roundTrips = "";
client.health.subscribe(({ roundTripsMs }) => {
    if (roundTrips === (roundTrips = String(roundTripsMs))) return;
    pongs += 1;
});
globalThis.longestGapMs = () => (tick(), Math.max(...ticks.slice(1).map((at, i) => at - ticks[i])));
true;
"""


def hide(tab: Tab, other: Tab) -> None:
    other.show()
    tab.wait_for("document.visibilityState === 'hidden'")


def ends_with_the_log_of(room: Room, tab: Tab, count: int) -> None:
    tab.wait_for(f"seen.marks.length >= {count} && client.getQueuedMessageCount() === 0")
    assert tab.evaluate("seen.marks") == room.log() == list(range(1, count + 1))


def test_a_hidden_tab_whose_timers_are_slowed_keeps_up(browser: "Browser", context: "BrowserContext", room: Room) -> None:
    ben = open_page(context, room, "ben")
    with open_tab(browser, room.address(pingIntervalS=0.25)) as (tab, other):
        tab.evaluate(LIFE)
        tab.wait_for("client.health.value.transport === 'websocket' && ticks.length > 10")
        hide(tab, other)
        # The browser slows the page's own timers, twenty a second, to one a second, not at once; the client pings as before.
        tab.wait_for("ticks.at(-1) - ticks.at(-2) > 900")
        tab.evaluate("ticks.length = pongs = 0; true")
        tab.wait_for("pongs >= 12")
        assert tab.evaluate("ticks.length < pongs"), "four pings a second, and of its own timers one"
        # The line is lost and comes back, and both publish.
        tab.evaluate("publishMarks(1, 2)")
        tab.wait_for("seen.marks.length === 2")
        room.line.cut()
        tab.wait_for("client.health.value.status === 'Disconnected'")
        tab.evaluate("publishMarks(3, 4)")
        room.line.restore()
        tab.wait_for("seen.marks.length === 4")
        ben.evaluate("publishMarks(5, 6)")
        tab.wait_for("seen.marks.length === 6")
        assert tab.evaluate("document.visibilityState") == "hidden"
        tab.show()
        tab.wait_for("document.visibilityState === 'visible'")
        tab.evaluate("publishMarks(7, 8)")
        ends_with_the_log_of(room, tab, 8)


@pytest.mark.parametrize("is_cut", [False, True], ids=["the line stands", "the line is cut meanwhile"])
def test_a_tab_that_was_frozen_goes_on(browser: "Browser", context: "BrowserContext", room: Room, is_cut: bool) -> None:
    ben = open_page(context, room, "ben")
    connected(ben)
    with open_tab(browser, room.address()) as (tab, other):
        tab.evaluate(LIFE)
        tab.evaluate("publishMarks(1, 3)")
        tab.wait_for("seen.marks.length === 3")
        hide(tab, other)
        tab.freeze()
        ben.evaluate("publishMarks(4, 6)")
        ben.wait_for_function("() => seen.accepted.length === 3")
        if is_cut:
            room.line.cut()
            ben.wait_for_function("() => client.health.value.status === 'Disconnected'")
            room.line.restore()
        ben.evaluate("publishMarks(7, 9)")
        ben.wait_for_function("() => seen.accepted.length === 6")
        ben.wait_for_timeout(3500)  # longer than a ping may be without an answer
        assert tab.evaluate("seen.marks.length") == 3, "nothing reaches a frozen page"
        tab.thaw()
        tab.wait_for("seen.marks.length === 9")
        tab.evaluate("publishMarks(10, 12)")
        ends_with_the_log_of(room, tab, 12)
        assert tab.evaluate("life") == ["freeze", "resume"]
        assert tab.evaluate("longestGapMs()") > 3000, "it stood still indeed"
        ben.wait_for_function("() => seen.marks.length === 12")
        assert ben.evaluate("seen.marks") == room.log()
