"""Capacity of a server machine: the rate of accepting connections, and one queue of jobs for its processors.

    Cost            the processor time of one kind of job, by a distribution
    Listener        accepts connections at its rate; the others wait in the kernel's backlog
    ProcessorQueue  jobs in one queue, first come first served, for so many equal processors

A job is a call and its processor time. It takes effect when that time is over. Frames that it then sends cost time as well
(`spend`): the processor is busy with them before it takes the next job, and the n-th frame of a fan-out is sent when n of them
are done. So there is one event in the world's queue for each job, none for what it sends, and none at all for a machine without a
capacity, whose jobs take no time.

Several processors may finish jobs out of order, but not those of one connection.

The process may be paused (`pause`). Its clock stops too: new jobs wait, and running jobs finish that much later. Only bytes that
a job has already sent are not delayed.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, NamedTuple

from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import ARRIVAL, Call, Clock
from simulation.network.connection import TcpConnection
from simulation.random import EntityRandom
from simulation.scenario.distributions import Constant, Distribution


class Cost:
    """The time of one kind of job, in ns. The n-th of a client is a sample of (server, kind and client, n)."""

    def __init__(self, distribution: Distribution, random_source: EntityRandom, kind: str) -> None:
        self._distribution = distribution
        self._random_source = random_source
        self._kind = kind
        self._constant = ns(distribution.value) if isinstance(distribution, Constant) else None
        self._drawn: dict[str, int] = {}

    def of(self, client: str) -> int:
        """The time of the next job for this client."""
        if self._constant is not None:
            return self._constant
        index = self._drawn.get(client, 0)
        self._drawn[client] = index + 1
        return ns(self._distribution.at(self._random_source.uniform(f"{self._kind}/{client}", index)))


@dataclass(frozen=True, slots=True)
class ProcessorCosts:
    """The costs of a server's jobs.

    shedding: the wait and the spread that a refused client is asked for, in ms; after a `patience`, in ns. jobs_max: how many
    jobs can wait, from the limits of connections and of their queues.
    """

    handshake: Cost
    resumption: Cost
    authentication: Cost
    frame: Cost
    delivery: Cost
    replay_event: Cost
    patience: int | None
    shedding: tuple[int, int] | None
    jobs_max: int


class Job(NamedTuple):
    """See `ProcessorQueue.submit`. `came_at`: by the world's clock."""

    came_at: int
    cost: int
    function: Callable[[Any], None]
    argument: Any
    link: TcpConnection | None
    patience: int | None
    too_late: Callable[[Any], None] | None
    too_late_cost: int


