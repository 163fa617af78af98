"""The monitor: metrics from which alerts can be computed, and a record for each session."""

import cProfile
import math
from collections import Counter
from random import Random
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from reference.protocol import metrics
from reference.protocol.client.health import quality_of
from reference.protocol.config import ServerConfig
from reference.protocol.metrics import LABEL_VALUES, METRICS, Metric
from reference.protocol.states import Transport
from reference.server.http.admin_api import metrics_of
from reference.server.http.application import Exchanges
from reference.server.monitoring.monitor import Monitor, MonitoredSessions, Traffic
from reference.server.wire.limits import DoorLimits

from .running_server import OTHER_RUN, RUN, RunningServer, request_bytes, running_server
from .wire.helpers import read_answer, read_to_end, running_front_door

REPORT = {
    "failedAttempts": 2,
    "gaps": 3,
    "duplicates": 4,
    "failedMessages": 5,
    "queuedMessages": 6,
    "recoveries": [{"recoveryMs": 1500, "silenceMs": 20_000}, {"recoveryMs": 700}],
}


def value(running: RunningServer, metric: Metric, **labels: str) -> float:
    return running.server.monitor.metrics.value(metric, **labels)


def part(running: RunningServer, metric: Metric, suffix: str) -> float:
    """The count or the sum of a histogram."""
    return value(running, Metric("gauge", metric.name + suffix, metric.unit, ""))


def test_the_table_names_each_metric_once_with_a_unit_and_a_meaning() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.text
        assert metric.unit
        assert metric.name.endswith("_total") is (metric.kind == "counter")
        assert metric.name.endswith("_seconds") is (metric.unit == "seconds")
        assert (metric.kind == "histogram") is bool(metric.buckets)
        assert metric.labels == () or metric in LABEL_VALUES or metric is metrics.HTTP_REQUESTS


async def test_every_label_has_a_value_from_the_table(autojump_clock: MockClock) -> None:
    async with running_server(protocol=ServerConfig(presence_grace_s=1)) as running:
        async with running.join("alice", sessionId="a-session-of-before") as alice:
            await alice.send("ping", nonce=1, roundTripMs=3.5, report=REPORT)
            await alice.send("publish", clientSequence=1, eventType="NO_SUCH", data={})
            await alice.receive("rejected")
            await alice.socket.aclose(4321)
        async with running.connect() as stranger:
            await stranger.send("ack", sequenceNumber=1)
            await stranger.closed()
        await running.poll("clientId=alice&afterSequence=0&generation=9&fallback=not_welcomed")
        await running.ask("GET", "/wherever")
        text = (await running.ask("GET", "/metrics")).body.decode()
    known = {metric.name: metric for metric in METRICS}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            metric = known.get(sample.name)
            if metric is None or not metric.labels or metric is metrics.HTTP_REQUESTS:
                continue
            assert tuple(sample.labels[label] for label in metric.labels) in LABEL_VALUES[metric]
    assert RUN not in text
    assert "alice" not in text
    assert 'code="other"' in text


