"""The recorder: one trace from the records of all clients.

There are two sources. Everything that an application reads from its client (events, snapshots, presence) is recorded when it
reads it, so everything between the network and the application is checked too. Other reports (answers to its publishes, changes
of state) and the actions on its connections are recorded from the client's tap, in order.

A trace begins with the work and ends when everything has settled: the leaving of clients is not part of it.
"""

import time
from collections import Counter, deque
from collections.abc import Callable

import msgspec
import trio

from reference.client import Client, Delivery, LostConnection, ReceivedFrame, Tap
from reference.protocol import frames
from reference.protocol.actions import Close, Open, Send
from reference.protocol.client.outcomes import PublishAccepted, PublishFailed, ResetReceived, SnapshotReceived, StateChanged
from reference.protocol.errors import LocalError
from reference.protocol.events import Data, Event
from reference.protocol.records import StoredRun
from reference.protocol.session_trace import trace_started
from reference.protocol.states import ClientState
from reference.protocol.timers import NS_PER_MS, NS_PER_S
from reference.store.kept import parsed
from simulation.processes.run_plan import Parameters
from simulation.processes.server_main import ListeningLine
from simulation.trace.trace import (
    ClientStarted,
    CursorMoved,
    Published,
    PublishRefused,
    QueueSampled,
    Record,
    RoundTripReported,
    ServerStarted,
    SessionJoined,
    SessionLeft,
    Trace,
)
from simulation.trace.writer import record_outcomes, record_stored, record_tapped

PINGS_REMEMBERED_MAX = 8
"""Of one client: there is one unanswered at a time, and a few that were lost with their connections."""


