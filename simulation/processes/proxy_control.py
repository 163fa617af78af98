"""The control API of `steadywire proxy`: reads and changes the path of its access link, and injects faults, while it runs.

    GET    /                 the state of the proxy: addresses, path, active faults, statistics
    GET    /path             the path, every field
    PUT    /path             a path; other fields get their defaults
    PATCH  /path             changes of the path (RFC 7396: null restores the default)
    GET    /faults           the active faults
    POST   /faults           begins a fault: {"kind": "outage", "duration_s": 5}
    DELETE /faults           ends all active faults
    DELETE /faults/NUMBER    ends one
    GET    /statistics       connections and bytes so far, and the last faults

A fault without `duration_s` lasts until it is deleted, at most DURATION_S_MAX. All errors are {"error": "what to do"}.

There is no authentication, so the API listens on loopback by default, and refuses requests of web pages (with an Origin): a web
page must not cut the network of a program on the same machine. The server's front door (`reference.server.wire`), which serves
the API, limits heads, bodies, connections and times.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, get_args

import msgspec
import trio

from reference.protocol.errors import CloseCode, ConfigError
from reference.server.wire.exchange import Receive, Send
from reference.server.wire.front_door import FrontDoor, Problem
from reference.server.wire.limits import DoorLimits
from reference.server.wire.request_head import HttpRefusal, RequestHead
from reference.server.wire.websocket import Accept
from reference.tables import guess, value_of
from simulation.emulator import EmulatedAccessLink, Emulator
from simulation.processes.path_changes import changed_path
from simulation.scenario.faults import HalfOpen, LinkFault, Path, Reset

FAULTS_MAX = 100
"""Active faults that were begun through the API; one more is refused (409)."""
FAULTS_SHOWN_MAX = 100
"""How many of the last faults the statistics name."""
DURATION_S_MAX = 1_000_000.0
LIMITS = DoorLimits(connections_max=50, refusals_max=10, body_bytes_max=256 * 1024)

_KINDS = {str(kind.__struct_config__.tag): kind for kind in get_args(LinkFault)}


@dataclass
class _ActiveFault:
    fault: LinkFault
    since: float
    scope: trio.CancelScope
    is_over: trio.Event


class _Refused(Exception):
    """A request that gets an error as its answer."""

    def __init__(self, status: int, message: str, allow: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.allow = allow


class ProxyControl:
    """Answers the requests about the access link `link` of `emulator`. `about`: more fields of the answer to `GET /`."""

    def __init__(self, emulator: Emulator, link: EmulatedAccessLink, nursery: trio.Nursery, about: Mapping[str, object]) -> None:
        self._emulator = emulator
        self._link = link
        self._nursery = nursery
        self._about = about
        self._active: dict[int, _ActiveFault] = {}
        self._begun = 0

    def front_door(self, on_problem: Callable[[Problem], None]) -> FrontDoor:
        """Serves the API's connections."""
        return FrontDoor(self._answer, _no_websocket, limits=LIMITS, on_problem=on_problem)

    async def _answer(self, scope: Any, receive: Receive, send: Send) -> None:
        allow = ""
        try:
            status, answer = 200, await self._carry_out(scope, receive)
            if scope["method"] == "POST":
                status = 201
        except _Refused as error:
            status, answer, allow = error.status, {"error": str(error)}, error.allow
        except ConfigError as error:
            status, answer = 400, {"error": str(error)}
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        if allow:
            headers.append((b"allow", allow.encode()))
        body = msgspec.json.format(msgspec.json.encode(answer), indent=2) + b"\n"
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _carry_out(self, scope: Any, receive: Receive) -> object:
        if any(name == b"origin" for name, _ in scope["headers"]):
            raise _Refused(403, "this API is not for web pages: send no Origin, as curl does")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        match scope["path"].strip("/").split("/"):
            case [""]:
                return self._only(method, {"GET": self._all})
            case ["path"]:
                if method in ("PUT", "PATCH"):
                    return self._change_path(await _body(receive), is_whole=method == "PUT")
                return self._only(method, {"GET": lambda: self._link.path}, "GET, PUT, PATCH")
            case ["faults"]:
                if method == "POST":
                    return await self._begin(await _body(receive))
                if method == "DELETE":
                    return [await self._end(number) for number in list(self._active)]
                return self._only(method, {"GET": self._faults}, "GET, POST, DELETE")
            case ["faults", number]:
                if method != "DELETE":
                    return self._only(method, {}, "DELETE")
                if not (number.isascii() and number.isdecimal()) or len(number) > 9 or int(number) not in self._active:
                    numbers = ", ".join(map(str, self._active)) or "none"
                    raise _Refused(404, f"no fault {number} is active; there are: {numbers}")
                return await self._end(int(number))
            case ["statistics"]:
                return self._only(method, {"GET": self._statistics})
        raise _Refused(404, "there is no such address; there are /, /path, /faults, /faults/NUMBER and /statistics")

    @staticmethod
    def _only(method: str, answers: Mapping[str, Callable[[], object]], allow: str = "GET") -> object:
        if method not in answers:
            raise _Refused(405, f"this address takes {allow}, not {method}", allow)
        return answers[method]()

    # Answers.

    def _all(self) -> dict[str, object]:
        return {**self._about, "path": self._link.path, "faults": self._faults(), "statistics": asdict(self._link.statistics())}

    def _faults(self) -> list[dict[str, object]]:
        return [self._description(number, active) for number, active in self._active.items()]

    def _statistics(self) -> dict[str, object]:
        faults = self._emulator.statistics().faults
        last = [{"at_s": round(fault.at_s, 3), "kind": fault.kind} for fault in faults[-FAULTS_SHOWN_MAX:]]
        return {**asdict(self._link.statistics()), "faults_begun": len(faults), "last_faults": last}

    @staticmethod
    def _description(number: int, active: _ActiveFault) -> dict[str, object]:
        words = {name: value for name, value in msgspec.to_builtins(active.fault).items() if name not in ("at_s", "clients")}
        return {"number": number, **words, "under_way_for_s": round(trio.current_time() - active.since, 3)}

    # Changes.

    def _change_path(self, changes: dict[str, Any], *, is_whole: bool) -> Path:
        path = changed_path(Path() if is_whole else self._link.path, changes)
        self._link.change_path(path)
        return path

    async def _begin(self, given: dict[str, Any]) -> dict[str, object]:
        kind = given.get("kind")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise ConfigError(f"there is no fault of kind {kind!r}; kind is one of {', '.join(_KINDS)}")
        names = [name for name in _KINDS[kind].__struct_fields__ if name not in ("at_s", "clients", "share")]
        for name in [name for name in given if name not in ("kind", *names)]:
            raise ConfigError(f"a fault of kind {kind} has no {name!r}; {guess(name, names)}")
        lasts = {"duration_s": DURATION_S_MAX} if "duration_s" in names else {}
        fault: LinkFault = value_of({"at_s": 0.0, **lasts, **given}, LinkFault)
        if len(self._active) >= FAULTS_MAX:
            raise _Refused(409, f"{FAULTS_MAX} faults are active; delete some")
        self._begun += 1
        number = self._begun
        active = _ActiveFault(fault, trio.current_time(), trio.CancelScope(), trio.Event())
        await self._nursery.start(self._carry_out_fault, number, active)
        return self._description(number, active)

    async def _carry_out_fault(
        self, number: int, active: _ActiveFault, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self._link.begin(active.fault)
        try:
            if not isinstance(active.fault, Reset | HalfOpen):
                self._active[number] = active
            task_status.started()
            with active.scope:
                await trio.sleep(active.fault.end_s)
        finally:
            self._link.end(active.fault)
            self._active.pop(number, None)
            active.is_over.set()

    async def _end(self, number: int) -> dict[str, object]:
        active = self._active[number]
        words = self._description(number, active)
        active.scope.cancel()
        await active.is_over.wait()
        return words


async def _body(receive: Receive) -> dict[str, Any]:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Refused(HTTPStatus.BAD_REQUEST, "the request was cut off")
        body, more = body + message.get("body", b""), message.get("more_body", False)
    try:
        given = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Refused(400, f'the body must be JSON, such as {{"latency_s": 0.2}}: {error}') from None
    if not isinstance(given, dict):
        raise _Refused(400, 'the body must be a JSON object, such as {"latency_s": 0.2}')
    return given


def _no_websocket(head: RequestHead) -> Accept:
    raise HttpRefusal(404, CloseCode.BAD_FRAME, "the control API has no WebSocket")
