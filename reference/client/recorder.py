"""A client's recording of its session, written while it goes on: `client.record(path)`.

It is told what the tap is told, and keeps of it what a replay needs (`reference.protocol.session_record`). Lines are written as
they come, through the operating system's buffer; when the disk refuses, or the file has reached its limit, the recording ends and
the session does not notice. `SessionRecording.ended` says why.
"""

import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from reference.client.tap import LostConnection, QueuedPublish, ReceivedFrame, Tapped
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
from reference.protocol.errors import ConfigError
from reference.protocol.events import Event
from reference.protocol.policies.catalogue import Policy
from reference.protocol.policies.reconnect import ReconnectPolicy
from reference.protocol.session_record import (
    ConnectionEnded,
    ConnectionTried,
    EventCame,
    PublishQueued,
    PublishSettled,
    RecordStarted,
    RoundTripTaken,
    SessionLine,
    SessionTurned,
    SnapshotCame,
    encode_line,
)
from reference.protocol.timers import NS_PER_MS

RECORDING_BYTES_MAX = 256 * 1024 * 1024
PINGS_REMEMBERED_MAX = 8


class SessionRecording:
    """One file. Made by `Client.record`; a context manager that ends it, which the end of the session does as well."""

    def __init__(
        self,
        path: Path,
        run_id: str,
        session: ClientSession,
        policy: ReconnectPolicy,
        now: int,
        *,
        bytes_max: int = RECORDING_BYTES_MAX,
    ) -> None:
        """Raises ConfigError if the file is there already or cannot be written."""
        if bytes_max < 1:
            raise ConfigError(f"bytes_max = {bytes_max}: must be at least 1")
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
        self._write(
            RecordStarted(
                at=0,
                began_ms=time.time_ns() // NS_PER_MS,
                run_id=run_id,
                client_id=session.client_id,
                state=session.state,
                is_carried=session.is_carried,
                config=session.config,
                policy=policy if isinstance(policy, Policy) else None,
            )
        )

    def __enter__(self) -> "SessionRecording":
        return self

    def __exit__(self, *_: object) -> None:
        self.end("the block has ended")

    def end(self, why: str) -> None:
        """End it. Safe to repeat."""
        if self._file is not None:
            self.ended = why
            file, self._file = self._file, None
            try:
                file.close()
            except OSError as error:
                self.ended = f"{why}, and its last lines were not written: {error.strerror or error}"

    def tap(self, now: int, what: Tapped) -> None:
        """What passes through the session's driver."""
        if self._file is None:
            return
        line = self._line(now - self._began, what)
        if line is not None:
            self._write(line)
        if isinstance(what, SessionEnded):
            self.end("the session has ended")

    def _write(self, line: SessionLine) -> None:
        assert self._file is not None, "asked before"
        content = encode_line(line)
        self._room -= len(content)
        if self._room < 0:
            self.end("the file has reached its limit")
            return
        try:
            self._file.write(content)
        except OSError as error:
            self.end(f"the file cannot be written any more: {error.strerror or error}")

    def _line(self, at: int, what: Tapped) -> SessionLine | None:
        match what:
            case QueuedPublish(ticket=ticket, event_type=event_type, data=data):
                return PublishQueued(at=at, ticket=ticket, event_type=event_type, size_bytes=len(msgspec.json.encode(data)))
            case PublishAccepted(ticket=ticket, sequence_number=number):
                return PublishSettled(at=at, ticket=ticket, sequence_number=number)
            case PublishFailed(ticket=ticket, code=code):
                return PublishSettled(at=at, ticket=ticket, code=code)
            case Open(connection_id=connection_id, transport=transport):
                return ConnectionTried(at=at, connection_id=connection_id, transport=transport)
            case Close(connection_ids=(connection_id, *_), code=code):
                return ConnectionEnded(at=at, connection_id=connection_id, by_client=True, code=code)
            case LostConnection(connection_id=connection_id, code=code):
                return ConnectionEnded(at=at, connection_id=connection_id, by_client=False, code=code)
            case StateChanged(state=state, is_carried=is_carried):
                return SessionTurned(at=at, state=state, is_carried=is_carried)
            case Event(sequence_number=int(number), event_type=event_type, data=data):
                size_bytes = len(msgspec.json.encode(data))
                return EventCame(at=at, sequence_number=number, event_type=event_type, size_bytes=size_bytes)
            case SnapshotReceived(snapshot=snapshot):
                return SnapshotCame(at=at, sequence_number=snapshot.sequence_number)
            case ResetReceived(snapshot=snapshot):
                return SnapshotCame(at=at, sequence_number=snapshot.sequence_number, is_reset=True)
            case Send(connection_ids=(connection_id, *_), frame=frames.Ping(nonce=nonce)):
                while len(self._pings) >= PINGS_REMEMBERED_MAX:
                    del self._pings[next(iter(self._pings))]
                self._pings[connection_id, nonce] = at
            case ReceivedFrame(connection_id=connection_id, frame=frames.Pong(nonce=nonce)):
                sent_at = self._pings.pop((connection_id, nonce), None)
                if sent_at is not None:
                    return RoundTripTaken(at=at, round_trip_ms=(at - sent_at) / NS_PER_MS)
            case _:
                pass
        return None
