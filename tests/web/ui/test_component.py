"""The connection-health component alone: what it shows for a health, and rules that hold for every input."""

import itertools
import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page

from .browser import Site, until

pytestmark = pytest.mark.slow

DASH = "\N{EN DASH}"
BOXES = """
() => [tested, ...tested.shadowRoot.querySelectorAll('.card, .status, .message, .figures > div, .more')].map(node => {
    const box = node.getBoundingClientRect();
    return [box.x, box.y, node.className === 'status' ? 0 : box.width, box.height];
})
"""
"""Where the parts of the component are; the status alone may be as wide as its word."""

HEALTH = {
    "status": "Connected",
    "state": "live",
    "transport": "websocket",
    "reason": None,
    "nextAttempt": None,
    "roundTrip": {"samples": 60, "meanMs": 36.2, "p50Ms": 31.4, "p95Ms": 88.1, "p99Ms": 112},
    "roundTripsMs": [30, 40, 35, 90, 31],
    "deliveryRate": 0.9996,
    "reconnections": 0,
    "queuedMessages": 0,
    "quality": "HEALTHY",
    "qualityScore": 97,
    "end": None,
}


@pytest.fixture(scope="module")
def page(module_site: Site) -> Page:
    return module_site.page("/")


@pytest.fixture(autouse=True)
def element(page: Page) -> None:
    page.evaluate(
        """async () => {
            await import('/web/component/connection_health.js');
            const element = document.createElement('connection-health');
            element.id = 'tested';
            document.querySelector('#tested')?.remove();
            document.body.prepend(element);
        }"""
    )


def show(page: Page, **changes: Any) -> None:
    assign(page, HEALTH | changes)


def assign(page: Page, health: Any) -> None:
    """Give it that health, and wait until it is drawn: that is at most ten times a second."""
    page.evaluate(
        """health => new Promise(resolve => {
            const before = tested.drawings;
            tested.health = health;
            const look = () => tested.drawings > before ? resolve() : setTimeout(look, 5);
            look();
        })""",
        health,
    )


def text(page: Page, part: str) -> str:
    return page.locator(f"#tested {part}").inner_text()


@pytest.mark.parametrize(
    ("status", "changes", "message"),
    [
        ("Connected", {}, "Live over WebSocket."),
        ("Reconnected", {"reconnections": 2}, "Back after an interruption."),
        (
            "Disconnected",
            {"transport": None, "state": "waiting", "reason": "the network was cut", "nextAttemptInMs": 65_000},
            "The network was cut. Next attempt in 1 min 5 s.",
        ),
        ("Disconnected", {"transport": None, "state": "connecting", "reason": "cut"}, "Cut. Connecting now."),
        ("Disconnected", {"transport": None, "state": "closed", "reason": "no such run", "end": {"code": 4404}}, "No such run."),
        (
            "HTTP Polling",
            {"transport": "polling", "state": "polling", "reason": "WebSocket was refused", "nextAttemptInMs": 9000},
            "WebSocket was refused. Updates arrive with a delay. WebSocket again in 9 s.",
        ),
    ],
)
def test_each_status_has_its_word_shape_and_sentence(page: Page, status: str, changes: dict[str, Any], message: str) -> None:
    show(page, status=status, **changes)
    assert text(page, "[role=status]") == status
    assert text(page, ".message").strip() == message


def test_the_shapes_of_the_statuses_differ(page: Page) -> None:
    shapes = set()
    for status in ("Connected", "Reconnected", "Disconnected", "HTTP Polling"):
        show(page, status=status)
        shapes.add(page.locator("#tested .dot path").get_attribute("d"))
    assert len(shapes) == 4, "no two statuses differ by colour alone"


def test_the_figures(page: Page) -> None:
    show(page, queuedMessages=1234, reconnections=3, quality="DEGRADED")
    figures = page.locator("#tested .figures dd").all_inner_texts()
    assert [" ".join(one.split()) for one in figures] == ["31 ms / 88 ms", "99.9 %", "3", "Degraded", "1,234"]
    assert len(page.locator("#tested .spark .line").get_attribute("points").split()) == 5
    show(page, roundTrip={"samples": 0}, roundTripsMs=[], deliveryRate=None, quality="UNKNOWN", qualityScore=None)
    figures = page.locator("#tested .figures dd").all_inner_texts()
    assert [" ".join(one.split()) for one in figures] == [f"{DASH} / {DASH}", DASH, "0", "Unknown", "0"]


def test_the_countdown_counts_by_itself_and_is_not_announced(page: Page) -> None:
    show(page)
    page.evaluate(
        """() => {
            globalThis.messages = [];
            const part = tested.shadowRoot.querySelector('.message');
            const note = () => messages.push(part.textContent);
            new MutationObserver(note).observe(part, { subtree: true, childList: true, characterData: true });
        }"""
    )
    show(page, status="Disconnected", transport=None, state="waiting", nextAttemptInMs=2500)
    until(lambda: "Connecting now." in text(page, ".message"), "it ends")
    seconds = [int(found[1]) for found in map(re.compile(r"in (\d+) s").search, page.evaluate("messages")) if found]
    shown = [second for second, _ in itertools.groupby(seconds)]
    assert set(shown) <= {3, 2, 1}
    assert sorted(set(shown), reverse=True) == shown != [], "downwards, though a busy machine may miss one"
    assert page.locator("#tested [role=status] .countdown").count() == 0


