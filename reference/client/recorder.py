"""A client's recording of its session, written while the session goes on: `client.record(path)`.

It is a tap, and keeps what a replay needs (`reference.protocol.session_trace`). Lines are written as they come, through the
operating system's buffer. If writing fails, or the file has reached its limit, the recording ends and the session is not
affected. `SessionRecording.ended` says why.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from reference.client.transport import LostConnection, QueuedPublish, ReceivedFrame, Tapped
from reference.protocol import frames
from reference.protocol.actions import Close, Open, Send
from reference.protocol.client.outcomes import (
    PublishAccepted,
    PublishFailed,
    ResetReceived,
    SessionEnded,
    SnapshotReceived,
    StateChanged,
)
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ServerConfig
from reference.protocol.errors import ConfigError
from reference.protocol.events import Data, Event
from reference.protocol.policies.fallback import FallbackPolicy
from reference.protocol.policies.keepalive import HeartbeatPolicy
from reference.protocol.policies.reconnect import ReconnectPolicy
from reference.protocol.session_trace import (
    ME,
    AcceptedRecord,
    AttemptMade,
    ClientStarted,
    ConnectionLeft,
    ConnectionLost,
    Delivered,
    Failed,
    Published,
    ResetTaken,
    RoundTripTaken,
    SessionOver,
    SessionRecord,
    SnapshotTaken,
    StateTurned,
    WaitAsked,
    encode_record,
    trace_started,
)
from reference.protocol.timers import NS_PER_MS

RECORDING_BYTES_MAX = 256 * 1024 * 1024
PINGS_REMEMBERED_MAX = 8
WAIT_S_MAX, ROUND_TRIP_S_MAX = 60.0, 5.0
"""Assumed values for the bounds in the recording, in seconds: a client does not know those of its policy or server."""


class SessionRecording:
    """One file. Created by `Client.record`; a context manager that ends it; the end of the session ends it too."""

    def __init__(
        self,
        path: Path,
        run_id: str,
        session: ClientSession,
        policy: ReconnectPolicy,
        now: int,
        *,
        fallback: FallbackPolicy | None = None,
        heartbeat: HeartbeatPolicy | None = None,
        bytes_max: int = RECORDING_BYTES_MAX,
    ) -> None:
        """`policy`, `fallback` and `heartbeat` are those of the session; None for the last two: as its config says. Raises
        ConfigError if the file exists or cannot be written."""
        if bytes_max < 1:
            raise ConfigError(f"bytes_max = {bytes_max}: must be at least 1")
        started = trace_started(
            world="real",
            seed=0,
            run_id=run_id,
            client=session.config,
            server=ServerConfig(),
            wait_max_s=WAIT_S_MAX,
            round_trip_max_s=ROUND_TRIP_S_MAX,
            heartbeat=heartbeat,
            policy=policy,
            fallback=fallback,
            keeps="session",
            began_ms=time.time_ns() // NS_PER_MS,
        )
        try:
            self._file: BinaryIO | None = path.open("xb")
        except FileExistsError:
            raise ConfigError(f"the recording {path} is there already; name another file") from None
        except OSError as error:
            raise ConfigError(f"the recording {path} cannot be written: {error.strerror or error}") from None
        self.path = path
        self.ended: str | None = None
        """Why it has ended; None while it goes on."""
        self._room = bytes_max
        self._began = now
        self._pings: dict[tuple[int, int], int] = {}
        self._epoch = session.position[0]
        self._write(started)
        self._write(ClientStarted(at=0, client=ME, client_id=session.client_id, user_id=""))
        self._write(StateTurned(at=0, client=ME, state=session.state, is_carried=session.is_carried))

    def __enter__(self) -> "SessionRecording":
        return self

    def __exit__(self, *_: object) -> None:
        self.end("the block has ended")

    def end(self, why: str) -> None:
        """End the recording. May be called again."""
        if self._file is not None:
            self.ended = why
            file, self._file = self._file, None
            try:
                file.close()
            except OSError as error:
                self.ended = f"{why}, and its last lines were not written: {error.strerror or error}"

    def tap(self, now: int, what: Tapped) -> None:
        """Record an input or output of the session."""
        if self._file is None:
            return
        for record in self._records(now - self._began, what):
            self._write(record)
        if isinstance(what, SessionEnded):
            self.end("the session has ended")

    def _write(self, record: SessionRecord) -> None:
        if self._file is None:
            return
        content = encode_record(record)
        self._room -= len(content)
        if self._room < 0:
            self.end("the file has reached its limit")
            return
        try:
            self._file.write(content)
        except OSError as error:
            self.end(f"the file cannot be written any more: {error.strerror or error}")

    def _records(self, at: int, what: Tapped) -> Iterator[SessionRecord]:
        match what:
            case QueuedPublish(ticket=ticket, event_type=event_type, data=data):
                yield Published(at=at, client=ME, ticket=ticket, event_type=event_type, size_bytes=_size_of(data))
            case PublishAccepted(ticket=ticket, sequence_number=number, duplicate=duplicate):
                epoch = what.epoch or self._epoch
                yield AcceptedRecord(at=at, client=ME, ticket=ticket, epoch=epoch, sequence_number=number, duplicate=duplicate)
            case PublishFailed(ticket=ticket, code=code, may_have_arrived=may_have_arrived):
                yield Failed(at=at, client=ME, ticket=ticket, code=code, may_have_arrived=may_have_arrived)
            case Open(connection_id=connection_id, transport=transport):
                yield AttemptMade(at=at, client=ME, connection_id=connection_id, transport=transport)
            case Close(connection_ids=(connection_id, *_), code=code):
                yield ConnectionLeft(at=at, client=ME, connection_id=connection_id, code=code)
            case LostConnection(connection_id=connection_id, code=code, retry_after_ms=retry_after_ms):
                yield ConnectionLost(at=at, client=ME, connection_id=connection_id, code=code)
                if retry_after_ms is not None:
                    yield WaitAsked(at=at, client=ME, retry_after_ms=retry_after_ms)
            case StateChanged(state=state, is_carried=is_carried):
                yield StateTurned(at=at, client=ME, state=state, is_carried=is_carried)
            case SessionEnded(code=code):
                yield SessionOver(at=at, client=ME, code=code, message="")
            case Event(sequence_number=int(number), event_type=event_type, data=data):
                yield Delivered(
                    at=at,
                    client=ME,
                    epoch=self._epoch,
                    sequence_number=number,
                    event_type=event_type,
                    size_bytes=_size_of(data),
                )
            case SnapshotReceived(epoch=epoch, snapshot=snapshot):
                self._epoch = epoch
                yield SnapshotTaken(at=at, client=ME, epoch=epoch, sequence_number=snapshot.sequence_number, reason=what.reason)
            case ResetReceived(epoch=epoch, snapshot=snapshot):
                self._epoch = epoch
                yield ResetTaken(at=at, client=ME, epoch=epoch, sequence_number=snapshot.sequence_number, reason=what.reason)
            case Send(connection_ids=(connection_id, *_), frame=frames.Ping(nonce=nonce)):
                while len(self._pings) >= PINGS_REMEMBERED_MAX:
                    del self._pings[next(iter(self._pings))]
                self._pings[connection_id, nonce] = at
            case ReceivedFrame(connection_id=connection_id, frame=frame):
                if self._epoch is None and isinstance(frame, frames.Welcome | frames.PollAnswer):
                    self._epoch = frame.epoch  # a session that asked for no snapshot begins in this history
                if isinstance(frame, frames.Goaway):
                    yield WaitAsked(at=at, client=ME, retry_after_ms=frame.retry_after_ms, spread_ms=frame.spread_ms)
                elif isinstance(frame, frames.Pong):
                    sent_at = self._pings.pop((connection_id, frame.nonce), None)
                    if sent_at is not None:
                        yield RoundTripTaken(at=at, client=ME, round_trip_ms=(at - sent_at) / NS_PER_MS)
            case _:
                pass


def _size_of(data: Data) -> int:
    return len(msgspec.json.encode(data))
