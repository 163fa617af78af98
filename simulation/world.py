"""A world: runs one scenario in virtual time and returns its result.

    result = run(scenario)                     # or run(scenario, seed=7, replication=3)
    result.verdicts, result.counts, result.trace

Everything that happens is a function of the scenario, the seed and the replication. Nothing depends on the order of a set, the
wall clock or another run, so equal arguments give byte-equal traces in any process.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from html import escape
from uuid import UUID

import msgspec

from reference.protocol.client.session import ClientSession
from reference.protocol.timers import ns
from simulation.checks.checkers import Verdict, check_index
from simulation.clock import ALARM, ARRIVAL, FAULT, Call, Clock, few_collections, lateness_of
from simulation.hosts.client import ClientHost, Listen
from simulation.hosts.faults import ClientFaults, ServerFaults
from simulation.hosts.server_host import ServerHost
from simulation.hosts.store import SimulatedStore
from simulation.hosts.tokens import Issuer
from simulation.hosts.workload_driver import WorkloadDriver
from simulation.network.access_link import AccessLink
from simulation.network.availability import start_availability
from simulation.network.cell import SimulatedCell
from simulation.network.connection import ClientAccessLink
from simulation.network.names import Zone
from simulation.network.ports import Ports
from simulation.random import RandomStreams
from simulation.results.counts import Counts, count
from simulation.scenario.faults import Fault, LinkFault, ServerFault
from simulation.scenario.scenario import Group, Scenario
from simulation.trace.frames_seen import FrameRecorder
from simulation.trace.index import TraceIndex, index_of
from simulation.trace.trace import FaultHappened, FaultOver, PathTrouble, PathTroubled, QueuePeaked, QueueSampled, Trace
from simulation.trace.wording import words_of
from simulation.trace.writer import begin_trace, record_stored


@dataclass(frozen=True)
class Result:
    """One run. Everything derived from its trace is computed when it is first used."""

    scenario: Scenario
    replication: int
    trace: Trace
    frames: int
    """Frames that reached a protocol machine, on either side."""

    @cached_property
    def trace_index(self) -> TraceIndex:
        return index_of(self.trace)

    @cached_property
    def verdicts(self) -> dict[str, Verdict]:
        return check_index(self.trace_index)

    @cached_property
    def counts(self) -> Counts:
        return count(self.trace_index)

    @property
    def is_ok(self) -> bool:
        """Whether no guarantee was violated. A guarantee that was not exercised is not violated."""
        return not any(verdict.violated for verdict in self.verdicts.values())

    def _repr_html_(self) -> str:
        """The display in a notebook: the guarantees and the counts."""
        rows = "".join(
            f"<tr><td>{name}</td><td>{escape(verdict.status)}</td><td>{verdict.checked}</td><td>{escape(verdict.sentence)}</td></tr>"
            for name, verdict in self.verdicts.items()
        )
        counts = ", ".join(f"{name} {value}" for name, value in msgspec.structs.asdict(self.counts).items() if value)
        head = f"<p><b>{escape(self.scenario.name)}</b>, seed {self.scenario.seed}, replication {self.replication}: {counts}</p>"
        return f"{head}<table><tr><th></th><th>verdict</th><th>checked</th><th>guarantee</th></tr>{rows}</table>"


def run(scenario: Scenario, *, seed: int | None = None, replication: int = 0) -> Result:
    """Run a scenario to its end. `seed` replaces the scenario's own. Raises ConfigError for an invalid seed."""
    return World(scenario.replace() if seed is None else scenario.replace(seed=seed), replication).run()


