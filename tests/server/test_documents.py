"""The documents about a server for programs: OpenAPI and metrics."""

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from reference.protocol.errors import CloseCode
from reference.protocol.metrics import HTTP_REQUESTS, METRICS
from reference.server.http.admin_actions import AdminActions
from reference.server.http.admin_api import AdminApi
from reference.server.http.answers import STATUSES
from reference.server.http.description import operations_in
from reference.server.http.openapi import document
from reference.server.http.operator_api import OperatorApi
from reference.server.http.pages import DocsApi
from reference.server.http.run_api import RunApi

from .running_server import OTHER_RUN, RUN, request_bytes, running_server
from .wire.helpers import read_to_end

OPERATIONS = operations_in((RunApi, AdminApi, AdminActions, OperatorApi, DocsApi))

BRIEF = (
    "orchestrator_websocket_connections_total",
    "orchestrator_websocket_disconnections_total",
    "orchestrator_websocket_reconnections_total",
    "orchestrator_websocket_messages_in_total",
    "orchestrator_websocket_messages_out_total",
    "orchestrator_websocket_message_failures_total",
    "orchestrator_websocket_message_latency_seconds",
    "orchestrator_websocket_fallback_http_total",
)


async def test_every_address_of_the_document_answers(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice:
        served = msgspec.json.decode((await running.ask("GET", "/openapi.json", token=None)).body)
        assert served["openapi"] == "3.1.0"
        for path, operations in served["paths"].items():
            for method in operations:
                body = b'{"clientId":"c","messages":[]}' if path.endswith("/publish") else b""
                address = path.replace("{runId}", RUN).replace("{sessionId}", str(alice.received[0]["sessionId"]))
                address += "?userId=mallory" if path.endswith("/refused-users") else ""
                answer = await running.ask(method.upper(), address, body, token="dev-admin:ada")
                assert answer.status in (200, 201), (method, path)
                assert str(answer.status) in operations[method]["responses"]


async def test_every_get_of_the_document_answers_head(autojump_clock: MockClock) -> None:
    """Monitors and load balancers ask for health with HEAD; 405 takes a healthy server out."""
    async with running_server() as running, running.join("alice") as alice:
        for path in (operation.path for operation in OPERATIONS if operation.method == "get" and operation.is_listed):
            address = path.replace("{runId}", RUN).replace("{sessionId}", str(alice.received[0]["sessionId"]))
            stream = running.server.connect()
            await stream.send_all(request_bytes("HEAD", address, token="dev-admin:ada", headers="Connection: close\r\n"))
            head, _, body = (await read_to_end(stream)).partition(b"\r\n\r\n")
            assert (head.split(b" ", 2)[1], body) == (b"200", b""), path


async def test_an_address_is_counted_under_its_template_whatever_the_status(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        for path in (f"/api/runs/{OTHER_RUN}/collaboration/poll", "//metrics", "/metrics/", "/healthz"):
            await running.ask("GET", path)
        count = running.server.monitor.metrics.value
        assert count(HTTP_REQUESTS, operation="/api/runs/{runId}/collaboration/poll", status="404") == 1
        assert count(HTTP_REQUESTS, operation="none", status="404") == 2
        assert count(HTTP_REQUESTS, operation="/healthz", status="200") == 1


def test_every_reference_in_the_document_leads_somewhere() -> None:
    text = msgspec.json.encode(document(OPERATIONS)).decode()
    components = msgspec.json.decode(text)["components"]["schemas"]
    references = {piece.partition('"')[0] for piece in text.split('"$ref":"#/components/schemas/')[1:]}
    assert references <= set(components)
    assert {"PollAnswer", "PublishRequest", "PublishAnswer", "ReplayAnswer", "HttpProblem", "Event"} <= references


def test_the_parameters_are_those_of_the_frames() -> None:
    paths = document(OPERATIONS)["paths"]
    poll = paths["/api/runs/{runId}/collaboration/poll"]["get"]["parameters"]
    names = [parameter["name"] for parameter in poll]
    assert names == [
        "runId",
        "afterSequence",
        "epoch",
        "waitMs",
        "clientId",
        "sessionId",
        "generation",
        "start",
        "fallback",
        "report",
    ]
    assert poll[-1]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Report"}
    wait = next(parameter for parameter in poll if parameter["name"] == "waitMs")
    assert wait["schema"]["maximum"] == 25_000


def test_every_code_has_a_status() -> None:
    assert set(CloseCode) <= set(STATUSES)
    assert all(400 <= status < 600 for status in STATUSES.values())


async def test_the_metrics_are_those_of_the_table_and_of_the_brief(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        async with running.join("alice") as alice:
            await alice.publish(1)
            await alice.send("ping", nonce=1, roundTripMs=3.5)
            await alice.receive("pong")
        async with running.join("alice", generation=2, sessionId=alice.received[0]["sessionId"]):
            text = (await running.ask("GET", "/metrics", token=None)).body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    names = {name + "_total" if family.type == "counter" else name for name, family in families.items()}
    assert names == {metric.name for metric in METRICS}
    assert set(BRIEF) <= names
    values = {(sample.name, *sorted(sample.labels.items())): sample.value for f in families.values() for sample in f.samples}
    assert values["orchestrator_websocket_connections_total",] == 2
    assert values["orchestrator_websocket_reconnections_total",] == 1
    assert values["orchestrator_websocket_connections_active",] == 1
    assert values["orchestrator_websocket_disconnections_total", ("by", "client"), ("code", "none")] == 1
    assert values["orchestrator_websocket_resumes_total", ("outcome", "fresh")] == 2
    assert values["orchestrator_websocket_resumes_total", ("outcome", "reset")] == 0
    assert values["orchestrator_websocket_message_latency_seconds_count",] == 1
    assert values["orchestrator_store_events_total",] == 1
    assert values["orchestrator_runs_loaded",] == 1


async def test_two_servers_do_not_count_into_each_other(autojump_clock: MockClock) -> None:
    async with running_server() as one, running_server() as two, one.join("alice"):
        assert b"connections_active 1.0" in (await one.ask("GET", "/metrics")).body
        assert b"connections_active 0.0" in (await two.ask("GET", "/metrics")).body
