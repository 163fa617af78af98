"""Aggregated trace: keeps no record per message, so its memory grows with clients and connections, not with messages.

For `record = "histograms"`. What would be one record per message is aggregated at once: latencies in histograms, each client's
position in the log, and violations of the order. Records of connections are kept, so reconnect storms, states, retry rules and
takeovers are checked as usual; `checkers` reports the rest as not recorded. `finish` adds the sums to the trace as one record.
"""

from collections.abc import Callable
from typing import Any

from reference.protocol.events import Event
from reference.protocol.timers import NS_PER_MS, NS_PER_S, ns
from simulation.trace.histograms import LogHistogram
from simulation.trace.measured import ClientMeasured, Measured, MessagesMeasured
from simulation.trace.publishes import publish_id_of
from simulation.trace.trace import (
    AcceptedRecord,
    AnswerGiven,
    BeginningGiven,
    CursorMoved,
    CursorSeen,
    Delivered,
    EntryStored,
    Failed,
    FaultHappened,
    FaultOver,
    PresenceSeen,
    Published,
    PublishRefused,
    Record,
    RequestMade,
    ResetTaken,
    RoundTripReported,
    SnapshotTaken,
    Trace,
)

PUBLISHES_REMEMBERED_MAX = 500_000
"""Publishes whose time is known when they are delivered; above it, the oldest are forgotten, and counted."""


class _Client:
    """The state of one client."""

    __slots__ = ("accepted", "epoch", "failed", "mark", "position", "published", "reached_at", "refused")

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.position = 0
        self.mark = 0
        """The number of the mark to which `reached_at` belongs."""
        self.reached_at: int | None = 0
        self.published = self.accepted = self.failed = self.refused = 0


