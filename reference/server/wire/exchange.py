"""Exchange: one request given to an ASGI application, and its answer returned.

The application is trusted but may have bugs. Its faults, and what the client then sees:

    raises, or returns, before its answer has begun   500, once; the details go to the log only
    raises, or stops short, after that                a cut, so that half an answer is not taken for a whole one
    takes longer than request_timeout_s               503 before, a cut after

A client that does not read its answer within that time is cut, and one whose body has not arrived by then gets 408; neither is a
fault of the application.

To make the first case more frequent, the head of an answer is held until the first piece of its body; so most
answers are sent in one packet.

A fault of the client that shows only while the application reads the body (too long, not HTTP) ends the
application by cancelling it: it could not use an incomplete body.

`receive` after the body waits until the client disconnects and then returns `http.disconnect`: a long poll learns
from it that the client is gone, and may then return without an answer. An application that never calls it is bounded by
the time limit.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import h11
import trio

from reference.protocol.errors import CloseCode
from reference.protocol.limits import Limit
from reference.server.wire.http_wire import HttpWire, Sent, standard_headers
from reference.server.wire.limits import DoorLimits
from reference.server.wire.request_head import INTERNAL_ERROR, HttpRefusal, RequestHead

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI 3 application; each framework has its own names for the types of its three arguments."""

_NO_BODY_STATUSES = (204, 304)


class AppFault(Exception):
    """The application violated ASGI; the message goes to the log."""


class Exchange:
    """One request and its answer. `run` may be called once."""

    def __init__(self, wire: HttpWire, head: RequestHead, limits: DoorLimits) -> None:
        self._wire = wire
        self._head = head
        self._limits = limits
        self._scope = trio.CancelScope()
        self._waiting = trio.CancelScope()  # around a receive that waits for the client to go
        self._answered = trio.Event()
        self._held: h11.Response | None = None  # the answer's head, until the first piece of its body
        self._refusal: HttpRefusal | None = None
        self._is_answer_bodyless = False
        self._is_body_over = False
        self._is_body_late = False  # whether the time was over while the application waited for the body
        self._is_client_gone = False
        self._is_disconnect_reported = False  # to the application, which may then return without an answer
        self._is_sending = False  # whether the client has to read before the exchange continues

    async def run(self, app: AsgiApp, report: Callable[[BaseException], None]) -> bool:
        """Call `app` and send its answer. Returns whether the connection can be used for another request.

        Raises HttpRefusal when the front door has to answer instead. `report` is called with the application's faults.
        """
        self._scope.deadline = trio.current_time() + self._limits.request_timeout_s
        fault: BaseException | None = None
        try:
            with self._scope:
                await app(self._head.asgi_scope(), self._receive, self._send)
        except Exception as error:
            fault = error
        if self._scope.cancelled_caught and self._is_sending:
            reason = f"the answer was not read within {self._limits.request_timeout_s} s"
            raise HttpRefusal(408, CloseCode.TOO_SLOW, reason, limit=Limit.SLOW_READER)
        if fault is None and self._scope.cancelled_caught and self._refusal is None and not self._is_body_late:
            fault = AppFault(f"not done within {self._limits.request_timeout_s} s")
        if self._answered.is_set() or self._is_client_gone:
            if fault is not None:
                report(fault)  # the client has its whole answer, or is gone: only the log needs the fault
            return not self._is_client_gone
        if self._refusal is not None:
            refusal = self._refusal
        elif self._scope.cancelled_caught and self._is_body_late:
            reason = f"the body did not arrive within {self._limits.request_timeout_s} s"
            refusal = HttpRefusal(408, CloseCode.TOO_SLOW, reason, limit=Limit.REQUEST_TIME)
        elif self._scope.cancelled_caught:
            refusal = HttpRefusal(
                503,
                CloseCode.OVERLOADED,
                "the server took too long",
                retry_after_ms=self._limits.retry_after_ms,
                limit=Limit.REQUEST_TIME,
            )
        elif fault is None and self._is_disconnect_reported:
            refusal = HttpRefusal(408, CloseCode.TOO_SLOW, "the client went away before its answer came")
        else:
            fault = fault or AppFault("the application returned without a complete answer")
            refusal = HttpRefusal(500, INTERNAL_ERROR, "internal error")
        if fault is not None:
            report(fault)
        raise refusal

    # ---- called by the application ----

    async def _receive(self) -> Message:
        if not self._is_client_gone and not self._is_body_over:
            try:
                piece = await self._wire.read_body()
            except trio.Cancelled:
                self._is_body_late = self._scope.cancel_called
                raise
            except HttpRefusal as refusal:
                self._refusal = refusal
                self._scope.cancel()
                await trio.sleep_forever()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._is_client_gone = True
            else:
                self._is_body_over = self._wire.is_body_read
                return {"type": "http.request", "body": piece or b"", "more_body": not self._is_body_over}
        await self._wait_for_disconnect()
        self._is_disconnect_reported = True
        return {"type": "http.disconnect"}

    async def _wait_for_disconnect(self) -> None:
        if self._is_client_gone or self._answered.is_set():
            await trio.lowlevel.checkpoint()
            return
        self._waiting = trio.CancelScope()
        with self._waiting:
            try:
                if await self._wire.wait_until_gone():
                    return  # the client may have closed only its half, so an answer is still tried
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._is_client_gone = True
                return
            # It has sent its next request already, so it waits for this answer; nothing more is read until then.
            await self._answered.wait()

    async def _send(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start":
                self._start(message)
                await trio.lowlevel.checkpoint()
            case "http.response.body":
                await self._send_body(message)
            case other:
                raise AppFault(f"unknown ASGI message {other!r}")

    def _start(self, message: Message) -> None:
        if self._held is not None or not self._wire.may_answer:
            raise AppFault("http.response.start was sent twice")
        headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
        if not any(name == b"date" for name, _ in headers):
            headers += standard_headers()
        self._held = h11.Response(status_code=message["status"], headers=headers)

    async def _send_body(self, message: Message) -> None:
        if self._is_client_gone or self._answered.is_set():
            await trio.lowlevel.checkpoint()  # the client is gone; ASGI wants no error
            return
        is_last = not message.get("more_body", False)
        events: list[Sent] = []
        if self._held is not None:
            events.append(self._held)
            self._is_answer_bodyless = self._head.method == "HEAD" or self._held.status_code in _NO_BODY_STATUSES
        elif self._wire.may_answer:
            raise AppFault("http.response.body was sent before http.response.start")
        body = bytes(message.get("body", b""))
        if body and not self._is_answer_bodyless:
            events.append(h11.Data(data=body))
        if is_last:
            events.append(h11.EndOfMessage())
        self._held = None
        self._is_sending = True
        try:
            await self._wire.send(*events)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._is_client_gone = True
            self._is_sending = False
            return
        self._is_sending = False
        if is_last:
            self._answered.set()
            self._waiting.cancel()
