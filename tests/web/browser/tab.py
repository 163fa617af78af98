"""A tab that is really hidden, throttled and frozen, as in a user's browser.

Playwright keeps every page that it opens visible and active, and no other session can take that back. So this tab is opened by
the browser itself, in its default profile, and spoken to through the browser's own session of the DevTools protocol.
"""

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .places import WAIT_MS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession

LOOK_S = 0.05


class Tab:
    """One tab. Use `open_tab`."""

    def __init__(self, devtools: "CDPSession", url: str) -> None:
        self._devtools = devtools
        self._answers: dict[int, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        self.target: str = devtools.send("Target.createTarget", {"url": url})["targetId"]
        attached = devtools.send("Target.attachToTarget", {"targetId": self.target, "flatten": False})
        self._session: str = attached["sessionId"]
        devtools.on("Target.receivedMessageFromTarget", self._hear)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        result = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Until it is true; a page that is still being loaded may not know its names yet."""
        until_s = time.monotonic() + WAIT_MS / 1000
        while not self.evaluate(f"(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()"):
            assert time.monotonic() < until_s, f"it did not become true that {expression}"
            time.sleep(LOOK_S)

    def show(self) -> None:
        """In front of all other tabs of its window, which are hidden by that."""
        self._devtools.send("Target.activateTarget", {"targetId": self.target})

    def freeze(self) -> None:
        """As a browser does with a tab that is hidden for long: no timer rings and no message is handed over."""
        self.send("Page.setWebLifecycleState", state="frozen")

    def thaw(self) -> None:
        self.send("Page.setWebLifecycleState", state="active")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol; its result."""
        number = next(self._numbers)
        message = json.dumps({"id": number, "method": method, "params": parameters})
        self._devtools.send("Target.sendMessageToTarget", {"sessionId": self._session, "message": message})
        until_s = time.monotonic() + WAIT_MS / 1000
        while number not in self._answers:
            assert time.monotonic() < until_s, f"no answer to {method}"
            self._devtools.send("Target.getTargetInfo")  # lets messages come in
        answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    def _hear(self, event: dict[str, Any]) -> None:
        if event["sessionId"] == self._session:
            message = json.loads(event["message"])
            if "id" in message:
                self._answers[message["id"]] = message


@contextmanager
def open_tab(browser: "Browser", url: str) -> Iterator[tuple[Tab, Tab]]:
    """The tab, shown, and an empty one in the same window: `show` of one hides the other."""
    devtools = browser.new_browser_cdp_session()
    other, tab = Tab(devtools, "about:blank"), Tab(devtools, url)
    tab.wait_for("document.title === 'started'")
    yield tab, other
    for each in (tab, other):
        devtools.send("Target.closeTarget", {"targetId": each.target})
    devtools.detach()