class ProcessorQueue:
    """The jobs of one server process. All times in ns."""

    def __init__(self, clock: Clock, processors: int | None) -> None:
        """`processors` None: unlimited, so that no job waits or takes time."""
        self.clock = clock
        self._is_instant = processors is None
        self._processors = self._idle = processors or 1
        self._queue: deque[Job] = deque()
        self.longest = 0
        """The most jobs that ever waited."""
        self._spent = 0
        self._pauses = 0
        self._paused_at = 0
        self._stood_still = 0
        self._held: list[tuple[int, Callable[[Any], None], Any]] = []
        self.is_over = False
        """The process is gone: no job is executed any more."""
        self.jobs = 0
        """Jobs that were started and took time; and how long they had waited, in total and at most."""
        self.waited = 0
        self.waited_max = 0
        self.busy = 0
        """Processor time spent on finished jobs."""

    @property
    def now(self) -> int:
        """The time of the process's own clock."""
        return (self._paused_at if self._pauses else self.clock.now) - self._stood_still

    @property
    def waiting(self) -> int:
        """Jobs that no processor has started."""
        return len(self._queue)

    def submit(
        self,
        cost: int,
        function: Callable[[Any], None],
        argument: Any = None,
        *,
        link: TcpConnection | None = None,
        patience: int | None = None,
        too_late: Callable[[Any], None] | None = None,
        too_late_cost: int = 0,
    ) -> None:
        """`function(argument)` is called when it is the job's turn and a processor has spent `cost` on it.

        `link`: its connection; the jobs of one are executed in order. If the job has waited for longer than `patience` when it is
        started, `too_late(argument)` is called in its place, after `too_late_cost`.
        """
        if self.is_over:
            return
        if self._is_instant and not self._pauses and not self._queue:
            function(argument)
            return
        self._queue.append(Job(self.clock.now, cost, function, argument, link, patience, too_late, too_late_cost))
        self._take_up()
        self.longest = max(self.longest, len(self._queue))

    def spend(self, cost: int) -> int:
        """The current job costs this much more, for something that it sends. Returns when that is sent, in ns from now."""
        self._spent += cost
        return self._spent

    def later(self, due: int, function: Callable[[Any], None], argument: Any = None) -> None:
        """`function(argument)` is called at `due` of the process's clock, without cost."""
        if self._pauses:
            self._held.append((due, function, argument))
        else:
            at = self.clock.now + max(0, due - self.now)
            Call(self.clock, at, ARRIVAL, self._came, (due, function, argument))

    def pause(self) -> None:
        """The process is paused."""
        if not self._pauses:
            self._paused_at = self.clock.now
        self._pauses += 1

    def resume(self) -> None:
        """Undo one `pause`."""
        self._pauses -= 1
        if self._pauses or self.is_over:
            return
        self._stood_still += self.clock.now - self._paused_at
        held, self._held = self._held, []
        for thing in held:
            self.later(*thing)
        self._take_up()

    def stop(self) -> None:
        """The process is gone."""
        self.is_over = True
        self._queue.clear()
        self._held.clear()

    def _came(self, call: Call) -> None:
        due, function, argument = call.argument
        if self.is_over:
            return
        if self._pauses or due > self.now:
            self.later(due, function, argument)
        else:
            function(argument)

    def _take_up(self) -> None:
        """Idle processors start waiting jobs."""
        while self._queue and self._idle and not self._pauses:
            self._idle -= 1
            self._begin(self._queue.popleft(), self.now)

    def _begin(self, job: Job, start: int) -> None:
        waited = self.clock.now + start - self.now - job.came_at
        if job.too_late is not None and job.patience is not None and waited > job.patience:
            job = job._replace(function=job.too_late, cost=job.too_late_cost)
        if job.cost:
            self.jobs += 1
            self.waited += waited
            self.waited_max = max(self.waited_max, waited)
        due = start + job.cost
        if job.link is not None and self._processors > 1:
            due = job.link.taken.busy_until = max(due, job.link.taken.busy_until)
        if due <= self.now:
            self._do(job)
        else:
            self.later(due, self._finish, job)

    def _finish(self, job: Job) -> None:
        self._do(job)
        self._take_up()

    def _do(self, job: Job) -> None:
        self._spent = 0
        job.function(job.argument)
        spent, self._spent = self._spent, 0
        self.busy += job.cost + spent
        if self.is_over:
            return
        if not spent:
            self._idle += 1
        elif self._queue and self._processors == 1:
            self._begin(self._queue.popleft(), self.now + spent)  # no other processor was free before
        else:
            self.later(self.now + spent, self._free)

    def _free(self, _: None) -> None:
        self._idle += 1
        self._take_up()


SYN_ACKS_REPEATED_FOR = ns(63.0)
"""How long a kernel remembers a SYN whose answer gets no reply: tcp_synack_retries = 5."""


class Listener:
    """Accepts connections in order of arrival, one per `1 / accepts_per_s` of the process's time."""

    def __init__(
        self,
        work: ProcessorQueue,
        accepts_per_s: float | None,
        backlog_max: int,
        syn_backlog_max: int | None = None,
        *,
        syn_cookies: bool = True,
    ) -> None:
        """`accepts_per_s` None: at once. `syn_backlog_max` None: unlimited."""
        self._syn_backlog_max = syn_backlog_max
        self._syn_cookies = syn_cookies
        self._half_open_until: list[int] = []  # a heap
        self._work = work
        self._interval = round(NS_PER_S / accepts_per_s) if accepts_per_s else 0
        self._next_at = 0
        self.backlog_max = backlog_max
        self.longest = 0
        """The most connections that ever waited to be accepted."""
        self.dropped = 0
        """SYNs that found the backlog full."""
        self.backlog_most = 0
        """The longest backlog since this was last set to 0."""

    @property
    def backlog(self) -> int:
        """Connections that wait to be accepted."""
        ahead = self._next_at - self._interval - self._work.now
        return -(-ahead // self._interval) if ahead > 0 else 0

    def take(self, round_trip: int = 0) -> int | None:
        """A connection arrives: when it is accepted, in the process's time, or None: the backlog is full. `round_trip`: how long
        the client's part of the handshake takes, in ns."""
        if self.backlog >= self.backlog_max or not self._note_syn(round_trip):  # in this order, as in Linux
            self.dropped += 1
            return None
        taken_at = max(self._work.now, self._next_at)
        self._next_at = taken_at + self._interval
        if self._interval:
            backlog = self.backlog
            self.longest, self.backlog_most = max(self.longest, backlog), max(self.backlog_most, backlog)
        return taken_at

    def _note_syn(self, round_trip: int) -> bool:
        """Whether a SYN is answered. The kernel forgets it in its time, also while the process is paused."""
        if self._syn_backlog_max is None:
            return True
        waiting, now = self._half_open_until, self._work.clock.now
        while waiting and waiting[0] <= now:
            heappop(waiting)
        if len(waiting) < self._syn_backlog_max:
            heappush(waiting, now + round_trip)
            return True
        return self._syn_cookies
