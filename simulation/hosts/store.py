"""The simulated store: its contents survive the server, and a commit takes time.

It keeps what a real store keeps (`StoredRun`), and accepts a batch by the same rule (`reference.store.position`).
Unlike a real store it also keeps every entry, so that the checks at the end of a run see the whole history.

One commit is under way at a time. If the server crashes during a commit, a random sample decides whether the disk has it. If it
has, the server does not know; the sender's next copy finds out.
"""

import math
from collections import deque
from collections.abc import Callable

from reference.protocol.events import Event
from reference.protocol.records import ANSWERS_KEPT, Append, LogEntry, RunState, Snapshot, StoredClient, StoredRun
from reference.protocol.timers import ns
from reference.store.position import Position
from simulation.clock import ARRIVAL, Call, Clock
from simulation.random import EntityRandom
from simulation.scenario.distributions import Distribution


class SimulatedStore:
    """The durable log of one run."""

    def __init__(
        self,
        clock: Clock,
        random_source: EntityRandom,
        run_id: str,
        epoch: str,
        commit_time: int,
        *,
        distribution: Distribution | None = None,
        event_time: int = 0,
    ) -> None:
        """`commit_time`: of one transaction, in ns; `distribution`: replaces it, in seconds, sampled for each transaction by its
        number. `event_time`: of each event in it, in ns."""
        self._clock = clock
        self._random_source = random_source
        self._position = Position(run_id, epoch)
        self._commit_time = commit_time
        self._distribution = distribution
        self._event_time = event_time
        self._factors: list[float] = []
        self._entries: list[LogEntry] = []
        self._snapshot = Snapshot(0, RunState())
        self._answers: dict[str, deque[tuple[int, int]]] = {}
        self._under_way: tuple[Append, Callable[[Append], None]] | None = None
        self._commits = 0

    @property
    def entries(self) -> tuple[LogEntry, ...]:
        """Every entry that ever became durable in this epoch."""
        return tuple(self._entries)

    def commit(self, append: Append, on_durable: Callable[[Append], None]) -> None:
        """Make a batch durable; `on_durable(append)` is called then, unless the server has crashed before."""
        assert self._under_way is None, "one commit at a time"
        self._under_way = (append, on_durable)
        self._commits += 1
        Call(self._clock, self._clock.now + self._time_for(append), ARRIVAL, self._committed, self._commits)

    def crash(self) -> None:
        """The server is killed. Whether the commit under way becomes durable is random."""
        if self._under_way is None:
            return
        append, _ = self._under_way
        self._under_way = None
        if self._random_source.uniform("crash", self._commits) < 0.5:
            self._keep(append)

    def slow(self, factor: float) -> None:
        """Commits that begin from now on take `factor` times as long, until `recover`."""
        self._factors.append(factor)

    def recover(self, factor: float) -> None:
        """Undo one `slow`."""
        self._factors.remove(factor)

    def lose(self, epoch: str) -> None:
        """All contents are lost; a new history begins. Not while a commit is under way."""
        assert self._under_way is None, "the server has ended"
        self._position = Position(self._position.run_id, epoch)
        self._entries = []
        self._snapshot = Snapshot(0, RunState())
        self._answers = {}

    def load(self) -> StoredRun:
        """All durable contents."""
        position = self._position
        events: tuple[Event, ...] = tuple(entry.event for entry in self._entries[position.oldest - 1 :])
        clients = tuple(
            StoredClient(client_id, client.user_id, client.last_client_sequence, tuple(self._answers[client_id]), client.used_at)
            for client_id, client in position.clients.items()
        )
        return StoredRun(position.run_id, position.epoch, position.head, self._snapshot, events, clients)

    def _time_for(self, append: Append) -> int:
        distribution = self._distribution
        time = (
            self._commit_time
            if distribution is None
            else ns(distribution.at(self._random_source.uniform("commit", self._commits)))
        )
        return round((time + self._event_time * len(append.entries)) * math.prod(self._factors))

    def _committed(self, call: Call) -> None:
        if self._under_way is None or call.argument != self._commits:
            return  # its server has crashed
        append, on_durable = self._under_way
        self._under_way = None
        self._keep(append)
        on_durable(append)

    def _keep(self, append: Append) -> None:
        position = self._position
        conflict = position.conflict_with(append)
        assert conflict is None, f"a run that is alone writes what follows on what is stored: {conflict}"
        position.advance(append)
        for client_id in append.forgotten:
            self._answers.pop(client_id, None)
        for entry in append.entries:
            self._entries.append(entry)
            answers = self._answers.setdefault(entry.client_id, deque(maxlen=ANSWERS_KEPT))
            answers.append((entry.client_sequence, entry.sequence_number))
        if append.snapshot is not None:
            self._snapshot = append.snapshot
