"""RunOutput: carries out the output of a live run's driver, to sockets, requests, writer, authenticator and monitor.

A frame is encoded and framed once for all its readers. What is pushed to a socket in a turn is sent at the end of the turn, in
one send. A turn that pushes to very many sockets writes for `WRITING_S_MAX`; the rest is written in pieces, and other tasks run
between them. For a reader not reached yet the frames wait in its peer, bounded like everything pushed there.
"""

from collections import deque
from collections.abc import Callable, Sequence

import trio

from reference.protocol.actions import Close
from reference.protocol.errors import RemoteError
from reference.protocol.frames import Frame
from reference.protocol.records import Append
from reference.protocol.server.connection import Identity
from reference.protocol.server.driver import RunDriver
from reference.protocol.server.observations import Joined, Observation
from reference.protocol.server.run import Run
from reference.protocol.timers import NS_PER_S
from reference.server.access.auth import identify
from reference.server.context import ServerContext
from reference.server.encoding import Encoder
from reference.server.monitoring.sessions import Traffic
from reference.server.peers import Framed, Peer, RequestPeer, WebSocketPeer
from reference.store import StoreError

WRITING_S_MAX = 0.005
"""How long a turn writes to sockets before other tasks run, by trio's clock."""
_PEERS_BETWEEN_LOOKS = 16
STORE_FAILED = "the last publishes are not confirmed; reconnect"


class RunOutput:
    """A `RunIO` over real sockets. `on_turn_over` is called after each turn, `on_gathered` when the writer takes the next batch,
    `on_stored` with each batch that the writer has finished."""

    def __init__(
        self,
        run: Run,
        shared: ServerContext,
        *,
        on_turn_over: Callable[[], None],
        on_gathered: Callable[[], None],
        on_stored: Callable[[Append, StoreError | None], None],
    ) -> None:
        self.driver: RunDriver[Framed] = RunDriver(run, self, control_frames_max=shared.control_frames_max)
        self.peers: dict[int, Peer] = {}
        self.failure: StoreError | None = None
        """Why the content of the store is unknown, or None."""
        self.is_retired = False
        self.is_with_writer = False
        """Whether the writer has a batch."""
        self.has_stored = trio.Event()
        """Set while the writer has no batch and is about to get none."""
        self.has_stored.set()
        self._run = run
        self._shared = shared
        self._on_turn_over = on_turn_over
        self._on_gathered = on_gathered
        self._on_stored = on_stored
        self._encoder = Encoder()
        self._to_write: deque[WebSocketPeer] = deque()
        self.is_writing_on = False
        """Whether `write_on` has sockets left to write to."""
        self._submitted_at = 0

    # Methods of RunIO.

    def now(self) -> int:
        return self._shared.clock.now()

    def encode(self, frame: Frame) -> Framed:
        return self._encoder.encode(frame)

    def may_store(self) -> bool:
        if self.has_stored.is_set():
            self.has_stored = trio.Event()
            self._shared.writer.announce(self._on_gathered)
        return False

    def store(self, append: Append) -> bool:
        self._submitted_at = self.now()
        try:
            self._shared.writer.submit(append, self._stored)
            self.is_with_writer = True
        except StoreError as error:
            self.has_stored.set()
            self.fail(error)
            self._run.handle_append_failed(self.now(), STORE_FAILED)
        return False

    def identify(self, connection_id: int, token: str | None) -> Identity | RemoteError:
        identity = identify(self._shared.authenticator, token, self._run.run_id, self._shared.clock.wall())
        if isinstance(identity, Identity):
            return self._shared.user_connections.enter(connection_id, identity.user_id) or identity
        return identity

    def answer(self, connection_id: int, frame: Frame) -> None:
        peer = self.peers.pop(connection_id, None)
        if isinstance(peer, RequestPeer):
            peer.send(frame)
            self._shared.monitor.answered(self._run.run_id, peer.client_id, frame)

    def refuse(self, connection_id: int, close: Close) -> None:
        peer = self.peers.pop(connection_id, None)
        if isinstance(peer, RequestPeer):
            peer.close(close)

    def replays(self, connection_id: int, events: int) -> None:
        pass

    def observe(self, observations: Sequence[Observation]) -> None:
        for observation in observations:
            peer = self.peers.get(observation.connection_id) if isinstance(observation, Joined) else None
            self._shared.observe(self._run.run_id, observation, Traffic() if peer is None else peer.traffic)

    def retire(self) -> None:
        self.is_retired = True

    def turn_over(self) -> None:
        if self._to_write and not self.is_writing_on:
            self.write_on()
        self._on_turn_over()

    def write_on(self) -> None:
        """Write what was pushed, for at most `WRITING_S_MAX`."""
        to_write = self._to_write
        sent = 0
        ends_at = trio.current_time() + WRITING_S_MAX
        while to_write:
            for _ in range(min(len(to_write), _PEERS_BETWEEN_LOOKS)):
                peer = to_write.popleft()
                sent += peer.messages_pushed
                took_batch = peer.write()
                if took_batch is not None:
                    self.driver.blocked(peer.connection_id, took_batch=took_batch)
                    peer.wait()
            if trio.current_time() >= ends_at:
                break
        self._shared.monitor.sent(sent)
        self.is_writing_on = bool(to_write)

    def pushed_to(self, peer: WebSocketPeer) -> None:
        self._to_write.append(peer)

    # The store.

    def fail(self, error: StoreError) -> None:
        """The content of the store is unknown."""
        self.failure = error
        # The details contain files and hosts: they are for the log, not for clients.
        self._shared.on_fault(f"run {self._run.run_id}: the store did not confirm, the run is loaded anew", error)

    def _stored(self, append: Append, error: StoreError | None) -> None:
        self.is_with_writer = False
        self.has_stored.set()
        self._shared.monitor.committed((self.now() - self._submitted_at) / NS_PER_S, len(append.entries), error)
        self._on_stored(append, error)
