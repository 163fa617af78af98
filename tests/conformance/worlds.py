"""The kit in virtual time: our server and client in this process, over memory streams, and a relay that changes messages."""

import itertools
import json
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from reference.protocol.policies.reconnect import ReconnectPolicy
from reference.server.app import open_server
from reference.server.settings import ServerSettings
from reference.store import MemoryStore
from simulation.conformance.applications import Application, Assignment, check_report
from simulation.conformance.cases import CaseVerdict, KitCase, run_cases
from simulation.conformance.client_bench import ClientBench, JudgedClient
from simulation.conformance.client_cases import CLIENT_CASES
from simulation.conformance.examples.python_client import take_part
from simulation.conformance.server_bench import JudgedServer
from simulation.conformance.server_cases import SERVER_CASES
from simulation.conformance.wire import (
    Binary,
    Closed,
    Dial,
    Lost,
    RawHttp,
    RawRequest,
    Response,
    ServedConnection,
    Target,
    Text,
    UpgradeRefused,
    WebSocket,
    open_websocket,
)

ORIGIN_NS = 1_700_000_000_000_000_000
TARGET = Target("127.0.0.1", 80, tls=False)
CAPACITY_BYTES = 256 * 1024
Frame = dict[str, Any]


def in_virtual_time(main: Callable[..., Any], *arguments: Any) -> Any:
    return trio.run(main, *arguments, clock=trio.testing.MockClock(autojump_threshold=0))


class Mangler:
    """Stands between two peers and may change their messages. This one changes nothing."""

    def __init__(self) -> None:
        self.relays: list[tuple[WebSocket, WebSocket]] = []

    def request(self, request: RawRequest) -> RawRequest:
        return request

    def response(self, request: RawRequest, response: Response) -> Response:
        return response

    def client_message(self, message: Text | Binary) -> Iterable[Text | Binary]:
        return [message] if isinstance(message, Binary) else self._each(message, self.client_frame)

    def server_message(self, message: Text | Binary) -> Iterable[Text | Binary]:
        return [message] if isinstance(message, Binary) else self._each(message, self.server_frame)

    def client_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame]

    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame]

    def code_to_client(self, code: int | None) -> int | None:
        return code

    @staticmethod
    def _each(message: Text, change: Callable[[Frame], Iterable[Frame]]) -> Iterable[Text]:
        try:
            frame = json.loads(message.text)
        except ValueError:
            return [message]
        changed = list(change(frame)) if isinstance(frame, dict) else [frame]
        return [message] if changed == [json.loads(message.text)] else [Text(json.dumps(each)) for each in changed]


def without(*names: str) -> Callable[[Frame], Iterable[Frame]]:
    """Leaves these fields out of every frame."""
    return lambda frame: [{name: value for name, value in frame.items() if name not in names}]


def withholding(kind: str) -> Callable[[Frame], Iterable[Frame]]:
    """Passes no frame of that type on."""
    return lambda frame: [] if frame["type"] == kind else [frame]


class Relay:
    """Serves streams by asking `dial` for the same, through a mangler."""

    def __init__(self, mangler: Mangler, dial: Dial) -> None:
        self.mangler = mangler
        self.dial = dial

    async def serve(self, stream: trio.abc.Stream) -> None:
        served = ServedConnection(stream)
        try:
            while (request := await served.read_request()) is not None:
                request = self.mangler.request(request)
                if request.is_upgrade:
                    await self._upgrade(served, request)
                    return
                upstream = RawHttp(await self.dial(), TARGET.authority)
                try:
                    response = await upstream.request(request.method, request.target, headers=_kept(request), body=request.body)
                except Lost:
                    return
                finally:
                    await upstream.aclose()
                response = self.mangler.response(request, response)
                await served.answer(response.status, response.body, _of_response(response))
        finally:
            with trio.CancelScope(shield=True):
                await served.aclose()

    async def _upgrade(self, served: ServedConnection, request: RawRequest) -> None:
        stream = await self.dial()
        try:
            try:
                server = await open_websocket(
                    stream, request.target, TARGET.authority, subprotocols=request.subprotocols, headers=_kept(request)
                )
            except UpgradeRefused as refused:
                response = self.mangler.response(request, refused.response)
                await served.answer(response.status, response.body, _of_response(response))
                return
            except Lost:
                return
            client = await served.accept(request, server.subprotocol)
            self.mangler.relays.append((client, server))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._to_server, client, server, nursery.cancel_scope)
                while not isinstance(message := await server.receive(), Closed):
                    for each in self.mangler.server_message(message):
                        await _send(client, each)
                code = self.mangler.code_to_client(message.code)
                if code is not None:
                    await client.send_close(code, message.reason)
                    with trio.move_on_after(1):
                        await trio.sleep_forever()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def _to_server(self, client: WebSocket, server: WebSocket, over: trio.CancelScope) -> None:
        while not isinstance(message := await client.receive(), Closed):
            for each in self.mangler.client_message(message):
                await _send(server, each)
        if message.code is None:
            over.cancel()
        elif server.ended is None:
            await server.send_close(message.code, message.reason)
        else:
            over.cancel()