class World:
    """See the module. `run` can be called once.

    `store_type`: the store, replaceable in order to see a faulty one fail. `listen`: called with every frame of every client.
    """

    def __init__(
        self,
        scenario: Scenario,
        replication: int = 0,
        *,
        store_type: type[SimulatedStore] = SimulatedStore,
        listen: Listen | None = None,
    ) -> None:
        self.scenario = scenario
        self.clock = clock = Clock()
        self._random_source = random_source = RandomStreams(scenario.seed, replication)
        run_id = str(UUID(bytes=_id_bytes(scenario.seed, replication, "run")))
        self.trace = begin_trace(scenario, run_id)
        epoch = _id_bytes(scenario.seed, replication, "epoch").hex()
        part = scenario.server
        self.store = store_type(
            clock,
            random_source.of("store"),
            run_id,
            epoch,
            ns(part.commit_time_s),
            distribution=part.commit_time,
            event_time=ns(part.commit_event_time_s),
        )
        self.access_links: dict[str, ClientAccessLink] = {}
        self.server = ServerHost(clock, self.store, part, self.trace, random_source, self.access_links)
        self._server_faults = ServerFaults(self.server, self._over, self._new_epoch)
        self._tokens = None if part.token_lifetime_s is None else Issuer(ns(part.token_lifetime_s), ns(part.token_refresh_time_s))
        self._listen = listen
        self.clients: dict[str, ClientHost] = {}
        self._zone = Zone()
        self._report = self._note_path_trouble  # one bound method for all links
        self._client_faults = ClientFaults(clock, self.clients, self.access_links, self._zone)
        self._ports: dict[str, Ports] = {}
        if self.server.balancer is not None:
            self._ports["balancer"] = self.server.balancer
        self._frames = FrameRecorder(self.trace.add, lambda: clock.now, words_of) if scenario.record_frames else None
        self._last_sampled: defaultdict[str, dict[str, int]] = defaultdict(dict)  # by queue and place
        self._epochs = 1
        with few_collections():
            for group in scenario.groups:
                cell = group.shared_bottleneck
                cells = None
                if cell is not None:
                    up_rate = cell.up_bandwidth_bytes_per_s or cell.bandwidth_bytes_per_s
                    cells = SimulatedCell(clock, up_rate), SimulatedCell(clock, cell.bandwidth_bytes_per_s)
                nat = None
                if group.nat is not None:
                    nat = self._ports[f"nat of {group.name}"] = Ports(clock, group.nat)
                for name in group.client_names:
                    self._add_client(name, group, cells, nat)

    @property
    def frames(self) -> int:
        """Frames that reached a protocol machine, on either side."""
        return self.server.frames + sum(client.frames for client in self.clients.values())

    def run(self) -> Result:
        """Run from the first client's arrival to the end; then read the store."""
        self.server.start()
        for fault in self.scenario.faults_of(self._random_source):
            Call(self.clock, ns(fault.at_s), FAULT, self._begin_fault, fault)
        start_availability(self.clock, self.scenario, self._random_source, self._begin_fault, self.clients)
        arrive = self._arrive  # one bound method for all
        for group in self.scenario.groups:
            for visit in group.visits(self._random_source):
                Call(self.clock, visit.arrives_at, ARRIVAL, arrive, (group, visit))
        self._sample_later()
        with few_collections():
            self.clock.run(until=max(1, ns(self.scenario.end_s)))
        self._note_longest()
        self.trace.finish(self.clock.now)
        record_stored(self.trace, self.store.load(), self.clock.now, self.store.entries)
        return Result(self.scenario, self._random_source.replication, self.trace, self.frames)

    def _add_client(self, name: str, group: Group, cells: tuple[SimulatedCell, SimulatedCell] | None, nat: Ports | None) -> None:
        scenario = self.scenario
        access_link: ClientAccessLink = AccessLink(
            self.clock, name, group.path, self._random_source, self._report, cells, self._zone, nat
        )
        if self._frames is not None:
            access_link.watch = self._frames.watch
        part = scenario.client_of(group)
        session = ClientSession(
            name,
            config=part.config,
            policy=part.policy,
            fallback=part.fallback,
            heartbeat=part.heartbeat,
            random_source=self._random_source.of(name),
            outcomes_waiting_max=None if part.takes_per_s is None else part.outcomes_waiting_max,
        )
        self.access_links[name] = access_link
        self.clients[name] = ClientHost(
            session,
            access_link,
            self.server,
            self.trace,
            scenario.server.send_buffer_bytes,
            self._listen,
            self._tokens,
            part.takes_per_s,
            lateness_of(part.timer_granularity_s, part.timer_slack_s, self._random_source.of(name)),
        )

    def _arrive(self, call: Call) -> None:
        group, visit = call.argument
        client, until = self.clients[visit.client], ns(self.scenario.horizon_s)
        if visit.leaves_at is not None:
            until = min(until, visit.leaves_at)
            Call(self.clock, visit.leaves_at, ARRIVAL, lambda _: client.leave())
        client.start()
        WorkloadDriver(self.clock, client, self.scenario.workload_of(group), self._random_source.of(visit.client), until).start()

    # Faults.

    def _begin_fault(self, call: Call) -> None:
        fault: Fault = call.argument
        self.trace.add(FaultHappened(at=self.clock.now, fault=fault))
        if isinstance(fault, ServerFault):
            self._server_faults.begin(fault)
        elif not isinstance(fault, LinkFault):
            self._client_faults.begin(fault)
        else:
            for access_link in self._hit_by(fault):
                access_link.begin(fault)
        if hasattr(fault, "duration_s"):
            Call(self.clock, ns(fault.end_s), FAULT, self._end_fault, fault)

    def _end_fault(self, call: Call) -> None:
        fault: Fault = call.argument
        if isinstance(fault, ServerFault):
            self._server_faults.end(fault)
        elif not isinstance(fault, LinkFault):
            self._client_faults.end(fault)
            self._over(fault)
        else:
            for access_link in self._hit_by(fault):
                access_link.end(fault)
            self._over(fault)

    def _over(self, fault: Fault) -> None:
        self.trace.add(FaultOver(at=self.clock.now, fault=fault))

    def _new_epoch(self) -> str:
        self._epochs += 1
        return _id_bytes(self.scenario.seed, self._random_source.replication, f"epoch {self._epochs}").hex()

    def _note_path_trouble(self, client: str, what: PathTrouble, until: int) -> None:
        self.trace.add(PathTroubled(at=self.clock.now, client=client, what=what, until=until))

    def _hit_by(self, fault: Fault) -> list[ClientAccessLink]:
        if not fault.clients:
            return list(self.access_links.values())
        if len(fault.clients) == 1:
            return [self.access_links[fault.clients[0]]]
        hit = frozenset(fault.clients)  # only tested for membership, never iterated
        return [access_link for name, access_link in self.access_links.items() if name in hit]

    # Samples.

    def _sample_later(self) -> None:
        Call(self.clock, self.clock.now + ns(self.scenario.sample_interval_s), ALARM, self._sample)

    def _sample(self, _: Call) -> None:
        """A length is recorded when it differs from the last sample."""
        if self.server.process is not None:
            for queue, length, limit in self.server.process.queues():
                self._note("server", queue, length, limit)
            done = self.server.sample()
            if done is not None:
                self.trace.add(done)
        for place, ports in self._ports.items():
            self._note(place, "ports", ports.taken, ports.limit)
        for name, client in self.clients.items():
            for queue, length, limit in client.queues():
                self._note(name, queue, length, limit)
        self._sample_later()

    def _note_longest(self) -> None:
        """Record the exact maxima."""
        if self.server.process is not None:
            self.server.process.note_longest()
        now = self.clock.now
        for queue, length, limit in self.server.high_water:
            self.trace.add(QueuePeaked(at=now, place="server", queue=queue, length=length, limit=limit))
        for name, client in self.clients.items():
            for queue, length, limit in client.longest():
                self.trace.add(QueuePeaked(at=now, place=name, queue=queue, length=length, limit=limit))

    def _note(self, place: str, queue: str, length: int, limit: int) -> None:
        lengths = self._last_sampled[queue]
        if lengths.get(place, 0) != length:
            lengths[place] = length
            self.trace.add(QueueSampled(at=self.clock.now, place=place, queue=queue, length=length, limit=limit))


def _id_bytes(seed: int, replication: int, purpose: str) -> bytes:
    return blake2b(f"{seed}/{replication}/{purpose}".encode(), digest_size=16).digest()
