"""One WebSocket connection: from the upgrade to a run, until either ends.

What the protocol refuses is told in its own words: the upgrade is accepted, an `error` frame says why, and the close frame has
the code, because a browser shows nothing of an upgrade that was refused. Only a foreign origin, an address that is not ours, and
a server that is about to stop are told in HTTP.
"""

import re
from functools import partial

import trio

from reference.protocol import codec, frames
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.limits import Limit
from reference.server.access import AccessControl
from reference.server.live_run import LiveRun
from reference.server.monitoring.monitor import Monitor
from reference.server.registry import RunRegistry, canonical_run_id
from reference.server.wire.framing import frame_text
from reference.server.wire.request_head import HttpRefusal, RequestHead
from reference.server.wire.websocket import Accept, ServerWebSocket, WebSocketClosed

_PATH = re.compile(r"/ws/runs/([^/]*)/collaboration")


class Upgrades:
    """Decides about upgrades, and serves what it has accepted."""

    def __init__(self, runs: RunRegistry, admission: AccessControl, monitor: Monitor, config: ServerConfig) -> None:
        self._runs = runs
        self._monitor = monitor
        self._admission = admission
        self._config = config

    def on_upgrade(self, head: RequestHead) -> Accept:
        """As front_door.OnUpgrade."""
        match = _PATH.fullmatch(head.path)
        if match is None:
            raise HttpRefusal(404, CloseCode.NO_SUCH_RUN, "WebSockets are at /ws/runs/{runId}/collaboration")
        self._admission.check(head.header(b"origin"), head.header(b"host"))
        subprotocol = head.choose_subprotocol((frames.SUBPROTOCOL,))
        return Accept(partial(self._serve, match[1]), subprotocol)

    async def _serve(self, run_id_text: str, websocket: ServerWebSocket) -> None:
        try:
            if websocket.subprotocol is None:
                raise RemoteError(CloseCode.VERSION, f"this server speaks the subprotocol {frames.SUBPROTOCOL} only")
            run_id = canonical_run_id(run_id_text)
            identity = self._admission.identify_upgrade(websocket.head, run_id)
            try:
                live = await self._runs.open(run_id)
            except RemoteError as error:
                if identity is None and error.code is CloseCode.NO_SUCH_RUN:
                    await self._check_hello(run_id, websocket)
                raise
            self._admission.check_still_open()
            number = live.reserve(identity)
        except WebSocketClosed:
            return
        except RemoteError as error:
            self._monitor.refused(error)
            websocket.push_text(frame_text(codec.encode(frames.Error(code=error.code, message=error.message))))
            websocket.close(error.code, error.message)
            return
        peer_code = None
        try:
            live.connect(number, websocket, identity)
            await self._converse(live, number, websocket)
        except WebSocketClosed as closed:
            peer_code = closed.code if closed.by_peer else None
        finally:
            live.lost(number, peer_code)

    async def _check_hello(self, run_id: str, websocket: ServerWebSocket) -> None:
        """Before a client is told that there is no such run: who has no right to it must not learn that. Raises RemoteError."""
        with trio.move_on_after(self._config.hello_timeout_s):
            messages: list[str | RemoteError] = []
            while not messages:
                messages = (await websocket.receive()).messages
            if isinstance(messages[0], RemoteError):
                raise messages[0]
            hello = codec.decode_client_frame(messages[0], self._config.frame_bytes_max)
            if not isinstance(hello, frames.Hello):
                raise RemoteError(CloseCode.BAD_FRAME, "the first frame is hello")
            self._admission.identify_hello(hello.token, run_id)
            return
        reason = f"no hello within {self._config.hello_timeout_s:g} s"
        raise RemoteError(CloseCode.HEARTBEAT_LOST, reason, Limit.HELLO_TIME)

    async def _converse(self, live: LiveRun, connection_id: int, websocket: ServerWebSocket) -> None:
        bytes_max = self._config.frame_bytes_max
        while True:
            read = await websocket.receive()
            messages = [
                message if isinstance(message, RemoteError) else codec.decode_received(message, bytes_max)
                for message in read.messages
            ]
            live.receive(connection_id, messages, others=read.frames - len(messages))
