"""One WebSocket connection: from the upgrade to a run, until either ends.

When the protocol refuses a connection, the upgrade is accepted first; then an `error` frame gives the reason and the close frame
the code, because a browser shows nothing of a refused upgrade. Only a foreign origin, an unknown address, and a server that is
about to stop are answered in HTTP; and a user who opens WebSockets too often, if the token came with the upgrade. A browser's
comes in `hello`; then `goaway` names the time to wait.

Token and rate are checked before the run is looked up (8.33): a token that came with the upgrade at once, else the token of
`hello`, which is read here. So an unauthenticated client loads nothing and learns nothing, not even whether the run exists. The
number of connections that wait for a token is limited.
"""

import re
from collections.abc import Awaitable, Callable
from functools import partial

from reference.protocol import frames
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.limits import Limit
from reference.protocol.server.handshake import check_version
from reference.protocol.server.run import COME_BACK_MS, COME_BACK_SPREAD_MS
from reference.server.access.admission import AccessControl
from reference.server.live_run import LiveRun
from reference.server.monitoring.monitor import Monitor
from reference.server.registry import RunRegistry, canonical_run_id
from reference.server.wire.request_head import HttpRefusal, RequestHead
from reference.server.wire.websocket import Accept, Read, ServerWebSocket, WebSocketClosed, frame_text

_PASSING = (Limit.LOADED_RUNS, Limit.USER_CONNECTIONS, Limit.UPGRADE_RATE, Limit.UNAUTHENTICATED)
"""Limits that may be free again a little later."""
_PATH = re.compile(r"/ws/runs/([^/]*)/collaboration")


class Upgrades:
    """Decides about upgrades, and serves the accepted ones."""

    def __init__(
        self,
        runs: RunRegistry,
        admission: AccessControl,
        monitor: Monitor,
        config: ServerConfig,
        elsewhere: Callable[[str, ServerWebSocket], Awaitable[bool]] | None = None,
    ) -> None:
        """`elsewhere`: serves the whole connection of a client that may enter the run, if another process serves that; False if
        this one does. Raises RemoteError. What the client has sent is kept for it.
        """
        self._elsewhere = elsewhere
        self._runs = runs
        self._monitor = monitor
        self._admission = admission
        self._config = config

    def on_upgrade(self, head: RequestHead) -> Accept:
        """As front_door.OnUpgrade."""
        match = _PATH.fullmatch(head.path)
        if match is None:
            raise HttpRefusal(404, CloseCode.NO_SUCH_RUN, "WebSockets are at /ws/runs/{runId}/collaboration")
        self._admission.admit_upgrade(head)
        subprotocol = head.choose_subprotocol((frames.SUBPROTOCOL,))
        return Accept(partial(self._serve, match[1]), subprotocol)

    async def _serve(self, run_id_text: str, websocket: ServerWebSocket) -> None:
        try:
            if websocket.subprotocol is None:
                raise RemoteError(CloseCode.VERSION, f"this server supports the subprotocol {frames.SUBPROTOCOL} only")
            run_id = canonical_run_id(run_id_text)
            identity = self._admission.identify_upgrade(websocket.head, run_id)
            if self._elsewhere is not None:
                websocket.keep_bytes()
            hello = [] if identity is not None else await self._authenticated_hello(run_id, websocket)
            if self._elsewhere is not None and await self._elsewhere(run_id, websocket):
                return
            live = await self._runs.open(run_id)
            self._admission.check_still_open()
            if identity is not None:  # else the token of hello is checked once the run has it
                self._admission.check_still_allowed(websocket.head, run_id, identity)
            websocket.forget_beginning()
            number = live.connect(websocket, identity)
        except WebSocketClosed:
            return
        except RemoteError as error:
            self._monitor.refused(error, run_id_text)
            websocket.push_text(frame_text(frames.encode(self._refusal(error))))
            websocket.close(error.code, error.message)
            return
        peer_code = None
        try:
            while hello:
                self._pass_on(live, number, hello.pop(0))  # not kept: there is a token in it
            while True:
                self._pass_on(live, number, await websocket.receive())
        except WebSocketClosed as closed:
            peer_code = closed.code if closed.by_peer else None
        finally:
            live.lost(number, peer_code)

    def _refusal(self, error: RemoteError) -> frames.Frame:
        """The last frame before the close: if retrying later helps, with the time to wait (8.40, 8.44)."""
        if error.code is CloseCode.GOING_AWAY or error.limit in _PASSING:
            return frames.Goaway(code=error.code, retry_after_ms=COME_BACK_MS, spread_ms=COME_BACK_SPREAD_MS)
        return frames.Error(code=error.code, message=error.message)

    async def _authenticated_hello(self, run_id: str, websocket: ServerWebSocket) -> list[Read]:
        """Everything up to a hello with a token that allows the run. Raises RemoteError."""
        reads: list[Read] = []
        with self._admission.awaiting_token(self._config.hello_timeout_s):  # 3.6
            while not reads or not reads[-1].messages:
                if sum(read.frames for read in reads) > self._config.frame_burst:  # 8.41
                    raise RemoteError(CloseCode.RATE, "too many frames before hello", Limit.FRAME_RATE)
                reads.append(await websocket.receive())
            first = reads[-1].messages[0]
            message = first if isinstance(first, RemoteError) else frames.decode_received(first, self._config.frame_bytes_max)
            if isinstance(message, RemoteError):
                raise message
            if not isinstance(message, frames.Hello):
                raise RemoteError(CloseCode.BAD_FRAME, "the first frame is hello")
            try:
                self._admission.admit_hello(message.token, run_id)
            except RemoteError:
                check_version(message)  # a client of another version may send its token elsewhere
                raise
            return reads
        self._admission.check_still_open()
        reason = f"no hello within {self._config.hello_timeout_s:g} s"
        raise RemoteError(CloseCode.HEARTBEAT_LOST, reason, Limit.HELLO_TIME)

    def _pass_on(self, live: LiveRun, connection_id: int, read: Read) -> None:
        bytes_max = self._config.frame_bytes_max
        messages = [
            message if isinstance(message, RemoteError) else frames.decode_received(message, bytes_max)
            for message in read.messages
        ]
        live.receive(connection_id, messages, others=read.frames - len(messages))
