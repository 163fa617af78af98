"""HttpWire: HTTP/1.1 messages over one stream: h11 parses the bytes, this class transfers and counts them.

Two things are subtle. The first is closing after an error. If we close while the client is still sending, it gets a
reset, and the reset may destroy our answer before the client has read it. So after its last answer a connection closes
its own half, and discards input until the client closes too, or for a bounded time and number of bytes (`close`).

The second is reading ahead. While an answer is awaited we read in order to learn whether the client has disconnected;
its next request may arrive instead. At most one piece of it is kept, and then nothing more is read until the answer is
sent.
"""

from email.utils import formatdate

import h11
import trio

from reference.protocol.errors import CloseCode
from reference.protocol.limits import Limit
from reference.server.wire.limits import DoorLimits
from reference.server.wire.push_stream import PushStream
from reference.server.wire.request_head import Headers, HttpRefusal, RequestHead, read_head

_PIECE_BYTES = 16 * 1024  # read at once; also the most that a pipelining client may send ahead of an answer

Sent = h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage


class HttpWire:
    """One connection's HTTP side. All methods raise trio.BrokenResourceError when the peer is gone."""

    def __init__(self, stream: PushStream, limits: DoorLimits) -> None:
        self.stream = stream
        self.head: RequestHead | None = None
        """Of the current request, once it was read."""
        self._limits = limits
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes_max)
        self._body_bytes = 0
        self._is_head_request = False
        self._is_continue_owed = False

    # ---- requests ----

    async def wait_for_request(self) -> bool:
        """Wait for the first bytes of a request; False if the client has closed instead."""
        unread, is_closed = self._h11.trailing_data
        if not unread and not is_closed:
            await self._receive()
            unread, _ = self._h11.trailing_data
        return bool(unread)

    async def read_head(self) -> RequestHead | None:
        """The next request's head; None if the client closed before one began. Raises HttpRefusal."""
        self._body_bytes = 0
        self._is_head_request = False
        self.head = None
        came_bytes = len(self._h11.trailing_data[0])
        event = self._next_event()
        while event is h11.NEED_DATA:
            came_bytes += await self._receive()
            event = self._next_event()
        if isinstance(event, h11.ConnectionClosed):
            return None
        assert isinstance(event, h11.Request), event
        self._is_head_request = event.method == b"HEAD"
        self._is_continue_owed = self._h11.they_are_waiting_for_100_continue
        # h11 limits only the size of an incomplete head, and one piece may hold a complete long one.
        if came_bytes - len(self._h11.trailing_data[0]) > self._limits.head_bytes_max:
            raise _head_too_big(self._limits)
        head = self.head = read_head(event, self.stream.peer, self.stream.local)
        declared = head.header(b"content-length")
        if declared is not None and int(declared) > self._limits.body_bytes_max:
            raise self._body_too_big()
        return head

    async def read_body(self) -> bytes | None:
        """The next piece of the body, None at its end. Raises HttpRefusal, and trio.BrokenResourceError if it is cut off."""
        if self._is_continue_owed and self.may_answer:
            self._is_continue_owed = False
            await self.send(h11.InformationalResponse(status_code=100, headers=[]))
        while True:
            event = self._next_event()
            if event is h11.NEED_DATA:
                if await self._receive() == 0:
                    raise trio.BrokenResourceError("the client closed in the middle of a request body")
            elif isinstance(event, h11.Data):
                self._body_bytes += len(event.data)
                if self._body_bytes > self._limits.body_bytes_max:
                    raise self._body_too_big()
                return bytes(event.data)
            else:
                return None  # the end, or PAUSED: an unhandled upgrade has no body

    @property
    def unread(self) -> bytes:
        """Received bytes that belong to what follows this request."""
        return self._h11.trailing_data[0]

    @property
    def is_body_read(self) -> bool:
        return self._h11.their_state is not h11.SEND_BODY

    async def wait_until_gone(self) -> bool:
        """Wait until the client has closed its half (True) or has sent a part of its next request (False).

        A client that only half-closes counts as gone: HTTP cannot tell the two apart.
        """
        unread, is_closed = self._h11.trailing_data
        if unread or is_closed:
            await trio.lowlevel.checkpoint()
            return is_closed
        return await self._receive() == 0

    # ---- answers ----

    async def send(self, *events: Sent) -> None:
        """Send these parts of an answer in one piece; raises h11.LocalProtocolError if they are not allowed now."""
        data = b"".join(self._h11.send(event) or b"" for event in events)
        if data:
            await self.stream.send_all(data)

    @property
    def may_answer(self) -> bool:
        """Whether no answer to the current request has begun."""
        return self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE)

    async def refuse(self, refusal: HttpRefusal) -> None:
        """Answer with an error, if that is still possible, and close. Bounded in time."""
        if not self.may_answer:
            self.stream.abort()
            return
        with trio.move_on_after(self._limits.drain_timeout_s):
            await self.stream.send_all(self._refusal_bytes(refusal))
        await self.close()

    def push_refusal(self, refusal: HttpRefusal) -> None:
        """The same without waiting, for a server that is stopping: what does not fit is lost."""
        if self._h11.our_state is h11.SEND_RESPONSE:
            self.stream.push(self._refusal_bytes(refusal))

    async def next_cycle(self) -> bool:
        """After an answer: get ready for the next request; False if this connection must end."""
        if self._h11.their_state is h11.SEND_BODY:
            if self._is_continue_owed:
                return False  # whether the client will still send the body is unknown
            with trio.move_on_after(self._limits.drain_timeout_s):
                try:
                    while await self.read_body() is not None:
                        pass
                except HttpRefusal:
                    return False
        if (self._h11.our_state, self._h11.their_state) != (h11.DONE, h11.DONE):
            return False
        self._h11.start_next_cycle()
        return True

    async def close(self) -> None:
        """Close our half, discard input for a bounded time and number of bytes, and close."""
        with trio.move_on_after(self._limits.drain_timeout_s):
            await self.stream.send_eof()
            drained_bytes = 0
            while drained_bytes < self._limits.drain_bytes_max:
                data = await self.stream.receive_some()
                if not data:
                    break
                drained_bytes += len(data)
        await self.stream.aclose()

    # ---- internal ----

    async def _receive(self) -> int:
        data = await self.stream.receive_some(_PIECE_BYTES)
        self._h11.receive_data(data)
        return len(data)

    def _next_event(self) -> object:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == 431:
                raise _head_too_big(self._limits) from None
            raise HttpRefusal(error.error_status_hint, CloseCode.BAD_FRAME, f"not HTTP/1.1: {error}") from None

    def _body_too_big(self) -> HttpRefusal:
        reason = f"a body may have {self._limits.body_bytes_max} bytes"
        return HttpRefusal(413, CloseCode.TOO_BIG, reason, limit=Limit.BODY_BYTES)

    def _refusal_bytes(self, refusal: HttpRefusal) -> bytes:
        headers, body = refusal.answer()
        all_headers = [*headers, (b"connection", b"close"), *standard_headers()]
        events: list[Sent] = [h11.Response(status_code=refusal.status, headers=all_headers)]
        if not self._is_head_request:
            events.append(h11.Data(data=body))
        events.append(h11.EndOfMessage())
        return b"".join(self._h11.send(event) or b"" for event in events)


def standard_headers() -> Headers:
    """Headers of every answer: the date, which HTTP requires of a server with a clock."""
    return ((b"date", formatdate(usegmt=True).encode()),)


def _head_too_big(limits: DoorLimits) -> HttpRefusal:
    reason = f"request line and headers may have {limits.head_bytes_max} bytes"
    return HttpRefusal(431, CloseCode.TOO_BIG, reason, limit=Limit.HEAD_BYTES)
