"""Both worlds play one scenario, and are compared."""

from reference.protocol.backoff import FullJitter
from reference.protocol.config import ClientConfig
from simulation.faults import Path
from simulation.scenario import ClientPart, Group, Scenario, Workload
from simulation.trace import ServerStarted, TraceStarted

from . import simpy_world, trio_world
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


def play_in_trio(scenario: Scenario, simulated: Transcript, *, schedule: int = 0) -> Transcript:
    """With the ids of the simulated run."""
    run_id = next(record.run_id for record in simulated.records if isinstance(record, TraceStarted))
    epoch = next(record.epoch for record in simulated.records if isinstance(record, ServerStarted))
    return trio_world.play(scenario, run_id, epoch, schedule=schedule)


def play_both(scenario: Scenario, *, schedules_max: int = 1) -> tuple[Transcript, Transcript]:
    """Play `scenario` in both worlds and return both transcripts. Raises AssertionError where they differ.

    `schedules_max` above 1 is for scenarios with ties: what SimPy tells must be what trio tells under one of so many schedules.
    """
    simulated = simpy_world.play(scenario)
    first = play_in_trio(scenario, simulated)
    if not differences(simulated, first):
        return simulated, first
    for schedule in range(1, schedules_max):
        other = play_in_trio(scenario, simulated, schedule=schedule)
        if not differences(simulated, other):
            return simulated, other
    assert_same(simulated, first)
    raise AssertionError("there were differences")
