"""The simulated server's machine: the parts that outlive its processes.

The machine has a wall clock, a store, and a port behind a load balancer. One process at a time runs on it (`server_process`). A
process can be killed, stopped or paused. A kill loses everything but the store: every connection is reset, new ones are refused
while no process runs, and uncommitted events are lost. A process that is stopped accepts no new connections, sends its clients
away, and ends when the store has the accepted events, or after STOP_TIMEOUT_S.

`Instances` of a server share the run, the machine and its capacity; each has its own connections, so that one can be replaced
while the others go on. The balancer gives a new connection to the instance with the fewest connections, or to a random one.
"""

from collections.abc import Callable, Mapping

from reference.protocol.config import ServerConfig
from reference.protocol.policies.reconnect import RandomSource
from reference.protocol.timers import NS_PER_MS, NS_PER_S, ns
from simulation.clock import ALARM, Call, Clock, lateness_of
from simulation.hosts.capacity import SYN_ACKS_REPEATED_FOR, Cost, Listener, ProcessorCosts, ProcessorQueue
from simulation.hosts.server_process import CLOSED, HighWater, Process
from simulation.hosts.store import SimulatedStore
from simulation.hosts.tokens import ORIGIN
from simulation.network.connection import RESET, AcceptedConnection, ClientAccessLink, Ending, ServerEndpoint, Syn, TcpConnection
from simulation.network.ports import Ports
from simulation.random import RandomStreams
from simulation.scenario.scenario import Balancing, Capacity, ServerPart
from simulation.trace.trace import ServerKilled, ServerStopped, Trace, WorkSampled
from simulation.trace.writer import record_stored


class Instances:
    """Numbered from 0."""

    def __init__(self, count: int, balancing: Balancing, random_source: RandomSource) -> None:
        self._balancing = balancing
        self._random_source = random_source
        self._connections = [0] * count
        self._times_out = [0] * count  # two deploys may take out one instance at the same time
        self._drawn: dict[str, int] = {}

    @property
    def count(self) -> int:
        return len(self._connections)

    @property
    def connections(self) -> tuple[int, ...]:
        """The connections of each."""
        return tuple(self._connections)

    def choose(self, client: str) -> int | None:
        """The instance for a new connection of this client; None: no instance is up."""
        if len(self._connections) == 1:
            return None if self._times_out[0] else 0
        up = [number for number, times in enumerate(self._times_out) if not times]
        if not up:
            return None
        if self._balancing == "least_connections":
            return min(up, key=self._connections.__getitem__)
        index = self._drawn.get(client, 0)
        self._drawn[client] = index + 1
        return up[int(len(up) * self._random_source.uniform(f"balance/{client}", index))]

    def took(self, instance: int) -> None:
        self._connections[instance] += 1

    def gave_back(self, instance: int) -> None:
        self._connections[instance] -= 1

    def take_out(self, instance: int) -> None:
        """The instance takes no new connections until it has been put back as often as it was taken out."""
        self._times_out[instance] += 1

    def put_back(self, instance: int) -> None:
        self._times_out[instance] -= 1

    def is_up(self, instance: int) -> bool:
        return not self._times_out[instance]


STOP_TIMEOUT_S = 10.0
"""How long a process may take to stop; as in the trio server."""
FRAMES_OF_ONE_MAX = 256
"""Frames of one connection that wait to be read: 64 unanswered publishes, and other frames of the client."""


