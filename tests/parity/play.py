"""Three worlds play one scenario, and are compared: the bare machines, the simulator, and the shells on trio."""

from typing import NamedTuple

from reference.protocol.config import ClientConfig
from reference.protocol.policies.reconnect import FullJitter
from simulation.scenario.faults import Path
from simulation.scenario.scenario import ClientPart, Group, Scenario, Workload
from simulation.trace.trace import ServerStarted, TraceStarted

from . import bare_world, simpy_world, trio_world
from .comparison import assert_same, differences
from .transcript import Transcript

CLIENTS = {"ada": 0.0213, "ben": 0.0347, "cyd": 0.0512, "dan": 0.0089}
"""One-way latencies in seconds, all different: so no two clients' frames that have one cause arrive at the server in the same
instant, where their order would be the scheduler's."""
BUSY = Workload(graft_per_s=0.3, prune_per_s=0.2, flag_per_s=0.1, chat_per_s=0.3, cursor_per_s=1.0)
QUICK = ClientConfig(cursor_interval_s=0.047, fallback_after_failures=3, probe_interval_s=5.0)
"""The default cursor interval is half of the server's, so that cursors would arrive exactly when the server tells them."""

PATIENT = FullJitter(floor_s=2.3)
"""A floor above the poll interval: a publish that failed is sent again at a time that is drawn, and not exactly one poll interval
later, when the answer to the next poll arrives."""
SCHEDULES_MAX = 16
"""Of trio's, for clients that poll: enough to settle a tie or two in every way."""


def scenario_of(
    *faults: object,
    clients: int = 2,
    seed: int = 3,
    horizon_s: float = 20.0,
    settle_s: float = 20.0,
    workload: Workload = BUSY,
    config: ClientConfig = QUICK,
    policy: FullJitter = FullJitter(),  # noqa: B008 - it is frozen
) -> Scenario:
    """A scenario with that many clients (called `ada-0`, ...; a fault may name `ada`) and those faults."""
    groups = tuple(Group(name=name, path=Path(latency_s=latency_s)) for name, latency_s in list(CLIENTS.items())[:clients])
    return Scenario(
        name="parity",
        seed=seed,
        horizon_s=horizon_s,
        settle_s=settle_s,
        groups=groups,
        workload=workload,
        faults=faults,
        client=ClientPart(config=config, policy=policy),
    )


class Played(NamedTuple):
    """The transcripts of the three worlds. `tied`: that of the bare machines once more, with alarms before arrivals of the same
    instant, if trio's equals it."""

    bare: Transcript
    simulated: Transcript
    real: Transcript
    tied: Transcript | None = None

    def pairs(self) -> tuple[tuple[Transcript, Transcript], ...]:
        """The pairs that must be equal: all of them, except for what a tie explains."""
        if self.tied is not None:
            return (self.bare, self.simulated), (self.tied, self.real)
        return (self.simulated, self.real), (self.bare, self.simulated), (self.bare, self.real)


def ids_of(simulated: Transcript) -> tuple[str, str]:
    """The ids of the run and of its epoch, which the simulator draws and the other worlds are given."""
    run_id = next(record.run_id for record in simulated.records if isinstance(record, TraceStarted))
    return run_id, next(record.epoch for record in simulated.records if isinstance(record, ServerStarted))


def play_in_trio(scenario: Scenario, simulated: Transcript, *, schedule: int = 0) -> Transcript:
    """With the ids of the simulated run."""
    return trio_world.play(scenario, *ids_of(simulated), schedule=schedule)


def play_in_all(scenario: Scenario, *, schedules_max: int = 1) -> Played:
    """Play `scenario` in the three worlds.

    `schedules_max` above 1 is for scenarios with ties: trio is then run under several schedules. The result has its first
    transcript that equals the simulator's; without one, the first that equals that of the bare machines with alarms first;
    without one, that of the first schedule.
    """
    simulated = simpy_world.play(scenario)
    bare = bare_world.play(scenario, *ids_of(simulated))
    reals: list[Transcript] = []
    for schedule in range(schedules_max):
        reals.append(play_in_trio(scenario, simulated, schedule=schedule))
        if not differences(simulated, reals[-1]):
            return Played(bare, simulated, reals[-1])
    if schedules_max > 1:
        tied = bare_world.play(scenario, *ids_of(simulated), alarms_first=True)
        for real in reals:
            if not differences(tied, real):
                return Played(bare, simulated, real, tied)
    return Played(bare, simulated, reals[0])


def play_everywhere(scenario: Scenario, *, schedules_max: int = 1) -> Played:
    """As `play_in_all`. Raises AssertionError where two worlds differ, and no tie explains it."""
    played = play_in_all(scenario, schedules_max=schedules_max)
    for left, right in played.pairs():
        assert_same(left, right)
    return played