def test_it_draws_at_most_ten_times_a_second_and_the_last_value_last(page: Page) -> None:
    drawings = page.evaluate(
        """health => new Promise(resolve => {
            const [before, began] = [tested.drawings, performance.now()];
            let count = 0;
            const timer = setInterval(() => {
                for (let i = 0; i < 50; i++) tested.health = { ...health, queuedMessages: ++count };
                if (count >= 5000) {
                    clearInterval(timer);
                    setTimeout(() => resolve([tested.drawings - before, count, performance.now() - began]), 300);
                }
            }, 10);
        })""",
        HEALTH,
    )
    assert drawings[1] == 5000
    assert 2 <= drawings[0] <= drawings[2] / 100 + 2, "for as long as it took, however busy the machine is"
    assert text(page, ".queued") == "5,000"


def test_nothing_that_it_is_given_becomes_markup(page: Page) -> None:
    evil = "<img src=x onerror='window.broken = true'><b>bold</b>"
    show(page, status="Disconnected", transport=None, reason=evil, quality="HEALTHY")
    assert evil in text(page, ".message")
    assert page.locator("#tested img, #tested b").count() == 0
    assert page.evaluate("window.broken") is None


@pytest.mark.parametrize(
    "garbage", [None, {}, {"status": "Fine"}, {"status": "Connected", "roundTrip": None, "deliveryRate": "x"}]
)
def test_invalid_health_does_no_harm(page: Page, garbage: Any) -> None:
    assign(page, garbage)
    assert text(page, ".status") in ("Disconnected", "Connected")


@pytest.mark.parametrize("width", [1280, 900, 600, 320])
def test_no_value_moves_another(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    boxes = []
    long = "a long reason that needs more room than there is " * 4
    for changes in (
        {},
        {"status": "HTTP Polling", "transport": "polling", "reason": long, "quality": "UNHEALTHY", "nextAttemptInMs": 200_000},
        {"status": "Disconnected", "transport": None, "reason": None, "queuedMessages": 999_999, "reconnections": 12_345},
        {"roundTrip": {"samples": 1, "p50Ms": 9999, "p95Ms": 9999}, "deliveryRate": None, "quality": "UNKNOWN"},
    ):
        show(page, **changes)
        boxes.append(page.evaluate(BOXES))
        overflow = page.evaluate("tested.shadowRoot.querySelector('.card').scrollWidth - tested.clientWidth")
        assert overflow <= 0, "nothing sticks out"
    page.set_viewport_size({"width": 1280, "height": 800})
    assert all(box == boxes[0] for box in boxes), json.dumps(boxes)


def test_details_open_by_keyboard(page: Page) -> None:
    show(page)
    button = page.locator("#tested button")
    button.focus()
    assert (button.get_attribute("aria-expanded"), page.locator("#tested .details").is_visible()) == ("false", False)
    page.keyboard.press("Enter")
    assert (button.get_attribute("aria-expanded"), page.locator("#tested .details").is_visible()) == ("true", True)
    assert "112 ms" in text(page, ".details")


def test_the_theme_follows_the_system_unless_it_is_said(page: Page) -> None:
    show(page)
    colour = "getComputedStyle(tested.shadowRoot.querySelector('.card')).backgroundColor"
    seen = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        seen[scheme] = page.evaluate(colour)
    assert seen["light"] != seen["dark"]
    page.evaluate("tested.setAttribute('theme', 'light')")
    assert page.evaluate(colour) == seen["light"]
    page.emulate_media(color_scheme="light")
    page.evaluate("tested.setAttribute('theme', 'dark')")
    assert page.evaluate(colour) == seen["dark"]


def test_nothing_moves_for_those_who_want_no_motion(page: Page) -> None:
    show(page, status="Disconnected", transport=None, state="connecting")
    animation = "getComputedStyle(tested.shadowRoot.querySelector('.dot')).animationName"
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(animation) != "none"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(animation) == "none"
    page.emulate_media(reduced_motion="no-preference")


def test_a_health_that_was_assigned_before_the_module_came_is_shown(page: Page) -> None:
    page.evaluate(
        """health => {
            const early = tested.cloneNode();
            early.id = 'early';
            Object.defineProperty(early, 'health', { value: health, configurable: true, writable: true });
            document.body.prepend(early);
        }""",
        HEALTH | {"status": "Reconnected"},
    )
    until(lambda: page.locator("#early .status").inner_text() == "Reconnected", "it is shown")
    page.evaluate("early.remove()")
