"""Counts of one trace, which reports show with the verdicts."""

from collections import Counter
from collections.abc import Iterator

import msgspec

from reference.protocol.states import ClientState
from simulation.trace.index import ClientIndex, Progress, TraceIndex
from simulation.trace.measured import MessagesMeasured
from simulation.trace.trace import BeginningGiven, Delivered, ResetTaken, SnapshotTaken


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Of one trace, over all clients.

    published: queued by an application; refused: not taken by its client. accepted: answered with a number. failed: given up and
    reported. unsettled: neither, when the trace ended. delivered, snapshots, resets: what applications got.
    duplicates: numbers delivered again; gaps: deliveries that skipped a number; out_of_order: deliveries below the
    highest before. lost: accepted publishes that are missing from the stored log, or from the deliveries of a client that is live
    at the end. reconnections: how often a client got a transport again. fallbacks: how often polling took over;
    returns_to_websocket: how often it ended with a WebSocket. server_restarts: starts after the first.
    """

    published: int
    accepted: int
    failed: int
    unsettled: int
    refused: int
    delivered: int
    snapshots: int
    resets: int
    duplicates: int
    gaps: int
    out_of_order: int
    lost: int
    reconnections: int
    fallbacks: int
    returns_to_websocket: int
    server_restarts: int
    lost_with_store: int = 0
    """Accepted publishes of a history that is lost, because the store was lost."""


class _Deliveries:
    """The deliveries of one client, and their violations of the order."""

    def __init__(self, client: ClientIndex) -> None:
        self.delivered = self.snapshots = self.resets = self.duplicates = self.gaps = self.out_of_order = 0
        self.numbers: set[tuple[str | None, int]] = set()  # only tested for membership, never iterated
        self._covered: dict[str | None, list[tuple[int, int]]] = {}
        epoch, highest, position = None, 0, 0
        for record in client.records:
            if not isinstance(record, Progress | BeginningGiven):
                continue
            number = record.sequence_number
            match record:
                case BeginningGiven():
                    if epoch is not None:
                        continue
                    self._covered.setdefault(record.epoch, []).append((0, number))
                    highest = number
                case SnapshotTaken() | ResetTaken():
                    self.snapshots += isinstance(record, SnapshotTaken)
                    self.resets += isinstance(record, ResetTaken)
                    self._covered.setdefault(record.epoch, []).append((0, number))
                    highest = number
                case Delivered():
                    self.delivered += 1
                    if record.epoch == epoch:
                        self.duplicates += (epoch, number) in self.numbers
                        self.out_of_order += number <= highest
                        self.gaps += number > position + 1
                    elif epoch is None:
                        self._covered.setdefault(record.epoch, []).append((0, number - 1))
                    self.numbers.add((record.epoch, number))
                    highest = max(highest, number) if record.epoch == epoch else number
            epoch, position = record.epoch, number

    def has(self, epoch: str | None, number: int) -> bool:
        """Whether this client got that event, or a snapshot over it, or began after it."""
        return (epoch, number) in self.numbers or any(low <= number <= high for low, high in self._covered.get(epoch, ()))


def count(trace_index: TraceIndex) -> Counts:
    """Count everything in one trace."""
    clients = trace_index.clients.values()
    moves = Counter(name for client in clients for name, _ in moves_at(client))
    if trace_index.measured is not None:
        return _measured(trace_index.measured, moves, len(trace_index.starts))
    deliveries = {name: _Deliveries(client) for name, client in trace_index.clients.items()}
    published, accepted = (sum(len(getattr(client, name)) for client in clients) for name in ("published", "accepted"))
    failed = sum(len(client.failed.keys() - client.accepted.keys()) for client in clients)
    total = deliveries.values()
    return Counts(
        published=published,
        accepted=accepted,
        failed=failed,
        unsettled=published - accepted - failed,
        refused=sum(client.refused for client in clients),
        delivered=sum(each.delivered for each in total),
        snapshots=sum(each.snapshots for each in total),
        resets=sum(each.resets for each in total),
        duplicates=sum(each.duplicates for each in total),
        gaps=sum(each.gaps for each in total),
        out_of_order=sum(each.out_of_order for each in total),
        lost=_lost(trace_index, deliveries),
        reconnections=moves["reconnections"],
        fallbacks=moves["fallbacks"],
        returns_to_websocket=moves["returns_to_websocket"],
        server_restarts=max(0, len(trace_index.starts) - 1),
        lost_with_store=_lost_with_store(trace_index),
    )


def _measured(measured: MessagesMeasured, moves: Counter[str], starts: int) -> Counts:
    """From the sums of a trace that kept no messages. Duplicates and deliveries out of order are not distinguished; whether
    anything was lost is not known there, and counted as 0."""
    clients = measured.clients.values()
    published, accepted, failed = (sum(getattr(one, name) for one in clients) for name in ("published", "accepted", "failed"))
    return Counts(
        published=published,
        accepted=accepted,
        failed=failed,
        unsettled=published - accepted - failed,
        refused=sum(one.refused for one in clients),
        delivered=measured.delivered,
        snapshots=measured.snapshots,
        resets=measured.resets,
        duplicates=0,
        gaps=measured.gaps,
        out_of_order=measured.out_of_order,
        lost=0,
        reconnections=moves["reconnections"],
        fallbacks=moves["fallbacks"],
        returns_to_websocket=moves["returns_to_websocket"],
        server_restarts=max(0, starts - 1),
    )


def _lost_with_store(trace_index: TraceIndex) -> int:
    if trace_index.log is None or not trace_index.losses:
        return 0
    answers = (answers[0] for client in trace_index.clients.values() for answers in client.accepted.values())
    return sum(answer.epoch != trace_index.log.epoch for answer in answers)


def _lost(trace_index: TraceIndex, deliveries: dict[str, _Deliveries]) -> int:
    lost = 0
    # A client without any delivery may have begun at the head, after everything; G6 checks whether that is right.
    readers = [deliveries[name] for name, client in trace_index.clients.items() if client.is_live and client.epoch is not None]
    for client in trace_index.clients.values():
        for ticket, answers in client.accepted.items():
            epoch, number = answers[0].epoch, answers[0].sequence_number
            publish = client.published.get(ticket)
            entry = trace_index.entry(epoch, number)
            is_stored = not trace_index.is_retained(epoch, number) or (
                entry is not None and publish is not None and entry.data == publish.data
            )
            if trace_index.log is not None and epoch == trace_index.log.epoch and number > trace_index.log.head:
                is_stored = False
            is_current = trace_index.log is None or epoch == trace_index.log.epoch
            lost += not is_stored or (is_current and not all(reader.has(epoch, number) for reader in readers))
    return lost


def moves_of(client: ClientIndex) -> Counter[str]:
    """How often a client got a new transport, by the names of `moves_at`."""
    return Counter(name for name, _ in moves_at(client))


def moves_at(client: ClientIndex) -> Iterator[tuple[str, int]]:
    """Each time that a client got a new transport: `reconnections`, `fallbacks` or `returns_to_websocket`, and when, in ns."""
    before, is_carried, was_carried = ClientState.NEW, False, False
    for turn in client.turns():
        state = turn.state
        if turn.is_carried and not is_carried:
            if was_carried:
                yield "reconnections", turn.at
            was_carried = True
        if state is ClientState.POLLING and not before.is_polling:
            yield "fallbacks", turn.at
        if state is ClientState.LIVE and before is ClientState.PROBE_PROVING:
            yield "returns_to_websocket", turn.at
        before, is_carried = state, turn.is_carried