class ServerHost:
    """The machine that the server runs on."""

    def __init__(
        self,
        clock: Clock,
        store: SimulatedStore,
        part: ServerPart,
        trace: Trace,
        random_source: RandomStreams,
        access_links: Mapping[str, ClientAccessLink],
    ) -> None:
        """`access_links`: of all clients."""
        self._access_links = access_links
        self.clock = clock
        self.store = store
        self.config: ServerConfig = part.config
        self.limits = part.config.limits
        """The limits as sent in welcome: one object for all, because many clients may be welcomed at once."""
        self.trace = trace
        self.process: Process | None = None
        self.high_water = HighWater()
        self.wall_clock_ahead = ORIGIN
        """Its wall clock minus the time of the run, in ns."""
        self.frames = 0
        """Frames that have reached a run's machine."""
        self.retry_after_ms, self.spread_ms = _ms(part.go_away_retry_after_s), _ms(part.go_away_spread_s)
        self._capacity = part.capacity
        self._random_source = random_source.of("server")
        self.timer_lateness = lateness_of(part.timer_granularity_s, part.timer_slack_s, self._random_source)
        self.balancer = None if part.balancer is None else Ports(clock, part.balancer)
        self.ticket_keys = 0
        """The number of the keys with which its process resumes TLS sessions."""
        self._keeps_ticket_keys = part.keeps_ticket_keys
        self._costs = None if part.capacity is None else self._costs_of(part.capacity)
        self._is_plain = part.capacity is None and part.instances == 1
        self.instances = Instances(part.instances, part.balancing, self._random_source)
        self._on_end: Callable[[], None] | None = None
        self._connections_opened = 0
        self._waits_drawn: dict[str, int] = {}
        self._sampled: tuple[Process | None, int, int, int, int, int] = (None, 0, 0, 0, 0, 0)

    # Start and end of processes.

    def start(self) -> None:
        """A process starts and loads the run."""
        assert self.process is None, "one server process at a time"
        self.ticket_keys += not self._keeps_ticket_keys
        self.process = Process(self)

    def kill(self) -> None:
        """The process is killed, whatever it is doing; the operating system resets its connections."""
        self.trace.add(ServerKilled(at=self.clock.now))
        self._end()
        self.store.crash()
        self._leave_all(RESET)

    def stop(self, on_end: Callable[[], None]) -> None:
        """The process is asked to stop; `on_end` is called when it has stopped, or was killed before that."""
        assert self.process is not None, "only what runs can stop"
        self._on_end = on_end
        process = self.process
        Call(self.clock, self.clock.now + ns(STOP_TIMEOUT_S), ALARM, self._lose_patience, process)
        process.stop(self._stopped)

    def _stopped(self) -> None:
        self.trace.add(ServerStopped(at=self.clock.now))
        self._end()
        self._leave_all(CLOSED)

    def _leave_all(self, ending: Ending) -> None:
        for access_link in self._access_links.values():
            for link in access_link.served():
                link.server_leaves(ending)

    def _lose_patience(self, call: Call) -> None:
        if self.process is call.argument:
            self.kill()

    def _end(self) -> None:
        assert self.process is not None, "only what runs can end"
        self.process.end()
        self.process = None
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            Call(self.clock, self.clock.now, ALARM, lambda _: on_end())

    def lose_store(self, epoch: str) -> None:
        """The store has lost its contents; the new history has this epoch. No process may be running."""
        assert self.process is None, "a store is not lost under a process"
        record_stored(self.trace, self.store.load(), self.clock.now, self.store.entries)
        self.store.lose(epoch)

    # Connections.

    def take(self, link: TcpConnection) -> ServerEndpoint | Syn:
        """As ServerListener.take."""
        process = self.process
        if process is None or process.is_leaving:
            return Syn.REFUSED
        instance = self.instances.choose(link.access_link.client)
        if instance is None:
            return Syn.REFUSED
        taken_at = process.listener.take(self._handshake_time(link))
        if taken_at is None:
            return Syn.DROPPED
        if self._is_plain:
            return process
        link.taken = AcceptedConnection(instance, taken_at)
        self.instances.took(instance)
        return process

    def _handshake_time(self, link: TcpConnection) -> int:
        """How long its SYN is remembered: until the client's part of the handshake has arrived."""
        directions = link.access_link.directions
        return SYN_ACKS_REPEATED_FOR if link.access_link.is_cut_off else directions.up.latency + directions.down.latency

    def released(self, link: TcpConnection) -> None:
        """A process's end of a connection is gone."""
        if not self._is_plain:
            self.instances.gave_back(link.taken.instance)

    def next_connection_id(self) -> int:
        self._connections_opened += 1
        return self._connections_opened

    # Instances.

    def replace(self, instance: int, *, is_graceful: bool) -> None:
        """An instance is taken out: it accepts no clients, and its clients must go to other instances."""
        self.instances.take_out(instance)
        if self.process is None:
            return
        if is_graceful:
            self.process.go_away(instance)
        for access_link in self._access_links.values():
            for link in access_link.served():
                if link.taken.instance != instance:
                    continue
                if not is_graceful:
                    link.reset_by_server()
                elif link.is_resting:
                    link.server_leaves(CLOSED)

    def is_replaced(self, instance: int) -> bool:
        """Whether an instance is out, and closes its connections when it is done with them."""
        return not self.instances.is_up(instance)

    # Inspection.

    def sample(self) -> WorkSampled | None:
        """The work of the process since the last call; None without a capacity, or without a process."""
        process = self.process
        if process is None or self._costs is None:
            return None
        work, listener = process.work, process.listener
        before = self._sampled if self._sampled[0] is process else (process, 0, 0, 0, 0, 0)
        self._sampled = (process, work.jobs, work.waited, work.busy, process.shed, listener.dropped)
        sample = WorkSampled(
            at=self.clock.now,
            jobs=work.jobs - before[1],
            waited_s=(work.waited - before[2]) / NS_PER_S,
            waited_max_s=work.waited_max / NS_PER_S,
            busy_s=(work.busy - before[3]) / NS_PER_S,
            shed=process.shed - before[4],
            syns_dropped=listener.dropped - before[5],
            backlog_most=listener.backlog_most,
        )
        work.waited_max = listener.backlog_most = 0
        return sample

    # The parts for each process.

    def new_machine(self) -> tuple[ProcessorQueue, Listener, ProcessorCosts | None]:
        """The processor queue, listener and costs of a process that starts now."""
        capacity = self._capacity
        work = ProcessorQueue(self.clock, None if capacity is None else capacity.processors)
        if capacity is None:
            return work, Listener(work, None, 1), None
        listener = Listener(
            work,
            capacity.accepts_per_s,
            capacity.accept_backlog_max,
            capacity.syn_backlog_max,
            syn_cookies=capacity.syn_cookies,
        )
        return work, listener, self._costs

    def drawn_wait_ms(self, client: str) -> int:
        """How long a client refused over HTTP is asked to wait: HTTP has no field for a spread, so it is sampled here."""
        assert self._costs is not None, "only a server with a capacity sheds"
        assert self._costs.shedding is not None, "and only if shedding is set"
        index = self._waits_drawn.get(client, 0)
        self._waits_drawn[client] = index + 1
        wait_ms, spread_ms = self._costs.shedding
        return wait_ms + round(spread_ms * self._random_source.uniform(f"shed/{client}", index))

    def _costs_of(self, capacity: Capacity) -> ProcessorCosts:
        random_source, shedding = self._random_source, capacity.shedding
        return ProcessorCosts(
            Cost(capacity.handshake_cost, random_source, "handshake"),
            Cost(capacity.resumption_cost or capacity.handshake_cost, random_source, "resumption"),
            Cost(capacity.authentication_cost, random_source, "authentication"),
            Cost(capacity.frame_cost, random_source, "frame"),
            Cost(capacity.delivery_cost, random_source, "delivery"),
            Cost(capacity.replay_event_cost, random_source, "replay"),
            None if shedding is None else ns(shedding.queue_wait_max_s),
            None if shedding is None else (_ms(shedding.retry_after_s), _ms(shedding.spread_s)),
            (self.config.connections_per_run_max + capacity.accept_backlog_max) * FRAMES_OF_ONE_MAX,
        )


def _ms(seconds: float) -> int:
    return ns(seconds) // NS_PER_MS