async def test_what_clients_report_is_counted(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice:
        await alice.send("ping", nonce=1, roundTripMs=40, report=REPORT)
        await alice.send("ping", nonce=2, roundTripMs=60)
        await alice.receive("pong")
        await alice.receive("pong")
        assert value(running, metrics.FAILED_ATTEMPTS) == 2
        assert value(running, metrics.GAPS) == 3
        assert value(running, metrics.DUPLICATE_EVENTS) == 4
        assert value(running, metrics.FAILURES, reason="client") == 5
        assert (part(running, metrics.RECOVERY, "_count"), part(running, metrics.RECOVERY, "_sum")) == (2, 2.2)
        assert (part(running, metrics.DETECTION, "_count"), part(running, metrics.DETECTION, "_sum")) == (1, 20)
        assert (part(running, metrics.CLIENT_QUEUE, "_count"), part(running, metrics.CLIENT_QUEUE, "_sum")) == (2, 6)
        assert (part(running, metrics.LATENCY, "_count"), part(running, metrics.LATENCY, "_sum")) == (2, 0.1)
        record = running.server.monitor.sessions.find(RUN, "alice")
        assert record is not None
        shown = metrics_of(record)
        assert (shown.gaps, shown.duplicate_events, shown.failed_attempts, shown.message_failures) == (3, 4, 2, 5)
        assert shown.queued_messages == 0, "the last report had nothing queued"
        assert (shown.round_trip.mean_ms, shown.round_trip_max_ms) == (50, 60)


async def test_delivery_rate_and_quality_over_all_sessions(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        assert math.isnan(value(running, metrics.DELIVERY_RATE))
        assert math.isnan(value(running, metrics.QUALITY))
        async with running.join("alice") as alice, running.join("bob") as bob:
            for number in range(1, 4):
                await alice.publish(number)
            await alice.publish(3)  # a copy is no second delivery
            await bob.publish(1, eventType="NO_SUCH")
            await alice.send("ping", nonce=1, roundTripMs=10)
            await alice.receive("pong")
            assert value(running, metrics.DELIVERY_RATE) == 0.75
            assert (value(running, metrics.ACCEPTED), value(running, metrics.DUPLICATES)) == (3, 1)
            assert value(running, metrics.FAILURES, reason="rejected") == 1
            assert value(running, metrics.QUALITY) == 100
            assert value(running, metrics.SESSIONS_BY_QUALITY, quality="HEALTHY") == 1
            assert value(running, metrics.SESSIONS_BY_QUALITY, quality="UNKNOWN") == 1


async def test_a_dropped_session_is_not_carried_and_its_return_is_a_reconnection(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        async with running.join("alice") as alice:
            session_id = alice.received[0]["sessionId"]
            await alice.publish(1)
            record = running.server.monitor.sessions.find(RUN, "alice")
            assert record is not None
            assert (record.is_carried, record.status) == (True, "Connected")
        await trio.sleep(0.1)
        assert (record.is_carried, record.status) == (False, "Disconnected")
        assert value(running, metrics.SESSIONS, transport="websocket") == 0
        async with running.join("alice", generation=2, sessionId=session_id) as alice:
            assert (record.is_carried, record.status, record.reconnections) == (True, "Reconnected", 1)
            await alice.publish(2)
            assert metrics_of(record).messages_received == 4  # two hellos, two publishes
            assert value(running, metrics.RECONNECTIONS) == 1
        await running.poll("clientId=alice&afterSequence=0&generation=3&fallback=not_steady")
        assert (record.status, record.fallbacks) == ("HTTP Polling", 1)
        assert value(running, metrics.FALLBACKS, reason="not_steady") == 1
        assert value(running, metrics.SESSIONS, transport="polling") == 1
        shown = metrics_of(record)
        assert shown.messages_received == 5
        await trio.sleep(40)  # the grace of a poller
        assert record.is_carried is False
        assert running.server.monitor.sessions.carried().__next__ is not None


async def test_each_event_counts_for_each_reader(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice, running.join("bob") as bob:
        await alice.publish(1)
        await bob.events(1)
        await alice.events(1)
        bobs = running.server.monitor.sessions.find(RUN, "bob")
        assert bobs is not None
        assert metrics_of(bobs).messages_sent == len([frame for frame in bob.received if frame["type"] != "events"]) + 1


async def test_http_requests_are_counted_by_operation_and_status(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        await running.poll("afterSequence=0")
        await running.ask("GET", f"/api/runs/{OTHER_RUN}/collaboration/poll")
        await running.ask("GET", f"/api/runs/{RUN}/collaboration/poll", token=None)
        for path in ("/nowhere", "/nowhere/else", "/api/runs/x/y/z"):
            await running.ask("GET", path)
        poll = "/api/runs/{runId}/collaboration/poll"
        statuses = ("200", "401", "404")
        counted = {status: value(running, metrics.HTTP_REQUESTS, operation=poll, status=status) for status in statuses}
        assert counted == {"200": 1, "401": 1, "404": 1}
        assert value(running, metrics.HTTP_REQUESTS, operation="none", status="404") == 3


async def test_what_the_front_door_refuses_is_counted_too(autojump_clock: MockClock) -> None:
    collaboration = "/api/runs/{runId}/collaboration"
    begun = f"POST {collaboration.format(runId=RUN)}/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer dev:alice\r\n"
    upgrade = f"GET /ws/runs/{RUN}/collaboration HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    cases = {
        ("none", "400"): "this is not HTTP\r\n\r\n",
        ("none", "408"): "GET /healthz HTTP/1.1\r\n",
        ("none", "431"): f"GET /healthz HTTP/1.1\r\nHost: x\r\nX: {'x' * 20_000}\r\n\r\n",
        (f"{collaboration}/publish", "408"): f"{begun}Content-Length: 10\r\n\r\n",
        (f"{collaboration}/publish", "413"): f"{begun}Content-Length: 99999999\r\n\r\n",
        ("/ws/runs/{runId}/collaboration", "426"): f"{upgrade}\r\n",
    }
    async with running_server(door=DoorLimits(connections_max=1)) as running:
        for request in cases.values():
            stream = running.server.connect()
            await stream.send_all(request.encode())
            await read_to_end(stream)
            await stream.aclose()
            await trio.sleep(5)  # the one connection that is allowed ends
        async with running.connect():
            assert (await running.ask("GET", "/")).status == 503
        counts = running.server.monitor.metrics
        assert [counts.value(metrics.HTTP_REQUESTS, operation=o, status=s) for o, s in cases] == [1] * len(cases)
        assert counts.value(metrics.HTTP_REQUESTS, operation="/", status="503") == 1
        text = (await running.ask("GET", "/metrics")).body.decode()
        assert sum(float(line.rsplit(" ")[-1]) for line in text.splitlines() if line.startswith(metrics.HTTP_REQUESTS.name)) == 7


async def test_an_answer_that_the_application_breaks_off_counts_as_what_the_client_got(autojump_clock: MockClock) -> None:
    counted: list[tuple[str, int]] = []

    async def half_an_answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    exchanges = Exchanges(half_an_answer, str, lambda address, status: counted.append((address, status)))
    async with running_front_door(exchanges, on_refusal=lambda path, status: counted.append((path, status))) as running:
        assert (await running.ask(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")).status == 500
    assert counted == [("/x", 500)]


async def test_a_poll_that_brings_ten_events_counts_ten_messages(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        messages = [{"clientSequence": n, "eventType": "CHAT", "data": {}} for n in range(1, 11)]
        await running.post(messages)
        before = value(running, metrics.MESSAGES_OUT)
        await running.poll("afterSequence=0")
        assert value(running, metrics.MESSAGES_OUT) - before == 10


def test_a_scrape_costs_the_same_with_many_sessions() -> None:
    """It iterated over all sessions and all their round trips, five times per request."""

    def calls(sessions: int) -> int:
        monitor = Monitor()
        for number in range(sessions):
            key = (f"run{number % 7}", f"c{number}")
            record = monitor.sessions.appears(key, "s", "u", Transport.WEBSOCKET, Traffic(), 0)
            assert record is not None
            monitor.sessions.measured(record, 10.0 + number)
        profile = cProfile.Profile()
        profile.runcall(monitor.metrics.exposition, "")
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(1000) <= calls(10) * 1.05


def test_totals_are_what_the_records_say() -> None:
    monitor, random = Monitor(session_records_max=40), Random(1)
    for now in range(3000):
        record = monitor.sessions.find("run", f"c{random.randrange(60)}")
        match random.randrange(5):
            case 0 | 1:
                transport = random.choice(list(Transport))
                monitor.sessions.appears(("run", f"c{random.randrange(60)}"), "s", "u", transport, Traffic(), now)
            case 2 if record is not None:
                monitor.sessions.measured(record, random.uniform(1, 2000))
            case 3 if record is not None:
                record.accepted += 1
                record.failed += random.randrange(2)
                monitor.sessions.changed(record)
            case 4 if record is not None:
                monitor.sessions.vanishes(record, now)
    carried = [record for record in monitor.sessions if record.is_carried]
    scores = [record.score for record in carried if record.score is not None]
    totals = monitor.sessions.totals
    assert len(carried) > 10
    assert len(scores) > 5
    assert totals.by_transport == Counter(record.transport for record in carried)
    assert +totals.by_quality == Counter(quality_of(record.score) for record in carried)
    assert totals.accepted == sum(record.accepted for record in carried)
    assert totals.score == pytest.approx(sum(scores) / len(scores))
    assert totals.websockets_by_run["run"] == sum(record.transport is Transport.WEBSOCKET for record in carried)


async def test_a_limit_is_counted_by_its_kind(autojump_clock: MockClock) -> None:
    config = ServerConfig(frame_bytes_max=1024, publishes_per_s=1, publish_burst=1)
    async with running_server(protocol=config) as running:
        async with running.join("alice") as alice:
            await alice.publish(1)
            assert (await alice.publish(2))["code"] == "rate"
            assert value(running, metrics.LIMITS, limit="publish_rate") == 1
            assert value(running, metrics.DEFERRED, code="rate") == 1
            await alice.send("publish", clientSequence=2, eventType="CHAT", data={"text": "x" * 2000})
            assert (await alice.closed())[0] == 4413
        assert value(running, metrics.LIMITS, limit="frame_bytes") == 1
        async with running.connect():
            await trio.sleep(11)
        assert value(running, metrics.LIMITS, limit="hello_time") == 1
        assert value(running, metrics.REFUSALS, code="4003") == 1


async def test_both_formats(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        stream = running.server.connect()
        await stream.send_all(request_bytes("GET", "/metrics", headers="Accept: application/openmetrics-text; version=1.0.0\r\n"))
        answer = await read_answer(stream)
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.body.endswith(b"# EOF\n")
        await stream.aclose()


# The table of sessions by itself.


def table_with(*names: str, records_max: int = 10, now: int = 0) -> MonitoredSessions:
    table = MonitoredSessions(records_max, 100)
    for name in names:
        add(table, name, now)
    return table


def add(table: MonitoredSessions, name: str, now: int) -> Any:
    return table.appears((RUN, name), f"session-of-{name}", name, Transport.WEBSOCKET, Traffic(), now)


def test_who_has_been_gone_for_long_expires_and_who_is_here_does_not() -> None:
    table = table_with("alice", "bob", "carol")
    for name, at in (("alice", 10), ("bob", 50)):
        record = table.find(RUN, name)
        assert record is not None
        table.vanishes(record, at)
    assert table.expire(109) == 0
    assert table.expire(110) == 1
    assert table.find(RUN, "alice") is None
    assert table.expire(10_000) == 1
    assert [record.client_id for record in table] == ["carol"]


def test_who_came_back_does_not_expire() -> None:
    table = table_with("alice")
    record = table.find(RUN, "alice")
    assert record is not None
    table.vanishes(record, 10)
    assert add(table, "alice", 20) is record
    assert table.expire(10_000) == 0


def test_a_full_table_forgets_who_has_been_gone_longest_and_never_who_is_here() -> None:
    table = table_with("alice", "bob", records_max=2)
    assert add(table, "carol", 5) is None
    assert len(table) == 2
    record = table.find(RUN, "alice")
    assert record is not None
    table.vanishes(record, 6)
    assert add(table, "carol", 7) is not None
    assert sorted(record.client_id for record in table) == ["bob", "carol"]


@pytest.mark.parametrize("ended", [RUN, OTHER_RUN])
def test_a_run_that_ends_takes_its_sessions_with_it(ended: str) -> None:
    table = table_with("alice")
    table.run_ended(ended, 5)
    assert len(list(table.carried())) == (0 if ended == RUN else 1)
