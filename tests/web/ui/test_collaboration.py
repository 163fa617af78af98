"""Two people in one run, on networks that fail in every way that TCP can: each page ends with the same log, nothing twice.

At each step the status is right in word and shape, and the queue counts up and down.
"""

import itertools
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from reference.protocol.config import ServerConfig
from simulation.scenario.faults import BlockUpgrade, Outage
from simulation.scenario.paths import Middlebox, Path

from .browser import FAST, Member, Site, open_site, until

pytestmark = pytest.mark.slow


@pytest.fixture
def site(new_run: Site) -> Site:
    return new_run


OUTAGE = Outage(at_s=0, duration_s=1)
NO_WEBSOCKET = BlockUpgrade(at_s=0, duration_s=1)
"""Both last until they are ended."""


@pytest.fixture(scope="module", autouse=True)
def behind_a_proxy(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    """A page whose proxy has less patience (5 s) than its client has for pings (10 s), so that no WebSocket lives to be steady.

    It joins before all tests: what it has to show takes half a minute, which passes meanwhile.
    """
    with open_site(browser, tmp_path_factory.mktemp("proxy"), ServerConfig()) as site:  # whose heartbeats are 15 s apart
        line = site.line("ada", Path(latency_s=FAST.latency_s, middlebox=Middlebox(idle_timeout_s=5, idle_effect="reset")))
        config = {
            "pingIntervalS": 10.0,
            "pingTimeoutS": 10.0,
            "steadyAfterS": 10.0,
            "fallbackAfterFailures": 1,
            "probeIntervalS": 2.0,
            "probeIntervalMaxS": 300.0,
            "probeJitter": 0.0,
        }
        ada = site.join("ada", line, config=config)
        ada.page.evaluate(SPELLS)
        ada.shows("HTTP Polling")
        ada.graft("over polling")
        ada.has(1)
        yield ada


SPELLS = """
(() => {
    globalThis.spells = [];
    let since = null;
    globalThis.polledMs = () => since === null ? 0 : performance.now() - since;
    setInterval(() => {
        const polls = document.getElementById('health').health.status === 'HTTP Polling';
        if (polls) since ??= performance.now();
        else if (since !== null) { spells.push(polledMs()); since = null; }
    }, 20);
})()
"""
"""Measures for how long the page polled, each time."""


def counts(queued: list[int]) -> str:
    """How the queue went: up and down if it rose from nothing and fell to nothing again, once or more often."""
    turns = [after - before for before, after in itertools.pairwise(queued)]
    rises = any(turn > 0 for turn in turns) and any(turn < 0 for turn in turns)
    return "up and down" if queued[0] == queued[-1] == 0 and rises else f"not up and down: {queued}"


def agree(site: Site, count: int, *members: Member) -> None:
    """The server comes to have that many events, and every page has its log: the same, in the same order, each once."""
    until(lambda: len(site.stored()) >= count, f"the server has {count} events")
    stored = site.stored()
    assert len(stored) == count
    for member in members:
        member.has(len(stored))
        assert member.log() == stored
    assert [number for number, _, _ in stored] == list(range(1, len(stored) + 1))
    texts = [text for _, _, text in stored]
    assert len(set(texts)) == len(texts), "nothing was stored twice"


def test_a_network_that_fails_in_every_way(site: Site) -> None:
    ada, bob = site.join("ada", site.line("ada")), site.join("bob", site.line("bob"))
    for member in (ada, bob):
        member.shows("Connected")
    ada.graft("while all is well")
    bob.graft("bob, too", "step-2")
    for member in (ada, bob):
        member.has(2)
    until(lambda: "ada" in bob.page.locator("#people").inner_text(), "bob sees that ada is here")
    until(lambda: "ada" in bob.page.locator("#notices").inner_text(), "bob is notified that ada acted")

    ada.went("D?C")

    # A reset: both ends are notified, and the page reconnects at once.
    ada.apply(ada.line.reset)
    ada.shows("Reconnected")
    ada.graft("after a reset")
    agree(site, 3, ada, bob)
    ada.went("C(D?R)+")

    # An outage: neither end is notified; the silence is detected, publishes wait and are counted.
    with ada.under(OUTAGE):
        ada.shows("Disconnected")
        message = ada.message  # once: it changes from one to the other
        assert "Next attempt in" in message or "Connecting now" in message
        for number in range(3):
            ada.graft(f"in an outage {number}")
            until(lambda number=number: ada.queued == number + 1, "the queue counts up")
        bob.graft("bob during ada's outage")
        bob.has(4)
    ada.page.locator("#health .card.reconnected, #health .card.polling").wait_for()
    until(lambda: ada.queued == 0, "the queue counts down")
    assert ada.carried() == "Reconnected"
    agree(site, 7, ada, bob)
    queued = ada.went("R(D(PD?)*R)+")
    assert counts(queued) == "up and down"
    assert {1, 2, 3} <= set(queued)

    # Half-open: the connection stands and is dead.
    before = ada.reconnections
    ada.apply(ada.line.half_open)
    ada.graft("into a dead connection")
    until(lambda: ada.reconnections > before, "the silence is noticed")
    assert ada.carried() == "Reconnected"
    agree(site, 8, ada, bob)
    assert counts(ada.went("R(D(PD?)*R)+")) == "up and down"

    # WebSocket is forbidden: polling takes over, and works both ways; then a probe comes through.
    with ada.under(NO_WEBSOCKET):
        ada.shows("HTTP Polling")
        assert "Updates arrive with a delay" in ada.message
        ada.graft("over polling")
        bob.graft("to one who polls")
        for member in (ada, bob):
            member.has(10)
        assert ada.status == "HTTP Polling"
    assert ada.carried() == "Reconnected"
    agree(site, 10, ada, bob)
    ada.went("R(D?(PD?)+R)+")


def test_a_server_that_is_killed_and_started_again(site: Site) -> None:
    ada, bob = site.join("ada", site.line("ada")), site.join("bob", site.line("bob"))
    for member in (ada, bob):
        member.shows("Connected")
    ada.graft("before")
    agree(site, 1, ada, bob)
    for member in (ada, bob):
        member.went("D?C")
    site.kill()
    for member in (ada, bob):
        member.shows("Disconnected")
        for number in range(3):
            member.graft(f"{member.user} without a server {number}")
            until(lambda member=member, number=number: member.queued == number + 1, "the queue counts up")
        until(lambda member=member: member.page.locator("#pending > li").count() == 3, "the page shows what waits")
    site.restart()
    for member in (ada, bob):
        assert member.carried() == "Reconnected"
        member.has(7)
        until(lambda member=member: member.page.locator("#pending > li").count() == 0, "nothing waits any more")
    agree(site, 7, ada, bob)
    for member in (ada, bob):
        queued = member.went("C(D(PD?)*R)+")
        assert counts(queued) == "up and down"
        assert {1, 2, 3} <= set(queued)
    assert site.said_of_network, "the pages did notice"


def test_cutting_ones_own_network(site: Site) -> None:
    ada, bob = site.join("ada", site.line("ada")), site.join("bob", site.line("bob"))
    for member in (ada, bob):
        member.shows("Connected")
    ada.page.click("text=Cut my network")
    ada.shows("Disconnected")
    ada.graft("one")
    ada.graft("two")
    until(lambda: ada.queued == 2, "the queue counts up")
    bob.graft("meanwhile")
    bob.has(1)
    assert ada.log() == []
    ada.page.click("text=Restore my network")
    assert ada.carried() == "Reconnected"
    ada.page.locator("text=Cut my network").wait_for()
    ada.has(3)
    agree(site, 3, ada, bob)


def test_everything_is_whole_while_the_network_is(site: Site) -> None:
    ada, bob = site.join("ada", site.line("ada")), site.join("bob", site.line("bob"))
    for member in (ada, bob):
        member.shows("Connected")
    ada.page.fill("#step-input", "step-3")
    for button in ("#graft", "#prune", "#flag"):
        ada.page.fill("#text-input", f"by {button}")
        ada.page.click(button)
    bob.has(3)
    assert [kind for _, kind, _ in bob.log()] == ["GRAFT", "PRUNE", "FLAG"]
    row = bob.page.locator("#steps li[data-key='step-3']")
    until(lambda: "1 flag" in row.inner_text() and "pruned" in row.inner_text(), "the steps are the fold of the log")
    ada.page.hover("#steps li[data-key='step-5']")
    until(lambda: "ada" in bob.page.locator("#steps li[data-key='step-5']").inner_text(), "bob sees ada's cursor")
    late = site.join("cleo", site.line("cleo"))
    late.shows("Connected")
    until(lambda: [number for number, _, _ in late.log()] == [1, 2, 3], "who comes late is given what there was")
    assert site.said_of_network == [], "and Chromium has nothing to say either"


def test_what_waits_survives_leaving_and_coming_back(site: Site) -> None:
    ada = site.join("ada", site.line("ada"))
    ada.shows("Connected")
    ada.graft("sent")
    ada.has(1)
    ada.page.click("#cut")
    ada.shows("Disconnected")
    ada.graft("left behind")
    until(lambda: ada.queued == 1, "it waits")
    ada.page.click("#leave")
    ada.page.click("#recent-runs button")
    ada.shows("Connected")
    ada.has(2)
    ada.page.reload()
    ada.shows("Connected")
    agree(site, 2, ada)


def test_what_was_not_accepted_is_shown_until_it_is_dismissed(site: Site) -> None:
    ada = site.join("ada", site.line("ada"), config={"outboxAgeMaxS": 0.5})
    ada.shows("Connected")
    box = ada.page.locator("#failures-box")
    expect(box).to_be_hidden()
    ada.page.click("#cut")
    ada.shows("Disconnected")
    ada.graft("too old when it could be sent", "step-2")
    expect(box).to_contain_text("step-2 too old when it could be sent")
    expect(box).to_contain_text("Not accepted: 1 event")
    until(lambda: ada.queued == 0, "it waits no longer")
    ada.page.reload()
    ada.shows("Connected")
    expect(box).to_contain_text("step-2 too old when it could be sent")
    ada.page.click("#failures-dismiss")
    expect(box).to_be_hidden()
    ada.page.reload()
    ada.shows("Connected")
    expect(box).to_be_hidden()
    assert site.stored() == []


def test_ten_returns_from_polling(site: Site) -> None:
    config = {
        "fallbackAfterFailures": 1,
        "probeIntervalS": 0.3,
        "probeIntervalMaxS": 0.6,
        "probeJitter": 0.0,
        "steadyAfterS": 0.2,
    }
    ada, bob = site.join("ada", site.line("ada"), config=config), site.join("bob", site.line("bob"))
    for member in (ada, bob):
        member.shows("Connected")
    for number in range(10):
        with ada.under(NO_WEBSOCKET):
            ada.graft(f"ada {number}, before")
            bob.graft(f"bob {number}, before")
            ada.shows("HTTP Polling")
            ada.graft(f"ada {number}, polling")
            bob.graft(f"bob {number}, polling")
        # What is in flight now goes over both transports.
        assert ada.carried() == "Reconnected"
    ada.went("D?C(D?(PD?)+R)+")
    agree(site, 40, ada, bob)
    # A publish that the way back has overtaken is refused with 409 (8.24), which Chromium says.
    site.said[:] = [line for line in site.said if "status of 409" not in line]


def test_behind_a_proxy_that_cuts_idle_websockets_polling_is_steady_and_probes_are_rare(behind_a_proxy: Member) -> None:
    ada = behind_a_proxy
    # The WebSocket dies, then polling lasts 2 s, 4 s, 8 s, ... Probes that stayed as frequent would end it each time after 2 s.
    until(lambda: len(ada.page.evaluate("spells")) >= 2, "two probes were cut, too")
    first, second, *later = ada.page.evaluate("spells")
    assert first > 1000
    assert second > 3000
    assert all(spell > 6000 for spell in later)
    until(lambda: ada.page.evaluate("polledMs()") > 5500, "it polls steadily", within_s=60)
    ada.graft("over polling, a second time")
    agree(ada.site, 2, ada)
    (session,) = ada.site.ask("GET", f"/api/admin/websocket/metrics?runId={ada.site.run_id}")["sessions"]
    assert session["fallbacks"] <= 1 + len(ada.page.evaluate("spells")), "one for each spell, and for this one"
    ada.went("D?C.*")


def test_a_page_whose_browser_keeps_nothing_says_so(site: Site) -> None:
    broken = "Object.defineProperty(globalThis, 'indexedDB', { value: { open() { throw new Error('the disk is gone'); } } });"
    page = site.page(f"/#run={site.run_id}", init=f"{broken} sessionStorage.setItem('steadywire.token', 'dev:ada');")
    expect(page.locator("#composer-error")).to_contain_text("Nothing more is kept in this browser: the disk is gone.")
    page.locator("#health .card.connected").wait_for()