class Recorder:
    """One trace for all clients of a run, and a few figures that can be watched while it grows."""

    def __init__(self, seed: int, run_id: str, parameters: Parameters) -> None:
        self._parameters = parameters
        self.trace = Trace(
            [
                trace_started(
                    world="real",
                    seed=seed,
                    run_id=run_id,
                    client=parameters.client,
                    server=parameters.server,
                    wait_max_s=parameters.wait_max_s,
                    round_trip_max_s=parameters.round_trip_max_s,
                    heartbeat=parameters.heartbeat,
                    policy=parameters.policy,
                    fallback=parameters.fallback,
                )
            ]
        )
        self.round_trips_ms: list[float] = []
        self.counts: Counter[str] = Counter()
        """published, accepted, failed, delivered; so far."""
        self.positions: dict[str, int] = {}
        """The number of the last event that each application has read."""
        self.turns: deque[tuple[str, ClientState, ClientState]] = deque(maxlen=10_000)
        """Changes of state not read yet: client, before, after."""
        self._accepted = 0
        self._states: dict[str, ClientState] = {}
        self._is_over = False
        self.begin()

    def begin(self) -> None:
        """The trace begins now. Call it before there is anything to record."""
        self._origin = round(trio.current_time() * NS_PER_S)
        self._origin_elsewhere = time.monotonic_ns()  # the same moment, by the clock that all processes share

    @property
    def now(self) -> int:
        """In ns since the trace began."""
        return round(trio.current_time() * NS_PER_S) - self._origin

    @property
    def now_s(self) -> float:
        return self.now / NS_PER_S

    @property
    def head(self) -> int:
        """The highest number that any application has seen, of an event or of an answer."""
        return max([self._accepted, *self.positions.values()])

    def add(self, make: Callable[[int], Record]) -> None:
        """Record something that happens now: `make` is given the time."""
        if not self._is_over:
            self.trace.add(make(self.now))

    def server_started(self, listening: ListeningLine) -> None:
        """A server process accepts connections."""
        self.add(lambda at: ServerStarted(at=at, epoch=listening.epoch, head=listening.head))

    def add_from_server(self, record: Record) -> None:
        """Record what the server's process observed; its times are by the clock that all processes share."""
        if not self._is_over and isinstance(record, SessionJoined | SessionLeft | RoundTripReported | QueueSampled):
            self.trace.add(msgspec.structs.replace(record, at=record.at - self._origin_elsewhere))

    def end(self) -> None:
        """Take no more records, except of the store."""
        self._is_over = True

    def stored(self, run: StoredRun) -> None:
        """Record what the store holds at the end."""
        self.trace.add(
            QueueSampled(
                at=self.now,
                place="server",
                queue="retained events",
                length=len(run.events),
                limit=self._parameters.server.events_kept_max,
            )
        )
        record_stored(self.trace, parsed(run), self.now)

    # One client.

    def started(self, name: str) -> None:
        """A client of that name begins; its id and its user have the same name."""
        self.positions[name] = 0
        self._states[name] = ClientState.NEW
        self.add(lambda at: ClientStarted(at=at, client=name, client_id=name, user_id=name))

    def tap_of(self, name: str) -> Tap:
        """A tap that records everything of this client's session."""
        pings: dict[tuple[int, int], int] = {}

        def tap(now: int, what: object) -> None:
            if not self._is_over:
                self._tapped(name, what, now - self._origin, pings)

        return tap

    def publish(self, name: str, client: Client, event_type: str, data: Data) -> None:
        """Publish, and record it."""
        try:
            ticket = client.publish_soon(event_type, data)
        except LocalError as error:
            refusal = type(error).__name__
            self.add(lambda at: PublishRefused(at=at, client=name, event_type=event_type, error=refusal))
        else:
            self.counts["published"] += 1
            self.add(lambda at: Published(at=at, client=name, ticket=ticket.number, event_type=event_type, data=data))

    def move_cursor(self, name: str, client: Client, data: Data) -> None:
        """Move the cursor, and record it. Raises SessionClosed."""
        client.move_cursor(data)
        self.add(lambda at: CursorMoved(at=at, client=name, data=data))

    def delivered(self, name: str, client: Client, delivery: Delivery) -> None:
        """The application has read something."""
        if self._is_over:
            return
        record_outcomes(self.trace, name, [delivery], self.now, epoch=client.position[0])
        match delivery:
            case Event(sequence_number=None):
                pass
            case Event(sequence_number=int(number)):
                self.counts["delivered"] += 1
                self.positions[name] = number
            case _ if (snapshot := getattr(delivery, "snapshot", None)) is not None:
                self.positions[name] = snapshot.sequence_number

    def sample(self, name: str, client: Client) -> None:
        """Record the lengths of this client's queues."""
        waiting, limit = client.queued_messages, self._parameters.client.outbox_messages_max
        self.add(lambda at: QueueSampled(at=at, place=name, queue="outbox", length=waiting, limit=limit))

    def _tapped(self, name: str, what: object, at: int, pings: dict[tuple[int, int], int]) -> None:
        match what:
            case ReceivedFrame(connection_id=connection_id, frame=frames.Pong(nonce=nonce)):
                if (sent_at := pings.pop((connection_id, nonce), None)) is not None:
                    self.round_trips_ms.append((at - sent_at) / NS_PER_MS)
            case StateChanged(state=state):
                self.turns.append((name, self._states[name], state))
                self._states[name] = state
            case PublishAccepted(sequence_number=number):
                self.counts["accepted"] += 1
                self._accepted = max(self._accepted, number)
            case PublishFailed():
                self.counts["failed"] += 1
            case Send(connection_ids=(connection_id,), frame=frames.Ping(nonce=nonce)):
                while len(pings) >= PINGS_REMEMBERED_MAX:
                    del pings[next(iter(pings))]
                pings[connection_id, nonce] = at
            case ResetReceived(snapshot=snapshot):
                self._accepted = snapshot.sequence_number  # numbers of an old history do not tell the head
            case SnapshotReceived(epoch=epoch) if self.trace.epoch_of(name) is None:
                self.trace.enter_epoch(name, epoch)  # answers may arrive before the application has read its snapshot
        if isinstance(
            what, ReceivedFrame | LostConnection | StateChanged | PublishAccepted | PublishFailed | Open | Send | Close
        ):
            record_tapped(self.trace, name, what, at)