class AggregatedTrace(Trace):
    """See the module."""

    def __init__(self, warm_up_s: float) -> None:
        super().__init__()
        self._warm_up_s = warm_up_s
        self._warm_up = ns(warm_up_s)
        self._keep = self._records.append
        self._clients: dict[str, _Client] = {}
        self._waiting: dict[tuple[str, int], int] = {}
        """Publishes without an answer, by client and ticket, with their times; bounded by the outboxes."""
        self._published_at: dict[str, int] = {}
        self._latency, self._answer, self._round_trip = LogHistogram(), LogHistogram(), LogHistogram()
        self._measured_publishes = self._forgotten = self._answered_twice = self._failed_in_warm_up = 0
        self._delivered = self._snapshots = self._resets = 0
        self._out_of_order = self._gaps = self._silent_epochs = 0
        self._head: tuple[str | None, int] = (None, 0)
        """The highest number of the newest history that any client has received."""
        self._past: dict[str | None, None] = {}
        self._mark: tuple[str | None, int] = (None, 0)
        """The head when a fault last began or ended: a client that has reached it has recovered."""
        self._marks = self._marked_at = 0
        self._take: dict[type, Callable[[Any], None]] = {
            Published: self._take_published,
            PublishRefused: self._take_refused,
            AcceptedRecord: self._take_accepted,
            Failed: self._take_failed,
            Delivered: self._take_delivered,
            BeginningGiven: self._take_beginning,
            SnapshotTaken: self._take_snapshot,
            ResetTaken: self._take_snapshot,
            RoundTripReported: self._take_round_trip,
            FaultHappened: self._take_fault,
            FaultOver: self._take_fault,
            **dict.fromkeys((CursorMoved, CursorSeen, PresenceSeen, RequestMade, AnswerGiven, EntryStored), _forget),
        }
        self.add = self._add

    def _add(self, record: Record) -> None:
        self._take.get(type(record), self._keep)(record)

    def epoch_of(self, client: str) -> str | None:
        known = self._clients.get(client)
        return None if known is None else known.epoch

    def enter_epoch(self, client: str, epoch: str | None) -> None:
        """The records of the client's position, which follow, have it."""

    def finish(self, now: int) -> None:
        self._keep(
            MessagesMeasured(
                at=now,
                warm_up_s=self._warm_up_s,
                latency=Measured.from_histogram(self._latency),
                answer=Measured.from_histogram(self._answer),
                round_trip=Measured.from_histogram(self._round_trip),
                clients={name: self._measured(client) for name, client in self._clients.items()},
                measured_publishes=self._measured_publishes,
                delivered=self._delivered,
                snapshots=self._snapshots,
                resets=self._resets,
                order_checked=self._delivered,
                out_of_order=self._out_of_order,
                gaps=self._gaps,
                silent_epochs=self._silent_epochs,
                forgotten_publishes=self._forgotten,
                answered_twice=self._answered_twice,
                failed_in_warm_up=self._failed_in_warm_up,
            )
        )

    # Requests of a client, and their outcomes.

    def _take_published(self, record: Published) -> None:
        client = self._client(record.client)
        client.published += 1
        self._waiting[record.client, record.ticket] = record.at
        publish_id = record.publish_id
        if publish_id is None or record.at < self._warm_up:
            return
        self._measured_publishes += 1
        self._published_at[publish_id] = record.at
        if len(self._published_at) > PUBLISHES_REMEMBERED_MAX:
            del self._published_at[next(iter(self._published_at))]
            self._forgotten += 1

    def _take_refused(self, record: PublishRefused) -> None:
        self._client(record.client).refused += 1

    def _take_accepted(self, record: AcceptedRecord) -> None:
        client = self._client(record.client)
        published_at = self._waiting.pop((record.client, record.ticket), None)
        if published_at is None:
            self._answered_twice += 1
            return
        client.accepted += 1
        if published_at >= self._warm_up:
            self._answer.add((record.at - published_at) / NS_PER_S)
        self._seen(record.epoch, record.sequence_number)

    def _take_failed(self, record: Failed) -> None:
        client = self._client(record.client)
        published_at = self._waiting.pop((record.client, record.ticket), None)
        if published_at is None:
            self._answered_twice += 1
            return
        client.failed += 1
        self._failed_in_warm_up += published_at < self._warm_up

    # Deliveries to a client.

    def deliver(self, client: str, epoch: str | None, number: int, event: Event, now: int) -> None:
        self._count_delivered(client, epoch, number, publish_id_of(event.data), now)

    def _take_delivered(self, record: Delivered) -> None:
        self._count_delivered(record.client, record.epoch, record.sequence_number, record.publish_id, record.at)

    def _count_delivered(self, name: str, epoch: str | None, number: int, publish_id: str | None, at: int) -> None:
        client = self._clients.get(name) or self._client(name)
        self._delivered += 1
        if client.epoch == epoch:
            if number <= client.position:
                self._out_of_order += 1
            elif number > client.position + 1:
                self._gaps += 1
        elif client.epoch is not None:
            self._silent_epochs += 1
        if client.epoch == epoch and client.mark == self._marks and client.reached_at is not None and number > client.position:
            client.position = number  # as `_move` for a client that has reached the mark and goes on
        else:
            self._move(client, epoch, number, at)
        newest, head = self._head
        if epoch != newest or number > head:
            self._seen(epoch, number)
        published_at = None if publish_id is None else self._published_at.get(publish_id)
        if published_at is not None:
            self._latency.add((at - published_at) / NS_PER_S)

    def _take_snapshot(self, record: SnapshotTaken | ResetTaken) -> None:
        if isinstance(record, SnapshotTaken):
            self._snapshots += 1
        else:
            self._resets += 1
        self._move(self._client(record.client), record.epoch, record.sequence_number, record.at)

    def _take_beginning(self, record: BeginningGiven) -> None:
        self._keep(record)
        self._move(self._client(record.client), record.epoch, record.sequence_number, record.at)

    def _take_round_trip(self, record: RoundTripReported) -> None:
        if record.at >= self._warm_up:
            self._round_trip.add(record.round_trip_ms * NS_PER_MS / NS_PER_S)

    def _take_fault(self, record: FaultHappened | FaultOver) -> None:
        self._keep(record)
        self._mark, self._marked_at = self._head, record.at
        self._marks += 1

    # Positions.

    def _client(self, name: str) -> _Client:
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = _Client()
        return client

    def _seen(self, epoch: str | None, number: int) -> None:
        newest, head = self._head
        if epoch == newest:
            self._head = (epoch, max(number, head))
        elif epoch not in self._past:  # a late record may still belong to an old history
            self._past[newest] = None
            self._head = (epoch, number)

    def _move(self, client: _Client, epoch: str | None, number: int, at: int) -> None:
        self._look_at_mark(client)
        client.epoch, client.position = epoch, number
        if not self._is_at_mark(client):
            client.reached_at = None
        elif client.reached_at is None:
            client.reached_at = at

    def _look_at_mark(self, client: _Client) -> None:
        """There may be a newer mark than the one of `reached_at`."""
        if client.mark != self._marks:
            client.mark = self._marks
            client.reached_at = self._marked_at if self._is_at_mark(client) else None

    def _is_at_mark(self, client: _Client) -> bool:
        epoch, number = self._mark
        return number == 0 or (client.epoch == epoch and client.position >= number)

    def _measured(self, client: _Client) -> ClientMeasured:
        self._look_at_mark(client)
        return ClientMeasured(
            epoch=client.epoch,
            position=client.position,
            reached_at=client.reached_at,
            published=client.published,
            accepted=client.accepted,
            failed=client.failed,
            refused=client.refused,
        )


def _forget(_: Record) -> None:
    """A record of a message, which is not needed later."""
