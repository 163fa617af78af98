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

import difflib
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
from reference.tables import value_of
from simulation.emulator import EmulatedAccessLink, Emulator
from simulation.scenario.faults import HalfOpen, LineFault, Path, Reset

FAULTS_MAX = 100
"""Faults under way that were begun through the API; one more is refused (409)."""
FAULTS_SHOWN_MAX = 100
"""The last faults that the statistics name."""
DURATION_S_MAX = 1_000_000.0
LIMITS = DoorLimits(connections_max=50, refusals_max=10, body_bytes_max=256 * 1024)

_KINDS = {str(kind.__struct_config__.tag): kind for kind in get_args(LineFault)}


@dataclass
class _UnderWay:
    fault: LineFault
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
    """Answers the requests about the line `line` of `emulator`; `about` is said with them (addresses, and the like)."""

    def __init__(self, emulator: Emulator, line: EmulatedAccessLink, nursery: trio.Nursery, about: Mapping[str, object]) -> None:
        self._emulator = emulator
        self._line = line
        self._nursery = nursery
        self._about = about
        self._under_way: dict[int, _UnderWay] = {}
        self._begun = 0

    def front_door(self, on_problem: Callable[[Problem], None]) -> FrontDoor:
        """What serves the API's connections."""
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
                return self._only(method, {"GET": lambda: self._line.path}, "GET, PUT, PATCH")
            case ["faults"]:
                if method == "POST":
                    return await self._begin(await _body(receive))
                if method == "DELETE":
                    return [await self._end(number) for number in list(self._under_way)]
                return self._only(method, {"GET": self._faults}, "GET, POST, DELETE")
            case ["faults", number]:
                if method != "DELETE":
                    return self._only(method, {}, "DELETE")
                if not (number.isascii() and number.isdecimal()) or len(number) > 9 or int(number) not in self._under_way:
                    under_way = ", ".join(map(str, self._under_way)) or "none"
                    raise _Refused(404, f"no fault {number} is under way; there are: {under_way}")
                return await self._end(int(number))
            case ["statistics"]:
                return self._only(method, {"GET": self._statistics})
        raise _Refused(404, "no such address; there are /, /path, /faults, /faults/NUMBER and /statistics")

    @staticmethod
    def _only(method: str, answers: Mapping[str, Callable[[], object]], allow: str = "GET") -> object:
        if method not in answers:
            raise _Refused(405, f"{method} is not for this address; it takes {allow}", allow)
        return answers[method]()

    # What it answers.

    def _all(self) -> dict[str, object]:
        return {**self._about, "path": self._line.path, "faults": self._faults(), "statistics": asdict(self._line.statistics())}

    def _faults(self) -> list[dict[str, object]]:
        return [self._in_words(number, under_way) for number, under_way in self._under_way.items()]

    def _statistics(self) -> dict[str, object]:
        faults = self._emulator.statistics().faults
        last = [{"at_s": round(fault.at_s, 3), "kind": fault.kind} for fault in faults[-FAULTS_SHOWN_MAX:]]
        return {**asdict(self._line.statistics()), "faults_begun": len(faults), "last_faults": last}

    @staticmethod
    def _in_words(number: int, under_way: _UnderWay) -> dict[str, object]:
        words = {name: value for name, value in msgspec.to_builtins(under_way.fault).items() if name not in ("at_s", "clients")}
        return {"number": number, **words, "under_way_for_s": round(trio.current_time() - under_way.since, 3)}

    # What it does.

    def _change_path(self, changes: dict[str, Any], *, is_whole: bool) -> Path:
        table = {} if is_whole else msgspec.to_builtins(self._line.path)
        if isinstance(changes.get("loss"), int | float) and not isinstance(changes["loss"], bool):
            changes["loss"] = {"kind": "bernoulli", "probability": changes["loss"]}
        _check_names(changes, Path.__struct_fields__, "a path")
        path: Path = _converted(_merged(table, changes), Path)
        self._line.change_path(path)
        return path

    async def _begin(self, given: dict[str, Any]) -> dict[str, object]:
        kind = given.get("kind")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise _Refused(400, f"kind must be one of {', '.join(_KINDS)}, not {kind!r}{_did_you_mean(str(kind), tuple(_KINDS))}")
        lasts = "duration_s" in _KINDS[kind].__struct_fields__
        names = {name for name in _KINDS[kind].__struct_fields__ if name not in ("at_s", "clients", "share")}
        _check_names(given, ("kind", *sorted(names)), f"a fault of kind {kind}")
        fault: LineFault = _converted({"at_s": 0.0, **({"duration_s": DURATION_S_MAX} if lasts else {}), **given}, LineFault)
        if len(self._under_way) >= FAULTS_MAX:
            raise _Refused(409, f"{FAULTS_MAX} faults are under way; delete some")
        self._begun += 1
        number = self._begun
        under_way = _UnderWay(fault, trio.current_time(), trio.CancelScope(), trio.Event())
        await self._nursery.start(self._last, number, under_way)
        return self._in_words(number, under_way)

    async def _last(
        self, number: int, under_way: _UnderWay, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self._line.begin(under_way.fault)
        try:
            if not isinstance(under_way.fault, Reset | HalfOpen):
                self._under_way[number] = under_way
            task_status.started()
            with under_way.scope:
                await trio.sleep(under_way.fault.end_s)
        finally:
            self._line.end(under_way.fault)
            self._under_way.pop(number, None)
            under_way.is_over.set()

    async def _end(self, number: int) -> dict[str, object]:
        under_way = self._under_way[number]
        words = self._in_words(number, under_way)
        under_way.scope.cancel()
        await under_way.is_over.wait()
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


def _merged(table: Any, changes: Any) -> Any:
    """RFC 7396, and a part that names another kind replaces the whole part."""
    if not isinstance(changes, dict):
        return changes
    kept = dict(table) if isinstance(table, dict) else {}
    if isinstance(changes.get("kind"), str) and changes["kind"] != kept.get("kind"):
        kept = {}
    for name, value in changes.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = _merged(kept.get(name), value)
    return kept


def _converted(table: dict[str, Any], kind: Any) -> Any:
    try:
        return value_of(table, kind)
    except ConfigError as error:
        raise _Refused(400, str(error)) from None


def _check_names(given: Mapping[str, object], names: tuple[str, ...], of_what: str) -> None:
    for name in given:
        if name not in names:
            raise _Refused(400, f"{of_what} has no {name!r}{_did_you_mean(name, names)}; it has {', '.join(names)}")


def _did_you_mean(name: str, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _no_websocket(head: RequestHead) -> Accept:
    raise HttpRefusal(404, CloseCode.BAD_FRAME, "the control API has no WebSocket")
