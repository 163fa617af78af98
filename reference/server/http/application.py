"""HttpApi: the ASGI application. It finds the operation, admits the caller, reads the parameters, and sends the answer.

The order of the checks keeps an unauthenticated client cheap and lets it learn nothing (5.1):

    address and method     404, 405; OPTIONS is answered here
    origin, moment, token  401, 403, 503 (`access`); 429 for a user above the rate limit
    query, body            400
    the operation

With several processes on one database, another one may carry it out: the one that serves the run (`Elsewhere`).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import trio

from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.limits import Limit
from reference.server.access.admission import AccessControl
from reference.server.http.answers import COME_BACK, STATUSES, Answer, RequestRefused, json_answer, problem
from reference.server.http.description import Operation, operations_of
from reference.server.http.request import Request, head_of, parameters
from reference.server.monitoring.logs import OnFault
from reference.server.wire.exchange import AsgiApp, Receive, Send
from reference.server.wire.request_head import INTERNAL_ERROR, HttpRefusal, RequestHead

ALLOWED_HEADERS = "authorization, content-type"
EXPOSED_HEADERS = "retry-after"
PREFLIGHT_AGE_S = 600
"""How long a browser may cache the answer to OPTIONS."""

Decode = Callable[[bytes], msgspec.Struct]
Elsewhere = Callable[[Request, bytes, Send], Awaitable[bool]]
"""Lets another process answer an admitted request with that body; False if this one has to. Raises RemoteError, HttpRefusal."""


@dataclass(frozen=True, slots=True)
class _Address:
    """The operations of one path."""

    path: str
    routes: dict[str, tuple[Operation, Callable[..., Awaitable[msgspec.Struct | Answer]]]]
    """By method, in upper case."""

    @property
    def methods(self) -> str:
        """The value of the header Allow."""
        return ", ".join(sorted({*self.routes, "OPTIONS", *(("HEAD",) if "GET" in self.routes else ())}))


class HttpApi:
    """Answers the operations of `apis`, objects whose methods are described. `decoders`: for bodies that are not plain JSON."""

    def __init__(
        self,
        apis: Sequence[object],
        access: AccessControl,
        *,
        decoders: Mapping[type[msgspec.Struct], Decode],
        on_fault: OnFault,
        on_limit: Callable[[Limit], None],
        retry_after_ms: int,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """`on_fault` is called with faults of the server, `on_limit` with limits that were reached. `retry_after_ms` is used
        where a client should wait and no better time is known."""
        self._access = access
        self._decoders = decoders
        self._on_fault = on_fault
        self._on_limit = on_limit
        self._retry_after_ms = retry_after_ms
        self._elsewhere = elsewhere
        self._addresses: dict[str, _Address] = {}
        for api in apis:
            for name, operation in operations_of(type(api)).items():
                address = self._addresses.setdefault(operation.path, _Address(operation.path, {}))
                address.routes[operation.method.upper()] = operation, getattr(api, name)
        operations = [operation for address in self._addresses.values() for operation, _ in address.routes.values()]
        self._patterns = [(operation.pattern, operation.path) for operation in operations if operation.path_parameters]
        self._methods = ", ".join(sorted({operation.method.upper() for operation in operations}))

    def address_of(self, path: str) -> str:
        """The template that a path matches; empty if there is no such address."""
        return self._find(path)[0]

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        head = head_of(scope)
        answered = await self._answer(head, receive, send)
        if answered is None:
            return
        answer = self._with_cors(head, answered)
        content = [] if answer.content_type is None else [(b"content-type", answer.content_type.encode())]
        if answer.status not in (204, 304):
            content.append((b"content-length", str(len(answer.body)).encode()))
        others = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": [*content, *others]})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, head: RequestHead, receive: Receive, send: Send) -> Answer | None:
        """None if another process has answered."""
        try:
            return await self._carry_out(head, receive, send)
        except (RemoteError, RequestRefused) as error:
            if error.limit is not None:
                self._on_limit(error.limit)
            wait_ms = error.retry_after_ms if isinstance(error, RequestRefused) else None
            if wait_ms is None and error.code in COME_BACK:
                wait_ms = self._retry_after_ms
            return problem(STATUSES.get(error.code, 500), error.code, error.message, wait_ms)
        except HttpRefusal as refusal:
            if refusal.limit is not None:
                self._on_limit(refusal.limit)
            headers = {name.decode(): value.decode("latin-1") for name, value in refusal.headers}
            return problem(refusal.status, refusal.code, refusal.message, refusal.retry_after_ms, headers)
        except Exception as error:
            self._on_fault(f"{head.method} {head.path} failed", error)
            return problem(500, INTERNAL_ERROR, "internal error")

    async def _carry_out(self, head: RequestHead, receive: Receive, send: Send) -> Answer | None:
        template, path_parameters = self._find(head.path)
        if head.method == "OPTIONS" and head.header(b"access-control-request-method") is not None:
            return self._preflight(head)
        if not template:
            return problem(404, CloseCode.NO_SUCH_RUN, f"there is nothing at {head.path}; see /openapi.json")
        address = self._addresses[template]
        if head.method == "OPTIONS":
            return Answer(b"", None, 204, {"allow": address.methods})
        route = address.routes.get("GET" if head.method == "HEAD" else head.method)
        if route is None:
            why = f"this address takes {address.methods}"
            return problem(405, CloseCode.BAD_FRAME, why, headers={"allow": address.methods})
        operation, method = route
        request = self._admit(operation, Request(head, receive, path_parameters))
        given: dict[str, msgspec.Struct] = {}
        body = b""
        if operation.query is not None:
            given["query"] = parameters(head.query, operation.query)
        if operation.body is not None:
            body = await request.body()
            self._charge(operation, request, body)  # and not after: to refuse it takes as long
        if self._elsewhere is not None and operation.needs_owner and await self._elsewhere(request, body, send):
            return None
        if operation.body is not None:
            given["body"] = self._decoders[operation.body](body)
        result = await method(request, **given)
        if operation.tag == "runs":
            self._access.check_still_allowed(request.head, request.run_id, request.caller)
        answer = result if isinstance(result, Answer) else json_answer(result)
        self._charge(operation, request, answer.body)
        return answer

    def _admit(self, operation: Operation, request: Request) -> Request:
        """Authenticate the caller before anything else (8.33). Raises HttpRefusal or RemoteError."""
        if operation.tag == "operation":
            return request
        if operation.tag == "admin":
            return replace(request, identity=self._access.admit_admin(request.head))
        run_id, identity = self._access.admit_request(request.head, request.run_id)
        return replace(request, identity=identity, path_parameters=request.path_parameters | {"runId": run_id})

    def _charge(self, operation: Operation, request: Request, content: bytes) -> None:
        """Count the body of a request about a run, or of its answer, as more requests."""
        if operation.tag == "runs":
            self._access.charge(request.caller, len(content))

    def _find(self, path: str) -> tuple[str, dict[str, str]]:
        """The template that `path` matches, and its parameters."""
        address = self._addresses.get(path)
        if address is not None:
            return address.path, {}
        for pattern, template in self._patterns:
            match = pattern.fullmatch(path)
            if match is not None:
                return template, match.groupdict()
        return "", {}

    # ---- requests of other origins (CORS, fetch.spec.whatwg.org) ----

    def _preflight(self, head: RequestHead) -> Answer:
        """The answer to a browser's preflight request. Raises HttpRefusal."""
        self._access.check_origin(head)
        more = {
            "access-control-allow-methods": self._methods,
            "access-control-allow-headers": ALLOWED_HEADERS,
            "access-control-max-age": str(PREFLIGHT_AGE_S),
        }
        return Answer(b"", None, 204, more)

    def _with_cors(self, head: RequestHead, answer: Answer) -> Answer:
        origin = head.header(b"origin")
        if origin is None or not self._access.allows_origin(head):
            return answer
        more = {
            "access-control-allow-origin": origin.decode("latin-1"),
            "access-control-expose-headers": EXPOSED_HEADERS,
            "vary": "Origin",
        }
        return replace(answer, headers={**answer.headers, **more})


class Exchanges:
    """An ASGI middleware: counts the requests being answered, so that a stopping server can wait for them, and reports how each
    ended."""

    def __init__(self, app: AsgiApp, address_of: Callable[[str], str], on_answer: Callable[[str, int], None]) -> None:
        """`address_of`: the template that a path matches. `on_answer` is called with the template and the status; the template is
        empty for an unknown address."""
        self._app = app
        self._address_of = address_of
        self._on_answer = on_answer
        self._under_way = 0
        self._ended = trio.lowlevel.ParkingLot()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._under_way += 1
        status: int | None = None  # until the answer is counted

        async def send_and_report(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif status is not None:  # not before: without a piece of a body the front door answers in its place
                self._on_answer(self._address_of(scope["path"]), status)
                status = None
            await send(message)

        try:
            await self._app(scope, receive, send_and_report)
        finally:
            self._under_way -= 1
            self._ended.unpark_all()

    async def none_left(self) -> None:
        """Wait until no request is being answered."""
        while self._under_way:
            await self._ended.park()
