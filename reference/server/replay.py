"""Replay over HTTP: what a run still keeps, read from any number on.

The same window as for everybody else, ascending, and honest about its ends: `oldest` says where it begins, so a reader sees that
something is no longer there; `hasMore` says that the answer was cut, and the next one goes on at the last number + 1.
"""

from typing import Annotated

import msgspec

from reference.protocol.codec import encoded_bytes
from reference.protocol.events import Event
from reference.protocol.frames import Count, Id
from reference.protocol.run import Run

EVENTS_MAX = 1000
BYTES_MAX = 4 * 1024 * 1024
"""Of events in one answer; a single event may exceed it."""
_READ_EVENTS = 256


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """GET .../replay. Without `from_sequence`: all critical events that are kept."""

    from_sequence: Count | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=EVENTS_MAX)] = EVENTS_MAX


class ReplayAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`total_events` is how many events match and are kept; `events` are the first of them."""

    run_id: str
    epoch: Id
    oldest: Count
    head: Count
    total_events: Count
    has_more: bool
    events: tuple[Event, ...]


def replay(run: Run, request: ReplayRequest) -> ReplayAnswer:
    """The answer to `request`, as of now."""
    if request.from_sequence is None:
        matching = [event for event in _read(run, run.oldest - 1, run.head) if event.is_critical]
        events = _within_bytes(matching[: request.limit])
        total = len(matching)
    else:
        after = min(max(request.from_sequence, run.oldest) - 1, run.head)
        total = run.head - after
        events = _within_bytes(_read(run, after, min(run.head, after + request.limit)))
    return ReplayAnswer(
        run_id=run.run_id,
        epoch=run.epoch,
        oldest=run.oldest,
        head=run.head,
        total_events=total,
        has_more=len(events) < total,
        events=events,
    )


def _read(run: Run, after: int, through: int) -> list[Event]:
    events: list[Event] = []
    while after < through:
        piece = run.read(after, min(_READ_EVENTS, through - after))
        events += piece
        after += len(piece)
    return events


def _within_bytes(events: list[Event]) -> tuple[Event, ...]:
    size = 0
    for count, event in enumerate(events):
        size += encoded_bytes(event)
        if size > BYTES_MAX and count:
            return tuple(events[:count])
    return tuple(events)
