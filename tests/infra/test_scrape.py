"""A real Prometheus scrapes a real server while clients use failing links; then every expression of the dashboard is queried.

Real processes, sockets and seconds: about twenty. Times are shortened as in the demo, so that everything that the dashboard
shows happens within them: a reset, a half-open connection, a ban on WebSocket, a publish that is refused.
"""

import json
import math
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio

from reference.client import Client, PublishFailedError, connect, create_run
from reference.protocol.events import EventRegistry
from simulation.emulator import open_emulator
from simulation.processes.demo.parameters import CLIENT, POLICY
from simulation.scenario.faults import BlockUpgrade, HalfOpen, Reset
from simulation.scenario.paths import Path as NetworkPath
from tests.server.processes import serving

from .dashboard import expressions, infra

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Prometheus (Debian: prometheus)"),
]

CLIENTS = 8
STRANGE = "STRANGE"
"""A type that this server does not know: it refuses it for good."""
TYPES = EventRegistry(("CHAT", STRANGE))
WORK_S = 16.0
READY_S_MAX = 30.0
PLAUSIBLE_MAX = 100_000.0
SCRAPES = """
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [ websocket-alerts.yml ]
scrape_configs:
  - job_name: steadywire
    static_configs: [ { targets: [ "TARGET" ] } ]
"""


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[str]:
    """Prometheus, reading `target` once a second; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "prometheus.yml").write_text(SCRAPES.replace("TARGET", target))
    (folder / "websocket-alerts.yml").write_text(infra("websocket-alerts.yml"))
    arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            ["prometheus", *arguments, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def ask(address: str, expression: str) -> list[float]:
    """The values of an instant query."""
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{address}/api/v1/query?{query}", timeout=10) as answer:
        body = json.load(answer)
    assert body["status"] == "success", body
    return [float(series["value"][1]) for series in body["data"]["result"]]


def wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + READY_S_MAX
    while time.monotonic() < deadline:
        try:
            if ask(address, 'up{job="steadywire"}') == [1.0]:
                return
        except OSError:
            pass
        time.sleep(0.2)  # another program has to start: there is no event to wait for
    raise AssertionError(f"Prometheus was not ready after {READY_S_MAX:g} s")


async def clients_at_work(url: str, look: Callable[[], None]) -> None:
    """Eight clients for sixteen seconds, on links that fail; then somebody looks at the dashboard, while they go on."""
    run_id = await create_run(url, token="dev:ada")
    where = urlsplit(url)
    assert where.hostname is not None
    assert where.port is not None

    async def work(name: str, port: int) -> None:
        address = f"http://127.0.0.1:{port}"
        async with (
            connect(address, run_id, token=f"dev:{name}", config=CLIENT, policy=POLICY, registry=TYPES, seed=1) as client,
            trio.open_nursery() as mine,
        ):
            mine.start_soon(read, client)
            while True:
                try:
                    await client.publish("CHAT", {"from": name})
                    await client.publish(STRANGE if name == "u0" else "FLAG", {"note": name})
                except PublishFailedError:
                    pass
                await trio.sleep(0.4)

    async def read(client: Client) -> None:
        async for _ in client:
            pass

    async with open_emulator(where.hostname, where.port, seed=1) as emulator, trio.open_nursery() as nursery:
        for number in range(CLIENTS):
            link = await emulator.add_link(f"u{number}", NetworkPath(latency_s=0.01 + 0.005 * number, jitter_s=0.005))
            nursery.start_soon(work, f"u{number}", link.port)
        faults = (
            Reset(at_s=3, clients=("u1", "u2")),
            HalfOpen(at_s=4, clients=("u3",)),
            BlockUpgrade(at_s=4, duration_s=9, clients=("u4", "u5")),
            Reset(at_s=9),
        )
        nursery.start_soon(emulator.run_schedule, faults)
        await trio.sleep(WORK_S)
        await trio.to_thread.run_sync(look)
        nursery.cancel_scope.cancel()


@dataclass
class Watched:
    """A Prometheus, and what each expression of the dashboard gave while the clients were at work."""

    address: str
    seen: dict[str, list[float]] = field(default_factory=dict)

    def look(self) -> None:
        self.seen = {expression.text: ask(self.address, expression.for_prometheus) for expression in expressions()}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder: Path = tmp_path_factory.mktemp("prometheus")
    with (
        serving("--store", f"sqlite:///{folder}/events.sqlite3", log=folder / "server.log") as server,
        prometheus(urlsplit(server.url).netloc, folder) as address,
    ):
        wait_until_ready(address)
        watched = Watched(address)
        trio.run(clients_at_work, server.url, watched.look)
        yield watched


def test_every_expression_of_the_dashboard_has_a_plausible_result(watched: Watched) -> None:
    empty, odd = [], []
    for expression in expressions():
        values = watched.seen[expression.text]
        if not values:
            empty.append(f"{expression.panel}: {expression.text}")
        has_nothing = "orchestrator_gc_pause_seconds" in expression.text and all(map(math.isnan, values))
        if has_nothing:  # a quantile of no collections: they are rare by design, and none need fall into the window
            continue
        if any(math.isnan(value) or not 0 <= value < PLAUSIBLE_MAX for value in values):
            odd.append(f"{expression.panel}: {expression.text} gives {values}")
    assert empty == []
    assert odd == []


def test_what_happened_is_what_is_shown(watched: Watched) -> None:
    prefix = "orchestrator_websocket_"
    for what, least in {
        "connections_total": CLIENTS,
        "reconnections_total": CLIENTS,
        "fallback_http_total": 2,
        "publishes_accepted_total": 50,
        "recovery_seconds_count": CLIENTS,
        "detection_seconds_count": 1,
    }.items():
        (value,) = ask(watched.address, f"sum(max_over_time({prefix}{what}[2m]))")
        assert value >= least, what
    assert sum(ask(watched.address, f'{prefix}message_failures_total{{reason="rejected"}}')) >= 10


def test_the_alert_rules_are_loaded_and_healthy(watched: Watched) -> None:
    with urllib.request.urlopen(f"{watched.address}/api/v1/rules", timeout=10) as answer:
        groups = json.load(answer)["data"]["groups"]
    found = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert len(found) == 18
    assert set(found.values()) == {"ok"}
