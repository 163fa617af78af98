"""The first frame for a reader: welcome over WebSocket, the answer to a poll over HTTP.

Both read the same log from the same kind of position; only the frame differs.
"""

from reference.protocol import frames
from reference.protocol.config import ServerConfig
from reference.protocol.server.event_log import EventLog, ReadPosition
from reference.protocol.server.session_table import Session
from reference.protocol.server.sessions import Attendance
from reference.protocol.timers import NS_PER_MS


def welcome(
    session: Session,
    place: ReadPosition,
    log: EventLog,
    attendance: Attendance,
    last_client_sequence: int,
    config: ServerConfig,
    limits: frames.Limits,
    now: int,
) -> frames.Welcome:
    return frames.Welcome(
        session_id=session.session_id,
        epoch=log.epoch,
        outcome=place.outcome,
        reason=place.reason,
        oldest=log.oldest,
        head=log.head,
        after_sequence=place.after,
        last_client_sequence=last_client_sequence,
        heartbeat_ms=round(config.heartbeat_interval_s * 1000),
        limits=limits,
        retry=frames.Retry(round(config.first_spread_s * 1000)),
        active_users=attendance.users,
        cursor_positions=attendance.cursors,
        server_time=now // NS_PER_MS,
    )


def poll_answer(
    run_id: str,
    session: Session | None,
    place: ReadPosition,
    log: EventLog,
    attendance: Attendance,
    last_client_sequence: int,
    config: ServerConfig,
    now: int,
) -> frames.PollAnswer:
    events = log.read(place.after, config.batch_events_max, config.batch_bytes_max)
    return frames.PollAnswer(
        run_id=run_id,
        session_id=None if session is None else session.session_id,
        epoch=log.epoch,
        outcome=place.outcome,
        reason=place.reason,
        oldest=log.oldest,
        head=log.head,
        after_sequence=place.after,
        last_client_sequence=last_client_sequence,
        events=events,
        has_more=place.after + len(events) < log.head,  # 8.26
        snapshot=snapshot_frame(place),
        active_users=attendance.users,
        cursor_positions=attendance.cursors,
        server_time=now // NS_PER_MS,
    )


def snapshot_frame(place: ReadPosition) -> frames.SnapshotFrame | None:
    """The snapshot to send before the first event, if the reader's position needs one."""
    if place.snapshot is None:
        return None
    return frames.SnapshotFrame(place.snapshot.sequence_number, place.snapshot.state)
