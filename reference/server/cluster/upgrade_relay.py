"""UpgradeRelay: carries WebSockets to the owners of their runs, byte for byte.

An upgrade is accepted here, and its token is read, which a browser sends in hello. If the token allows the run, the owner gets
the upgrade and all bytes from the client unchanged; its own acceptance is left out. From then on every byte is carried in both
directions. So the owner sees the client as if it had connected directly: its frames, its close, its slowness (while the client
takes nothing, nothing is read from the owner). When either side ends, the other is notified in the same way, and has
`END_S_MAX` to end too.

The owner may have crashed a moment ago, before the database has noticed. So for a short time the owner is looked up repeatedly,
until a process is found that serves the run, or the run becomes ours.

When this process stops, it notifies relayed clients like all others, between two frames of the owner.
"""

import socket
from collections.abc import Callable

import trio

from reference.protocol import frames
from reference.protocol.errors import CloseCode, RemoteError
from reference.server.cluster.router import MISDIRECTED, RELAYED, Router, forwarded
from reference.server.wire.push_stream import PushStream, SocketPushStream
from reference.server.wire.request_head import RequestHead
from reference.server.wire.websocket import ServerWebSocket, frame_close, frame_text
from reference.store.base import ProcessAddress

CONNECT_S_MAX = 2.0
"""For a connection to another process."""
ANSWER_S_MAX = 5.0
"""For the first bytes of its answer."""
REACH_S_MAX = 3.0
"""How long to look for an owner that cannot be reached, before the client is asked to retry."""
REACH_PAUSE_S = 0.05
"""Between two tries to reach it."""
END_S_MAX = 5.0
"""For one side to end after the other has."""
_SILENCE_S_MAX = 15
"""How long a process may transfer no bytes, while its machine does not answer either, until it counts as gone."""
_KEEPALIVE = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 5),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 3),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", _SILENCE_S_MAX * 1000),
)
_MISDIRECTED = b"HTTP/1.1 %d " % MISDIRECTED
_ACCEPTED = b"HTTP/1.1 101 "
_REFUSED = (b"HTTP/1.1 429 ", b"HTTP/1.1 503 ")
"""The owner is well and takes no more: the user opens too many WebSockets, or the process is full or about to stop."""
_END_OF_HEAD = b"\r\n\r\n"
_HEAD_BYTES_MAX = 16 * 1024
"""Of another process's answer; ours are much shorter."""
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
_MASKED = 0x80
_CLOSE = 0x8


class UpgradeRelay:
    """The relayed WebSockets of one process."""

    def __init__(self, router: Router, count_failure: Callable[[], None]) -> None:
        self._router = router
        self._count_failure = count_failure
        self._relayed: dict[_Relayed, None] = {}
        self._goodbye = b""
        """For every relayed client, once this process stops."""

    def __len__(self) -> int:
        return len(self._relayed)

    async def serve(self, run_id: str, websocket: ServerWebSocket) -> bool:
        """Serve the whole connection if another process serves the run; False if this one does. The client may enter the run, and
        what it has sent is kept (`ServerWebSocket.keep_bytes`). Raises RemoteError.
        """
        head = websocket.head
        if head.header(RELAYED) is not None:  # `Router.check_relayed` has believed it
            return False
        reached = await self._reach(run_id, head)
        if reached is None:
            return False
        onward, answer = reached
        frames_behind = None
        try:
            frames_behind = await _read_acceptance(onward, answer)
        finally:
            if frames_behind is None:
                onward.abort()
        if frames_behind is None:
            if not answer.startswith(_REFUSED):
                self._count_failure()
            raise RemoteError(CloseCode.OVERLOADED, "the process that serves this run did not take the connection")
        await self._relay(_Relayed(websocket.hand_over(), onward), frames_behind)
        return True

    def go_away(self, retry_after_ms: int, spread_ms: int) -> None:
        """Ask every relayed client to reconnect later, and close."""
        code = CloseCode.GOING_AWAY
        frame = frames.Goaway(code=code, retry_after_ms=retry_after_ms, spread_ms=spread_ms)
        self._goodbye = frame_text(frames.encode(frame)) + frame_close(code, "the server is going away")
        for relayed in self._relayed:
            relayed.go_away(self._goodbye)

    async def _relay(self, relayed: "_Relayed", answer: bytes) -> None:
        self._relayed[relayed] = None
        if self._goodbye:  # its owner was reached while this process was stopping
            relayed.go_away(self._goodbye)
        try:
            await relayed.run(answer)
        finally:
            del self._relayed[relayed]

    async def _reach(self, run_id: str, head: RequestHead) -> tuple[SocketPushStream, bytes] | None:
        """A connection to the owner, with the first bytes of its answer; None if this process owns it. Raises RemoteError."""
        give_up_at = trio.current_time() + REACH_S_MAX
        while True:
            place = await self._router.place_of(run_id)
            if place is None:
                return None
            onward = await connect(place)
            if onward is not None:
                answer = await _ask(onward, head, place)
                if answer and not answer.startswith(_MISDIRECTED):
                    return onward, answer
                onward.abort()
            self._router.forget(run_id)
            if trio.current_time() >= give_up_at:
                self._count_failure()
                raise RemoteError(CloseCode.OVERLOADED, "the process that serves this run cannot be reached")
            await trio.sleep(REACH_PAUSE_S)


