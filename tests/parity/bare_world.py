"""The scenario with the bare machines: ClientSession, Run, and a list of what happens next. No SimPy, no trio, no processes.

    ClientSession -- Agenda, a list of (when, what) -- Run -- the model of a store
                            the same faults

It is the shortest driver that could be right, so it says what the other two are to tell. Every fault that they are compared on
has a meaning here (outages, stalls, resets, half-open connections, refusals, blocked upgrades, kills of the server, in the middle
of a commit too); what is not there is what only bytes have: bandwidth, jitter, loss, full buffers. Where a scenario asks for one
of these, ValueError is raised.

Of what happens at one instant, arrivals are first, then faults, then alarms, as in the simulator: a frame that arrives at the
very moment of a timeout has arrived. With `alarms_first` it has not, as on trio, where a frame has more tasks to pass than an
alarm.
"""

from reference.protocol.client.session import ClientSession
from reference.protocol.timers import ns
from simulation.adversary.model import StoreModel
from simulation.random import RandomStreams
from simulation.scenario.faults import Fault, ServerRestart
from simulation.scenario.scenario import Scenario, ServerPart
from simulation.trace.trace import FaultHappened, FaultOver
from simulation.trace.writer import record_stored

from .bare_ends import BareClient, BareServer
from .bare_link import ARRIVAL, FAULT, AccessLink, Agenda
from .inputs import Part, limits_of, parts_of
from .transcript import Tape, Transcript

WORLD = "bare machines"


def play(scenario: Scenario, run_id: str, epoch: str, *, alarms_first: bool = False) -> Transcript:
    """Run `scenario` to its end. Raises ValueError if it asks for what this world does not have."""
    return _World(scenario, run_id, epoch, alarms_first).play()


class _World:
    def __init__(self, scenario: Scenario, run_id: str, epoch: str, alarms_first: bool) -> None:
        server = scenario.server
        if server != ServerPart(config=server.config, commit_time_s=server.commit_time_s):
            raise ValueError(f"the bare world knows a server's config and its commit time only, not {server}")
        self._scenario = scenario
        self._alarms_first = alarms_first
        self._agenda = Agenda()
        self._message_log = Tape()
        self._store = StoreModel(run_id, epoch)
        self._random_source = RandomStreams(scenario.seed)
        limits, commit_time, random_source = limits_of(scenario), ns(server.commit_time_s), self._random_source.of("store")
        self._server = BareServer(self._agenda, self._message_log, self._store, server.config, limits, commit_time, random_source)
        self._restarts_under_way = 0
        self._links: dict[str, AccessLink] = {}
        self._clients: list[BareClient] = []
        for part in parts_of(scenario):
            self._add_client(part)

    def play(self) -> Transcript:
        end = ns(self._scenario.end_s)
        self._server.start()
        for fault in self._scenario.resolved_faults:
            self._agenda.enter(ns(fault.at_s), FAULT, lambda fault=fault: self._begin(fault))
        while self._do_next(end):
            pass
        history = self._store.now
        record_stored(self._message_log, self._store.load(), end, history.entries)
        return Transcript(WORLD, self._message_log.entries)

    def _do_next(self, end: int) -> bool:
        """Let the next thing happen. Returns whether there was one before `end`."""
        machines = (self._server, *self._clients)
        alarms = [(at, machine) for machine in machines if (at := machine.next_deadline()) is not None]
        alarm_at = min((at for at, _ in alarms), default=end)
        next_at = self._agenda.next_at
        if next_at is not None and (next_at < alarm_at or (next_at == alarm_at and not self._alarms_first)):
            if next_at < end:
                self._agenda.do_next()
            return next_at < end
        if alarm_at < end:
            self._agenda.now = max(self._agenda.now, alarm_at)
            next(machine for at, machine in alarms if at == alarm_at).ring()
        return alarm_at < end

    def _add_client(self, part: Part) -> None:
        scenario, name = self._scenario, part.name
        link = self._links[name] = AccessLink(self._agenda, part.path, self._server)
        self._server.links.append(link)
        behaves = scenario.client
        session = ClientSession(
            name,
            config=behaves.config,
            policy=behaves.policy,
            fallback=behaves.fallback,
            heartbeat=behaves.heartbeat,
            random_source=self._random_source.of(name),
        )
        client = BareClient(name, session, self._agenda, link, self._message_log)
        self._clients.append(client)
        self._agenda.enter(part.arrives_at, ARRIVAL, client.start)
        for action in part.steps_taken:
            self._agenda.enter(action.at, ARRIVAL, lambda action=action: client.do(action))

    # Faults.

    def _begin(self, fault: Fault) -> None:
        self._message_log.add(FaultHappened(at=self._agenda.now, fault=fault))
        if isinstance(fault, ServerRestart):
            self._restarts_under_way += 1
            if self._restarts_under_way == 1:
                self._server.kill()
        else:
            for link in self._hit_by(fault):
                link.begin(fault)
        if hasattr(fault, "duration_s"):
            self._agenda.enter(ns(fault.end_s), FAULT, lambda: self._end(fault))

    def _end(self, fault: Fault) -> None:
        if isinstance(fault, ServerRestart):
            self._restarts_under_way -= 1
            if self._restarts_under_way == 0:
                self._server.start()
        else:
            for link in self._hit_by(fault):
                link.end(fault)
        self._message_log.add(FaultOver(at=self._agenda.now, fault=fault))

    def _hit_by(self, fault: Fault) -> list[AccessLink]:
        return [link for name, link in self._links.items() if fault.hits(name)]