async def _send(websocket: WebSocket, message: Text | Binary) -> None:
    if isinstance(message, Text):
        await websocket.send_text(message.text)
    else:
        await websocket.send_binary(message.data)


def _kept(request: RawRequest) -> list[tuple[str, str]]:
    return [(name, request.headers[name]) for name in ("authorization", "origin", "content-type") if name in request.headers]


def _of_response(response: Response) -> list[tuple[str, str]]:
    return [("Retry-After", response.headers["retry-after"])] if "retry-after" in response.headers else []


def relayed(nursery: trio.Nursery, relay: Relay) -> trio.abc.Stream:
    near, far = trio.testing.memory_stream_pair()
    nursery.start_soon(relay.serve, far)
    return near


def server_cases(names: Sequence[str]) -> list[KitCase[Any]]:
    return [case for case in SERVER_CASES if not names or case.name in names]


def client_cases(names: Sequence[str]) -> list[KitCase[Any]]:
    return [case for case in CLIENT_CASES if not names or case.name in names]


async def judge_our_server(names: Sequence[str] = (), mangler: Mangler | None = None, **settings: Any) -> dict[str, CaseVerdict]:
    """The verdicts on our server, as a mangler lets it appear."""
    options = ServerSettings(**settings)
    async with (
        open_server(options, store=MemoryStore(), origin_ns=ORIGIN_NS, listening=False) as server,
        trio.open_nursery() as nursery,
    ):

        async def dial() -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            return server.connect(capacity_bytes=CAPACITY_BYTES)

        async def dial_relay() -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            assert mangler is not None
            return relayed(nursery, Relay(mangler, dial))

        judged = JudgedServer(TARGET, dial=dial if mangler is None else dial_relay)
        verdicts = await run_cases(server_cases(names), judged.open_bench)
        nursery.cancel_scope.cancel()
    return {verdict.case: verdict for verdict in verdicts}


class InProcess:
    """A program in this process: the example for the Python client."""

    def __init__(self) -> None:
        self.commands_in, self.commands = trio.open_memory_channel[Frame](math.inf)
        self.reports_in, self.reports = trio.open_memory_channel[Frame](math.inf)

    async def send(self, command: Frame) -> None:
        await self.commands_in.send(json.loads(json.dumps(command)))

    async def receive(self) -> Frame | None:
        try:
            return check_report(json.dumps(await self.reports.receive()))
        except trio.EndOfChannel:
            return None

    async def last_words(self) -> str:
        return "its reports have ended"


async def judge_our_client(
    names: Sequence[str] = (),
    mangler: Callable[[], Mangler] | None = None,
    change_report: Callable[[str, Frame], Iterable[tuple[str, Frame]]] = lambda name, content: [(name, content)],
    reported: Frame | None = None,
    policy: ReconnectPolicy | None = None,
    **settings: Any,
) -> dict[str, CaseVerdict]:
    """The verdicts on our client with these settings, with its messages changed by manglers; `reported`: the settings that it
    claims to have."""
    benches: dict[str, Callable[[trio.abc.Stream], Any]] = {}
    nurseries: dict[str, trio.Nursery] = {}
    numbers = itertools.count(1)

    def listen(nursery: trio.Nursery, bench: ClientBench) -> str:
        host = f"kit-{next(numbers)}"

        async def dial() -> trio.abc.Stream:
            near, far = trio.testing.memory_stream_pair()
            nursery.start_soon(bench.serve, far)
            return near

        benches[host] = bench.serve if mangler is None else Relay(mangler(), dial).serve
        nurseries[host] = nursery
        return f"http://{host}"

    async def open_stream(host: str, port: int, tls: bool) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        near, far = trio.testing.memory_stream_pair()
        nurseries[host].start_soon(benches[host], far)
        return near

    @asynccontextmanager
    async def start(assignment: Assignment) -> AsyncIterator[Application]:
        program = InProcess()

        def report(name: str, content: Frame) -> None:
            if name == "ready":
                content = {"settings": settings if reported is None else reported}
            for each in change_report(name, content):
                program.reports_in.send_nowait(dict([each]))

        async def run() -> None:
            with program.reports_in:
                await take_part(
                    assignment.url, assignment.run, assignment.token, program.commands, report, settings, open_stream, policy
                )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            yield program
            nursery.cancel_scope.cancel()

    verdicts = await run_cases(client_cases(names), JudgedClient(start, listen).open_bench)
    return {verdict.case: verdict for verdict in verdicts}


NEED_SECRET = frozenset({"token.of_other_runs", "token.not_valid_now", "token.expires"})
"""Cases that do not apply to a server that believes development tokens."""


def failures(verdicts: dict[str, CaseVerdict], not_applicable: frozenset[str] = frozenset()) -> list[str]:
    """Everything but what has passed and what must not apply."""
    wanted = {True: "not applicable", False: "passed"}
    wrong = [verdict for verdict in verdicts.values() if verdict.status != wanted[verdict.case in not_applicable]]
    return [f"{verdict.case} {verdict.status}: {verdict.clause}: {verdict.message}" for verdict in wrong]
