"""Frames and outcomes in a few words, for lines of text and for the arrows of a diagram."""

from reference.protocol import frames
from reference.protocol.client.outcomes import (
    Outcome,
    PublishAccepted,
    PublishFailed,
    ResetReceived,
    SessionEnded,
    SnapshotReceived,
)
from reference.protocol.events import Event


def words_of(frame: frames.Frame) -> str:
    """A frame in a few words, without details that do not matter to a reader."""
    match frame:
        case frames.Hello() | frames.PollRequest():
            name = "hello" if isinstance(frame, frames.Hello) else "poll"
            place = f"after {frame.after_sequence} of {frame.epoch}" if frame.epoch is not None else f"from {frame.start}"
            return f"{name} {frame.client_id} generation {frame.generation}, {place}"
        case frames.Welcome():
            return (
                f"welcome {frame.outcome}{_reason(frame.reason)}, {frame.epoch} after {frame.after_sequence}, head {frame.head}"
            )
        case frames.PollAnswer():
            snapshot = "" if frame.snapshot is None else f", snapshot {frame.snapshot.sequence_number}"
            return f"answer {frame.outcome}{_reason(frame.reason)}, {frame.epoch}{snapshot}, {_numbers(frame.events)}"
        case frames.Publish():
            after = "" if frame.after is None else f" after {frame.after}"
            return f"publish #{frame.client_sequence} {frame.event_type}{after}"
        case frames.PublishRequest():
            return "publishMany " + ", ".join(f"#{message.client_sequence} {message.event_type}" for message in frame.messages)
        case frames.PublishAnswer():
            return "results: " + ", ".join(words_of(result) for result in frame.results)
        case frames.Accepted():
            again = " again" if frame.duplicate else ""
            return f"accepted #{frame.client_sequence} as {frame.sequence_number}{again}"
        case frames.Rejected():
            return f"rejected #{frame.client_sequence}: {frame.code}{', try again' if frame.retryable else ''}"
        case frames.Events():
            return _numbers(frame.events)
        case frames.SnapshotFrame():
            return f"snapshot {frame.sequence_number}"
        case frames.Heartbeat():
            return f"heartbeat head {frame.head}"
        case frames.Ack():
            return f"ack {frame.sequence_number}"
        case frames.Ping() | frames.Pong():
            return f"{type(frame).__name__.lower()} {frame.nonce}"
        case frames.Presence():
            return "presence"
        case frames.Goaway():
            return f"goaway, back in {frame.retry_after_ms} ms + up to {frame.spread_ms}"
        case frames.Error():
            return f"error {frame.code}"
        case frames.RequestFailed():
            return f"{frame.request} failed{'' if frame.code is None else f' ({frame.code})'}"
        case _:
            return type(frame).__name__.lower()


def words_of_outcome(outcome: Outcome) -> str | None:
    """An outcome in a few words; None for outcomes that only report a status."""
    match outcome:
        case Event():
            return None if outcome.sequence_number is None else f"is given event {outcome.sequence_number} {outcome.event_type}"
        case SnapshotReceived():
            return f"is given the snapshot at {outcome.snapshot.sequence_number} of {outcome.epoch}"
        case ResetReceived():
            return f"is reset: its history is lost; now at {outcome.snapshot.sequence_number} of {outcome.epoch}"
        case PublishAccepted():
            return f"learns: publish {outcome.ticket} is event {outcome.sequence_number}"
        case PublishFailed():
            return f"learns: publish {outcome.ticket} failed ({outcome.code})"
        case SessionEnded():
            return f"learns: the session is over ({outcome.message})"
        case _:
            return None


def _reason(reason: str | None) -> str:
    return "" if reason is None else f" ({reason})"


def _numbers(events: tuple[Event, ...]) -> str:
    if not events:
        return "no events"
    first, last = events[0].sequence_number, events[-1].sequence_number
    return f"event {first} {events[0].event_type}" if first == last else f"events {first} to {last}"
