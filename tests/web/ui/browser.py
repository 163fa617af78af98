"""Shared by the browser tests: a real server process, an emulated access link for each page, and pages in Chromium.

The tests are plain functions: server, emulator and their faults live in a portal's thread, and the browser is driven from the
test's own. Everything is real, and so is time; the settings are short.
"""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import httpcore
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from reference.client.without_trio.blocking import TrioPortal
from reference.protocol.config import ServerConfig
from simulation.emulator import Emulator, open_emulator
from simulation.emulator.access_link import EmulatedAccessLink
from simulation.processes.ports import free_ports
from simulation.processes.server_process import ServerPlace, ServerProcess, open_server_process
from simulation.scenario.faults import BlockUpgrade, Outage
from simulation.scenario.paths import Path

ROOT = FilePath(__file__).parents[3]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WAIT_MS = 40_000
"""For anything that a page is about to show, on the slowest machine that runs this."""

CLIENT = {
    "connectTimeoutS": 1.0,
    "pingIntervalS": 0.5,
    "pingTimeoutS": 0.8,
    "steadyAfterS": 0.5,
    "tailTimeoutS": 0.8,
    "fallbackAfterFailures": 3,
    "pollIntervalS": 0.25,
    "requestTimeoutS": 1.5,
    "probeIntervalS": 0.5,
    "probeIntervalMaxS": 2.0,
}
SERVER = ServerConfig(
    first_spread_s=0.1,
    heartbeat_interval_s=1.0,
    silence_max_s=5.0,
    presence_grace_s=4.0,
    events_kept_max=10_000,
    hello_timeout_s=2.0,
)
FAST = Path(latency_s=0.002)

LOOKS = """
(() => {
    globalThis.looks = [];
    const look = () => {
        const part = (selector) => document.getElementById('health').shadowRoot.querySelector(selector);
        const kinds = ['connected', 'reconnected', 'disconnected', 'polling'];
        const kind = kinds.filter((one) => part('.card').classList.contains(one)).join();
        const shape = part('.dot path').getAttribute('d');
        const now = [part('[role=status]').textContent, kind, shape, Number(part('.queued').textContent)];
        if (JSON.stringify(looks.at(-1)) !== JSON.stringify(now)) looks.push(now);
    };
    new MutationObserver(look).observe(document.getElementById('health').shadowRoot,
        { subtree: true, childList: true, attributes: true, characterData: true });
    look();
})()
"""
"""Notes all that the component shows from now on: word, colour, shape, and the queue."""
KINDS = {"Connected": "connected", "Reconnected": "reconnected", "Disconnected": "disconnected", "HTTP Polling": "polling"}
INITIALS = {"Connected": "C", "Reconnected": "R", "Disconnected": "D", "HTTP Polling": "P"}

_OF_THE_NETWORK = re.compile(r"^(WebSocket connection to '[^']*' failed|Failed to load resource: net::ERR_)")
"""What Chromium itself writes when a connection fails; no page can keep it from that."""