class _Relayed:
    """One client and its owner."""

    def __init__(self, client: PushStream, onward: PushStream) -> None:
        self._client = client
        self._onward = onward
        self._from_owner = FrameBoundaries()
        self._from_client = FrameBoundaries()
        self._goodbye = b""
        self._delivery = trio.CancelScope()
        self._life = trio.CancelScope()
        self._is_owner_done = False

    async def run(self, answer: bytes) -> None:
        try:
            with self._life:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry_out)
                    nursery.start_soon(self._carry_back, answer)
        finally:
            self._onward.abort()
            self._client.close()

    def go_away(self, goodbye: bytes) -> None:
        """Send this in the owner's place, as soon as the current frame is complete."""
        self._goodbye = goodbye
        if self._from_owner.is_between:
            self._delivery.cancel()

    async def _carry_out(self) -> None:
        """Relay from the client to the owner."""
        is_owner_there = True
        try:
            while data := await self._client.receive_some():
                self._from_client.feed(data)
                if is_owner_there:
                    is_owner_there = await _send(self._onward, data)
                self._end_if_done()
        except _GONE:
            self._life.cancel()
            return
        if await _send(self._onward, None):
            self._life.deadline = trio.current_time() + END_S_MAX

    async def _carry_back(self, data: bytes) -> None:
        """Relay from the owner to the client."""
        is_reset, is_over = False, False
        while not is_over:
            if data:
                self._from_owner.feed(data)
                if not await _send(self._client, data):
                    self._life.cancel()
                    return
            data = b""
            if not self._may_say_goodbye:
                self._delivery = trio.CancelScope()
                with self._delivery:
                    try:
                        data = await self._onward.receive_some()
                    except _GONE:
                        is_reset = True
            is_over = not data
        if is_reset:
            self._client.abort()
        elif self._may_say_goodbye:
            self._onward.abort()
            await _send(self._client, self._goodbye)
        if is_reset or not await _send(self._client, None):
            self._life.cancel()
        self._life.deadline = trio.current_time() + END_S_MAX
        self._is_owner_done = True
        self._end_if_done()

    @property
    def _may_say_goodbye(self) -> bool:
        return bool(self._goodbye) and self._from_owner.is_between

    def _end_if_done(self) -> None:
        if self._is_owner_done and self._from_client.is_close_seen:
            self._life.cancel()


async def connect(place: ProcessAddress) -> SocketPushStream | None:
    """A connection to the process at `place`; None if there is none."""
    with trio.move_on_after(CONNECT_S_MAX):
        try:
            stream = await trio.open_tcp_stream(place.host, place.port)
        except OSError:
            return None
        sock = socket.socket(fileno=stream.socket.detach())
        try:
            for level, option, value in _KEEPALIVE:
                if hasattr(socket, option):  # not every system has all of them
                    sock.setsockopt(level, getattr(socket, option), value)
        except OSError:  # the other side has cut the connection already; not every system takes options then
            sock.close()
            return None
        return SocketPushStream(sock)
    return None


async def _ask(onward: SocketPushStream, head: RequestHead, place: ProcessAddress) -> bytes:
    """Send the client's upgrade; returns the first bytes of the answer, none if none arrive."""
    lines = [b"%s %s HTTP/1.1" % (head.method.encode(), head.target)]
    lines += [b"%s: %s" % header for header in forwarded(head, place)]
    try:
        with trio.move_on_after(ANSWER_S_MAX):
            await onward.send_all(b"\r\n".join(lines) + b"\r\n\r\n")
            return await onward.receive_some()
    except _GONE:
        pass
    except BaseException:
        onward.abort()
        raise
    return b""


async def _read_acceptance(onward: SocketPushStream, data: bytes) -> bytes | None:
    """Read the owner's answer, which begins with `data`, to the end of its head. Returns the bytes behind it; None if it is no
    acceptance.
    """
    with trio.move_on_after(ANSWER_S_MAX):
        while _END_OF_HEAD not in data and len(data) < _HEAD_BYTES_MAX:
            try:
                more = await onward.receive_some()
            except _GONE:
                return None
            if not more:
                return None
            data += more
    head, end, behind = data.partition(_END_OF_HEAD)
    return behind if end and head.startswith(_ACCEPTED) else None


async def _send(stream: PushStream, data: bytes | None) -> bool:
    """Send `data`, or the end of the stream for None. Returns whether the other side is still there."""
    try:
        await (stream.send_eof() if data is None else stream.send_all(data))
    except _GONE:
        return False
    return True


class FrameBoundaries:
    """Follows the frame headers of one direction of a WebSocket; holds at most one header.

    A relay does not interpret what it carries. But its own last message may only be placed between two frames, and it has to
    know when the client has closed too.
    """

    def __init__(self) -> None:
        self._header = bytearray()
        self._payload_left = 0
        self.is_close_seen = False
        """Whether the header of a close frame has arrived: everything after it is ignored."""

    @property
    def is_between(self) -> bool:
        """Whether the bytes so far end with a complete frame."""
        return not self._header and not self._payload_left

    def feed(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            if self._payload_left:
                step = min(self._payload_left, len(data) - position)
                self._payload_left -= step
                position += step
                continue
            missing = _header_bytes(self._header) - len(self._header)
            piece = data[position : position + missing]
            self._header += piece
            position += len(piece)
            if len(self._header) == _header_bytes(self._header):
                self._payload_left = _payload_bytes(self._header)
                self.is_close_seen = self.is_close_seen or self._header[0] & 0x0F == _CLOSE
                self._header.clear()


def _header_bytes(header: bytearray) -> int:
    """The length of a header that begins like this, as far as known; at least two bytes."""
    if len(header) < 2:
        return 2
    return 2 + {126: 2, 127: 8}.get(header[1] & 0x7F, 0) + (4 if header[1] & _MASKED else 0)


def _payload_bytes(header: bytearray) -> int:
    short = header[1] & 0x7F
    extended = {126: 2, 127: 8}.get(short)
    return short if extended is None else int.from_bytes(header[2 : 2 + extended], "big")
