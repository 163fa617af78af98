"""Replay (5.5) and history (5.9) over HTTP: the kept events of a run, by number, type, author or time.

They read the same retained window as every reader and report its bounds: `oldest` says where it begins, so a reader sees that
earlier events are gone; `totalEvents` says how many match; `hasMore` says that the answer was cut, and `nextSequence` where to
continue.
"""

from collections.abc import Callable
from typing import Annotated

import msgspec

from reference.protocol.events import Event
from reference.protocol.frames import Count, Id, TypeName, encoded_bytes
from reference.protocol.server.run import Run

EVENTS_MAX = 1000
"""Events in one answer."""
HISTORY_DEFAULT = 100
"""Events in one answer if the request names no limit."""
TYPES_MAX = 16
"""Event types that one request may name."""
BYTES_MAX = 4 * 1024 * 1024
"""Of the events in one answer; a single event may exceed it."""
_READ_EVENTS = 32
"""Events read at once from the log, which looks at the sizes of so many even if only a few of them fit into a batch."""

UserId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """GET .../replay. Without `from_sequence`: all critical events that are kept."""

    from_sequence: Count | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=EVENTS_MAX)] = EVENTS_MAX
    critical_only: bool | None = None
    """By default true without `from_sequence`, else false."""


class HistoryRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """GET .../events: all given conditions must hold. Times are the server's, in ms since 1970; both ends are included."""

    from_sequence: Count = 0
    to_sequence: Count | None = None
    event_type: Annotated[tuple[TypeName, ...], msgspec.Meta(max_length=TYPES_MAX)] = ()
    user_id: UserId | None = None
    critical_only: bool = False
    from_time: Count | None = None
    to_time: Count | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=EVENTS_MAX)] = HISTORY_DEFAULT


class ReplayAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`total_events`: how many kept events match; `events`: the first of them; `next_sequence`: the `fromSequence` of the next
    page, null if there is none."""

    run_id: str
    epoch: Id
    oldest: Count
    head: Count
    total_events: Count
    has_more: bool
    next_sequence: Count | None
    events: tuple[Event, ...]


def replay(run: Run, request: ReplayRequest) -> ReplayAnswer:
    """The answer to `request` at this moment."""
    critical_only = request.from_sequence is None if request.critical_only is None else request.critical_only
    if critical_only:
        return _answer(run, request.from_sequence or 0, run.head, lambda event: event.is_critical, request.limit)
    # Start at the first number that is asked for: earlier events need not be read.
    after = min(max(request.from_sequence or 0, run.oldest) - 1, run.head)
    events = _within_bytes(_read(run, after, min(run.head, after + request.limit)))
    return _cut(run, events, run.head - after)


def history(run: Run, request: HistoryRequest) -> ReplayAnswer:
    """The answer to `request` at this moment."""

    def matches(event: Event) -> bool:
        return (
            (not request.event_type or event.event_type in request.event_type)
            and (request.user_id is None or event.user_id == request.user_id)
            and (not request.critical_only or event.is_critical)
            and (request.from_time is None or event.timestamp >= request.from_time)
            and (request.to_time is None or event.timestamp <= request.to_time)
        )

    through = run.head if request.to_sequence is None else min(run.head, request.to_sequence)
    return _answer(run, request.from_sequence, through, matches, request.limit)


def _answer(run: Run, first: int, through: int, matches: Callable[[Event], bool], limit: int) -> ReplayAnswer:
    after = min(max(first, run.oldest) - 1, run.head)
    matching = [event for event in _read(run, after, through) if matches(event)]
    return _cut(run, _within_bytes(matching[:limit]), len(matching))


def _cut(run: Run, events: tuple[Event, ...], total: int) -> ReplayAnswer:
    has_more = len(events) < total
    last = events[-1].sequence_number if events else None
    return ReplayAnswer(
        run_id=run.run_id,
        epoch=run.epoch,
        oldest=run.oldest,
        head=run.head,
        total_events=total,
        has_more=has_more,
        next_sequence=last + 1 if has_more and last is not None else None,
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