@dataclass
class Site:
    """A server with one run, behind an emulator."""

    portal: TrioPortal
    place: ServerPlace
    server: ServerProcess
    emulator: Emulator
    browser: Browser
    contexts: list[BrowserContext] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """What pages wrote to the console, errors and warnings, without what Chromium writes when a connection fails."""
    said_of_network: list[str] = field(default_factory=list)

    run_id: str = ""
    """The run that pages join."""

    def new_run(self) -> None:
        """Go on in another run, with nobody in it."""
        self.close_pages()
        self.run_id = str(uuid.uuid4())
        self.ask("PUT", f"/api/runs/{self.run_id}")

    def close_pages(self) -> None:
        """Close every page; none of them may have complained."""
        for context in self.contexts:
            context.close()
        self.contexts.clear()
        said, self.said, self.said_of_network = self.said, [], []
        assert said == [], f"a page complained on the console: {said}"

    @property
    def url(self) -> str:
        """The server itself, past the emulator."""
        return f"http://127.0.0.1:{self.place.port}"

    def line(self, name: str, path: Path = FAST) -> EmulatedAccessLink:
        """A new access link, at whose port the server is."""
        return self.portal.call(self.emulator.add_link, f"{name} in {self.run_id}", path)

    def page(self, path: str, *, port: int | None = None, init: str = "", **context: Any) -> Page:
        """A page of the server in a fresh profile."""
        opened = self.browser.new_context(**context)
        opened.set_default_timeout(WAIT_MS)
        self.contexts.append(opened)
        if init:
            opened.add_init_script(init)
        page = opened.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        page.goto(f"http://127.0.0.1:{self.place.port if port is None else port}{path}")
        return page

    def join(self, user: str, line: EmulatedAccessLink, *, config: dict[str, Any] | None = None, **context: Any) -> "Member":
        """A page of that user in the run, over `line`."""
        init = (
            f"sessionStorage.setItem('steadywire.token', {json.dumps(f'dev:{user}')});"
            f"sessionStorage.setItem('steadywire.config', {json.dumps(json.dumps(CLIENT | (config or {})))});"
        )
        page = self.page(f"/#run={self.run_id}", port=line.port, init=init, **context)
        page.evaluate(LOOKS)
        return Member(self, user, page, line)

    def ask(self, method: str, path: str, token: str = "dev-admin:tests") -> Any:
        """A request past the emulator; its body."""
        answer = httpcore.request(method, self.url + path, headers={"Authorization": f"Bearer {token}"})
        assert answer.status < 300, (method, path, answer.status, answer.content)
        return json.loads(answer.content)

    def stored(self) -> list[tuple[int, str, str]]:
        """The log, as the server keeps it: number, type and text."""
        events = self.ask("GET", f"/api/runs/{self.run_id}/collaboration/replay?fromSequence=1&limit=1000")["events"]
        return [(event["sequenceNumber"], event["eventType"], event["data"].get("text", "")) for event in events]

    def kill(self) -> None:
        """Kill the server process without a warning; the next one has loaded its code already."""
        self.portal.call(self.server.prepare)
        self.portal.call(self.server.kill)

    def restart(self) -> None:
        self.portal.call(self.server.start)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            (self.said_of_network if _OF_THE_NETWORK.match(message.text) else self.said).append(message.text)


@dataclass
class Member:
    """One page in the run, and its network."""

    site: Site
    user: str
    page: Page
    line: EmulatedAccessLink

    def shows(self, status: str, *, within_ms: int = WAIT_MS) -> None:
        """Wait until the component shows that status, in word and shape alike."""
        self.page.locator(f"#health .card.{KINDS[status]}").wait_for(timeout=within_ms)
        assert self.page.locator("#health [role=status]").inner_text() == status

    def carried(self) -> str:
        """Wait until a WebSocket carries the page; the status that it shows."""
        self.page.locator("#health .card.connected, #health .card.reconnected").wait_for()
        return self.status

    def went(self, pattern: str) -> list[int]:
        """What the component showed since this was asked last: the statuses went by that pattern of INITIALS, and in each moment
        word, colour and dot agreed. Returns how many publishes were shown as queued, one after the other.
        """
        looks = self.page.evaluate("(() => { const all = [...looks]; looks.splice(0, all.length - 1); return all; })()")
        shapes = {(kind, shape) for _, kind, shape, _ in looks}
        assert all(KINDS[word] == kind for word, kind, _, _ in looks), "word and colour say the same"
        assert len(shapes) == len({kind for kind, _ in shapes}) == len({shape for _, shape in shapes}), "and so does the dot"
        statuses = "".join(initial for initial, _ in itertools.groupby(INITIALS[word] for word, _, _, _ in looks))
        assert re.fullmatch(pattern, statuses), f"{self.user}'s page went {statuses}, not {pattern}"
        return [queued for queued, _ in itertools.groupby(queued for _, _, _, queued in looks)]

    @property
    def status(self) -> str:
        return self.page.locator("#health .status").inner_text()

    @property
    def message(self) -> str:
        return self.page.locator("#health .message").inner_text()

    @property
    def queued(self) -> int:
        return int(self.page.locator("#health .queued").inner_text())

    @property
    def reconnections(self) -> int:
        return int(self.page.evaluate("document.getElementById('health').health.reconnections"))

    def graft(self, text: str, step: str = "step-1") -> None:
        self.page.fill("#step-input", step)
        self.page.fill("#text-input", text)
        self.page.click("#graft")

    def log(self) -> list[tuple[int, str, str]]:
        """The rows of the log, as they stand: number, type and text."""
        rows = self.page.locator("#log > li[data-number]").evaluate_all(
            "rows => rows.map(row => [Number(row.dataset.number), row.dataset.type, row.dataset.text])"
        )
        return [(number, kind, text) for number, kind, text in rows]

    def has(self, count: int) -> None:
        """Wait until the log has that many events, and nothing waits to be sent."""
        until(lambda: len(self.log()) == count and self.queued == 0, f"{self.user} has {count} events")

    def apply(self, fault: Callable[..., Any], *arguments: Any) -> None:
        """Begin a fault of the line, one of its verbs; it ends by itself."""
        self.site.portal.start(fault, *arguments)

    @contextmanager
    def under(self, fault: Outage | BlockUpgrade) -> Iterator[None]:
        """The line has that fault, for as long as the block lasts."""
        self.site.portal.call(self.line.begin, fault)
        yield
        self.site.portal.call(self.line.end, fault)


