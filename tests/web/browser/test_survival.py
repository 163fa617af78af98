"""What survives in a real browser: IndexedDB and Web Locks, a reload, a tab that is killed, two tabs, the back/forward cache."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from .places import WAIT_MS, Room

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.slow
playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
MARKS = list(range(1, 51))


def open_page(context: "BrowserContext", room: Room, user: str = "ada") -> "Page":
    page = context.new_page()
    page.goto(room.address(user))
    started(page)
    return page


def open_page_when_unlocked(context: "BrowserContext", room: Room, owned: int = 0) -> "Page":
    page = context.new_page()
    page.goto(f"{room.origin}/web/index.js")  # anything of this origin
    unlocked(page, owned)
    page.goto(room.address())
    started(page)
    return page


def started(page: "Page") -> None:
    page.wait_for_function("() => document.title === 'started'")
    assert page.evaluate("seen.storageErrors") == []


def connected(page: "Page") -> None:
    page.evaluate("client.connected()")


def queue_offline(page: "Page", room: Room) -> None:
    """Connect, cut the line, and queue 50 grafts; wait until they are stored."""
    connected(page)
    room.line.cut()
    page.wait_for_function("() => client.health.value.status === 'Disconnected'")
    page.evaluate("publishMarks(1, 50)")
    assert page.evaluate("client.getQueuedMessageCount()") == 50
    stored(page, 50)


COUNTS_STORED = """([store, count]) => new Promise((resolve) => {
    const request = indexedDB.open("steadywire");
    request.onsuccess = () => {
        const counting = request.result.transaction(store).objectStore(store).count();
        counting.onsuccess = () => { request.result.close(); resolve(counting.result === count); };
    };
})"""


IS_STORED_UP_TO = """(last) => new Promise((resolve) => {
    const request = indexedDB.open("steadywire");
    request.onsuccess = () => {
        const reading = request.result.transaction("positions").objectStore("positions").getAll();
        reading.onsuccess = () => {
            request.result.close();
            resolve(reading.result.some(({ position }) => position.last === last));
        };
    };
})"""


def unlocked(page: "Page", owned: int = 0) -> None:
    """Until so many identities are owned: the browser lets go of the locks of a page some time after it is gone."""
    page.wait_for_function("async (owned) => (await navigator.locks.query()).held.length === owned", arg=owned)


def stored(page: "Page", count: int) -> None:
    page.wait_for_function(COUNTS_STORED, arg=["messages", count])


def all_arrive(page: "Page", room: Room) -> None:
    room.line.restore()
    page.wait_for_function("() => client.getQueuedMessageCount() === 0 && seen.accepted.length === 50")
    assert room.log() == MARKS
    page.wait_for_function("() => seen.marks.length === 50")
    assert page.evaluate("seen.marks") == MARKS


def reload(context: "BrowserContext", page: "Page", room: Room) -> "Page":
    page.reload()
    started(page)
    return page


def kill(context: "BrowserContext", page: "Page", room: Room) -> "Page":
    crash(page)
    return open_page_when_unlocked(context, room)


def crash(page: "Page") -> None:
    """The renderer of this tab is killed; the page is not notified."""
    with page.expect_event("crash"), suppress(playwright_api.Error):  # it never arrives
        page.goto("chrome://crash")


def go_back(page: "Page") -> None:
    """To a page that was left. It must come out of the back/forward cache; if not, the browser says why."""
    page.go_back(wait_until="commit")
    page.wait_for_function("() => globalThis.seen !== undefined")
    reasons = page.evaluate("JSON.stringify(performance.getEntriesByType('navigation')[0].notRestoredReasons)")
    assert page.evaluate("seen.shownAgain") == 1, reasons


@pytest.mark.parametrize("ends", [reload, kill], ids=lambda ends: ends.__name__)
def test_grafts_that_were_queued_offline_arrive_once_and_in_order(
    context: "BrowserContext", room: Room, ends: "Callable[[BrowserContext, Page, Room], Page]"
) -> None:
    page = open_page(context, room)
    queue_offline(page, room)
    client_id = page.evaluate("client.clientId")
    page = ends(context, page, room)
    assert page.evaluate("client.clientId") == client_id
    assert page.evaluate("client.getQueuedMessageCount()") == 50
    assert page.evaluate("store.queuedMessageCount.value") == 50
    assert page.evaluate("client.pending.map(({ data }) => data.mark)") == MARKS
    all_arrive(page, room)
    page.wait_for_function("() => client.health.value.status !== 'Disconnected'")


@pytest.mark.parametrize("ends", [reload, kill], ids=lambda ends: ends.__name__)
def test_a_rejected_publish_is_shown_until_it_is_dismissed(
    context: "BrowserContext", room: Room, ends: "Callable[[BrowserContext, Page, Room], Page]"
) -> None:
    page = open_page(context, room)
    page.evaluate("void client.publish('NOTE', { mark: 7 })")
    page.wait_for_function("() => client.failures.length === 1 && client.getQueuedMessageCount() === 0")
    stored(page, 0)
    page = ends(context, page, room)
    shown = page.evaluate("client.failures.map(({ eventType, data, code }) => [eventType, data.mark, code])")
    assert shown == [["NOTE", 7, "unknown_event_type"]]
    assert page.evaluate("seen.failures") == [1]
    page.evaluate("client.dismissFailures()")
    assert page.evaluate("seen.failures") == [1, 0]
    page.wait_for_function(COUNTS_STORED, arg=["failures", 0])
    page = reload(context, page, room)
    assert page.evaluate("client.failures") == []


def test_reloads_in_the_middle_of_publishing_store_nothing_twice(context: "BrowserContext", room: Room) -> None:
    page = open_page(context, room)
    for first in range(1, 100, 20):
        page.evaluate(f"publishMarks({first}, {first + 19})")
        page.reload()
        started(page)
    page.wait_for_function("() => client.getQueuedMessageCount() === 0")
    log = room.log()
    assert sorted(set(log)) == log, "each once, in the order in which they were published"
    # What a page has not stored before it is gone is lost with it, and only that: the last ones of each burst.
    for first in range(1, 100, 20):
        burst = [mark for mark in log if first <= mark < first + 20]
        assert burst == list(range(first, first + len(burst)))


def test_two_tabs_have_an_identity_each_and_a_queue_that_is_left_is_sent_by_the_next(
    context: "BrowserContext", room: Room
) -> None:
    first, second = open_page(context, room), open_page(context, room)
    ids = [page.evaluate("client.clientId") for page in (first, second)]
    assert len(set(ids)) == 2
    for page in (first, second):
        connected(page)
        page.reload()
        started(page)
    assert [page.evaluate("client.clientId") for page in (first, second)] == ids, "each took its own again"
    for page in (first, second):
        connected(page)
    room.line.cut()
    first.evaluate("publishMarks(1, 2)")
    second.evaluate("publishMarks(3, 4)")
    stored(first, 4)
    second.close()
    room.line.restore()
    first.wait_for_function("() => client.getQueuedMessageCount() === 0")
    assert room.log() == [1, 2]
    third = open_page_when_unlocked(context, room, owned=1)
    assert third.evaluate("client.clientId") == ids[1]
    third.wait_for_function("() => seen.accepted.length === 2")
    assert room.log() == [1, 2, 3, 4]


def test_a_tab_that_is_a_copy_of_another_takes_an_identity_of_its_own(context: "BrowserContext", room: Room) -> None:
    """A duplicated tab, or one that a page opens, begins with a copy of the session storage, where the identity is remembered."""
    page = open_page(context, room)
    with context.expect_page() as opened:
        page.evaluate("void window.open(location.href)")
    copy = opened.value
    started(copy)
    connected(page)
    connected(copy)
    assert copy.evaluate("client.clientId") != page.evaluate("client.clientId")


def test_two_clients_of_one_page_have_an_identity_each_and_the_first_keeps_its_own(context: "BrowserContext", room: Room) -> None:
    page = open_page(context, room)
    ids = page.evaluate(
        """async () => {
            const { RunClient } = await import("/web/index.js");
            const { server, user } = Object.fromEntries(new URLSearchParams(location.search));
            const second = new RunClient(client.runId, { url: server, token: `dev:${user}`, account: user });
            const asked = [];
            const request = navigator.locks.request.bind(navigator.locks);
            navigator.locks.request = (name, how, take) => (asked.push(how.ifAvailable), request(name, how, take));
            await second.start();
            globalThis.second = second;
            return [client.clientId, second.clientId, asked];
        }"""
    )
    assert ids[0] != ids[1]
    assert set(ids[2]) == {True}, "it did not wait for the identity that this very page has"
    page.reload()
    started(page)
    assert page.evaluate("client.clientId") == ids[0]


def test_users_of_one_browser_have_an_identity_each(context: "BrowserContext", room: Room) -> None:
    ada = open_page(context, room)
    connected(ada)
    own = ada.evaluate("client.clientId")
    ada.goto(room.address("ben"))
    started(ada)
    connected(ada)
    assert ada.evaluate("client.clientId") != own


def test_a_page_goes_on_from_its_position_with_the_state_that_it_had(context: "BrowserContext", room: Room) -> None:
    page = open_page(context, room)
    page.evaluate("publishMarks(1, 3)")
    page.wait_for_function("() => seen.marks.length === 3")
    assert page.evaluate("seen.snapshots") == [None]
    page.wait_for_function(IS_STORED_UP_TO, arg=3)  # a second after the first event
    page.reload()
    started(page)
    assert page.evaluate("[seen.snapshots, client.position.sequenceNumber]") == [["stored"], 3]
    grafts = page.evaluate("client.runState.grafts")
    assert grafts == {f"step-{mark}": {"position": f"step-{mark}", "mark": mark} for mark in (1, 2, 3)}
    page.evaluate("publishMarks(4, 4)")
    page.wait_for_function("() => seen.marks.length === 1")
    assert page.evaluate("[seen.marks, seen.snapshots]") == [[4], ["stored"]]


def test_a_page_that_is_left_and_shown_again_goes_on(context: "BrowserContext", room: Room) -> None:
    page = open_page(context, room)
    page.evaluate("publishMarks(1, 2)")
    page.wait_for_function("() => seen.marks.length === 2")
    client_id = page.evaluate("client.clientId")
    page.goto(f"{room.origin}/web/index.js")  # anything else
    go_back(page)
    page.wait_for_function("() => client.health.value.status === 'Reconnected'")
    page.evaluate("publishMarks(3, 3)")
    page.wait_for_function("() => seen.marks.length === 3")
    assert page.evaluate("[client.clientId, seen.marks]") == [client_id, [1, 2, 3]]
    page.reload()
    started(page)
    assert page.evaluate("client.clientId") == client_id


def test_a_page_whose_queue_another_tab_took_while_it_was_left_begins_anew(context: "BrowserContext", room: Room) -> None:
    page = open_page(context, room)
    client_id = page.evaluate("client.clientId")
    page.goto(f"{room.origin}/web/index.js")
    other = open_page_when_unlocked(context, room)
    owned = other.evaluate("navigator.locks.query().then(({ held }) => held.map(({ name }) => name))")
    assert other.evaluate("client.clientId") == client_id, owned
    go_back(page)
    page.wait_for_function("id => client.clientId !== id", arg=client_id)
    page.evaluate("publishMarks(1, 1)")
    other.evaluate("publishMarks(2, 2)")
    for each in (page, other):
        each.wait_for_function("() => seen.accepted.length === 1")
    assert sorted(room.log()) == [1, 2]


def test_a_queue_that_another_tab_has_left_is_sent_by_the_page_that_comes_back(context: "BrowserContext", room: Room) -> None:
    page = open_page(context, room)
    page.goto(f"{room.origin}/web/index.js")
    other = open_page_when_unlocked(context, room)
    connected(other)
    room.line.cut()
    other.wait_for_function("() => client.health.value.status === 'Disconnected'")
    other.evaluate("publishMarks(1, 1)")
    stored(other, 1)
    other.close()
    room.line.restore()
    go_back(page)
    page.wait_for_function("() => seen.marks.length === 1")
    assert room.log() == [1]


HOLDS_THE_DATABASE = """() => new Promise((resolve) => {
    const request = indexedDB.open("steadywire", 2);
    request.onsuccess = () => {
        const messages = request.result.transaction("messages", "readwrite").objectStore("messages");
        const hold = () => {
            if (globalThis.letsGo) request.result.close();
            else messages.count().onsuccess = hold;
        };
        hold();
        resolve();
    };
})"""
"""A transaction that does not end: those of other pages are not begun, and wait for ever."""


def hold_database(context: "BrowserContext", room: Room) -> "Page":
    holder = context.new_page()
    holder.goto(f"{room.origin}/web/index.js")
    holder.evaluate(HOLDS_THE_DATABASE)
    return holder


def test_a_page_goes_on_when_the_database_does_not_store(context: "BrowserContext", room: Room) -> None:
    page = open_page(context, room)
    page.evaluate("publishMarks(1, 1)")
    page.wait_for_function("() => seen.marks.length === 1 && client.getQueuedMessageCount() === 0")
    stored(page, 0)
    client_id = page.evaluate("client.clientId")
    holder = hold_database(context, room)
    page.evaluate("globalThis.storageMs = 500")
    page.evaluate("publishMarks(2, 2)")
    page.evaluate("publishMarks(3, 3)")
    page.wait_for_function("() => seen.accepted.length === 2 && seen.marks.length === 2")
    assert page.evaluate("seen.storageErrors") == ["the browser's storage did not answer within 10 s"]
    failures = page.evaluate("client.failures.map(({ data, code, mayHaveArrived }) => [data.mark, code, mayHaveArrived])")
    assert failures == [[2, "closed", True]]
    assert page.evaluate("client.clientId") != client_id
    assert page.evaluate("seen.marks") == room.log() == [1, 3]
    holder.evaluate("globalThis.letsGo = true")
    page.reload()
    started(page)
    assert page.evaluate("client.clientId") == client_id
    page.wait_for_function("() => client.getQueuedMessageCount() === 0")
    assert room.log() == [1, 3, 2], "it was stored at last"


def test_a_page_starts_when_the_database_does_not_answer(context: "BrowserContext", room: Room) -> None:
    first = open_page(context, room)
    first.evaluate("client.stop()")
    holder = hold_database(context, room)
    page = context.new_page()
    page.add_init_script("globalThis.storageMs = 500")
    page.goto(room.address())
    page.wait_for_function("() => document.title === 'started'")
    assert page.evaluate("seen.storageErrors") == ["the browser's storage did not answer within 10 s"]
    page.evaluate("publishMarks(1, 1)")
    page.wait_for_function("() => seen.accepted.length === 1")
    holder.evaluate("globalThis.letsGo = true")
    connected(open_page(context, room))  # it is answered again, and no lock was kept


def test_a_hidden_tab_goes_on_pinging_by_a_worker(context: "BrowserContext", room: Room) -> None:
    page = open_page(context, room)
    connected(page)
    assert page.workers == []
    with page.expect_worker() as started_worker:
        page.evaluate(
            """() => {
                Object.defineProperty(document, "visibilityState", { configurable: true, get: () => "hidden" });
                document.dispatchEvent(new Event("visibilitychange"));
            }"""
        )
    assert started_worker.value.url.endswith("/web/client/alarm_worker.js")
    before = page.evaluate("client.health.value.roundTrip.samples")
    page.wait_for_function("before => client.health.value.roundTrip.samples >= before + 3", arg=before)
    page.evaluate(
        """() => {
            delete document.visibilityState;
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    before = page.evaluate("client.health.value.roundTrip.samples")
    page.wait_for_function("before => client.health.value.roundTrip.samples >= before + 2", arg=before)
    for _ in range(WAIT_MS // 50):
        if page.workers:
            page.wait_for_timeout(50)  # it ends a moment later
    assert page.workers == []