def until(condition: Callable[[], bool], what: str, *, within_s: float = WAIT_MS / 1000) -> None:
    """Wait until it is so."""
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at, f"within {within_s:g} s it was not so that {what}"
        time.sleep(0.05)


@contextmanager
def open_site(browser: Browser, folder: FilePath, config: ServerConfig = SERVER) -> Iterator[Site]:
    """A running server and its emulator; everything is closed at the end, and no page may have complained."""
    (port,) = free_ports(1)
    place = ServerPlace(port, f"sqlite:///{folder / 'events.sqlite3'}", str(uuid.uuid4()), folder / "server.log", config)
    with TrioPortal() as portal:
        server = portal.enter(open_server_process(place, on_record=lambda record: None))
        portal.call(server.start)
        emulator = portal.enter(open_emulator("127.0.0.1", port, seed=1))
        site = Site(portal, place, server, emulator, browser, run_id=place.run_id)
        yield site
        site.close_pages()


def npm_package(package: str, config: pytest.Config) -> FilePath:
    """The folder of an npm package, NAME@VERSION, installed once into pytest's cache: a tool for tests, no dependency."""
    name, _, _ = package.partition("@")
    assert config.cache is not None
    folder = config.cache.mkdir(package.replace("@", "-"))
    path = folder / "node_modules" / name
    if not (path / "package.json").exists():
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), package]
        subprocess.run(command, check=True, timeout=300, capture_output=True)
    return path


@contextmanager
def open_lab(folder: FilePath, *command: str, **variables: str) -> Iterator[str]:
    """The address of the JupyterLab that a module of Python opens; its settings and its log are in `folder`."""
    news = folder / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    (port,) = free_ports(1)
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    environment = os.environ | {name: str(folder / name) for name in folders} | variables
    environment |= {"PYTHONPATH": str(ROOT), "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    with (folder / "lab.log").open("wb") as log:
        called = [sys.executable, "-m", *command, f"--port={port}", "--no-browser"]
        process = subprocess.Popen(called, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: _answers(f"{url}/api"), "JupyterLab answers", within_s=180)
        yield url
    finally:
        process.terminate()
        assert process.wait(20) == 0


def _answers(url: str) -> bool:
    try:
        return httpcore.request("GET", url).status == 200
    except httpcore.ConnectError:
        return False


def run_all_cells(page: Page) -> None:
    """JupyterLab's cells, by the menu, which may close again under the pointer while JupyterLab is still busy with itself."""
    for _ in range(5):
        page.click(".lm-MenuBar-itemLabel:text-is('Run')")
        item = page.locator(".lm-Menu-itemLabel:text-is('Run All Cells')")
        item.hover()
        page.wait_for_timeout(500)
        item.click()
        try:
            expect(page.locator(".jp-CodeCell .jp-InputPrompt").first).to_have_text(re.compile(r"\[(\*|\d+)\]:"), timeout=4000)
            return
        except AssertionError:
            page.keyboard.press("Escape")
    raise AssertionError("the menu runs no cell")
