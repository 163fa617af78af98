"""Small scenarios that the tests share."""

from functools import cache

from reference.protocol.config import ClientConfig
from reference.protocol.timers import NS_PER_S
from simulation.scenario.distributions import Exponential
from simulation.scenario.faults import (
    BlockUpgrade,
    ClockStep,
    HalfOpen,
    Outage,
    Path,
    Pause,
    Reset,
    RollingDeploy,
    ServerRestart,
    SlowStore,
)
from simulation.scenario.scenario import Capacity, ClientPart, Group, Scenario, ServerPart, Shedding, Workload
from simulation.scenario.workload import IDLE
from simulation.trace.trace import ConnectionLost, Trace
from simulation.world import Result, run

QUIET = IDLE


def calm(clients: int = 2, path: Path | None = None, **changes: object) -> Scenario:
    """A short run in which nothing goes wrong; `changes` as for Scenario."""
    group = Group(name="c", clients=clients, path=path or Path(), arrive_within_s=0.0)
    return Scenario(name="calm", groups=(group,), horizon_s=10.0, settle_s=5.0).replace(**changes)


def everything(**changes: object) -> Scenario:
    """A minute in which every guarantee is put to the test."""
    return Scenario(
        name="everything",
        horizon_s=60.0,
        groups=(Group(name="a", clients=4), Group(name="b", clients=2, path=Path(latency_s=0.05, jitter_s=0.02))),
        workload=Workload(graft_per_s=0.5, prune_per_s=0.2, flag_per_s=0.1, chat_per_s=0.3, cursor_per_s=0.5),
        faults=(
            Outage(at_s=8, duration_s=5, clients=("b",)),
            Reset(at_s=15, clients=("a-0",)),
            ServerRestart(at_s=20, duration_s=2),
            HalfOpen(at_s=30, clients=("a-1",)),
            BlockUpgrade(at_s=35, duration_s=20, clients=("b-0",)),
        ),
    ).replace(**changes)


def troubled_server() -> Scenario:
    """A busy machine with every fault of the server, and tokens that expire."""
    scenario = everything()
    cost = Exponential(scale=0.02)
    return scenario.replace(
        faults=(
            Pause(at_s=5, duration_s=3),
            RollingDeploy(at_s=10, duration_s=6),
            SlowStore(at_s=18, duration_s=5, factor=30),
            ClockStep(at_s=20, step_s=-60),
            ServerRestart(at_s=25, duration_s=2, is_graceful=True),
            ServerRestart(at_s=35, duration_s=2, loses_state=True),
            RollingDeploy(at_s=45, duration_s=4, is_graceful=False),
        ),
        server=ServerPart(
            commit_time=Exponential(scale=0.005),
            capacity=Capacity(
                processors=2,
                accepts_per_s=3.0,
                accept_backlog_max=2,
                handshake_cost=cost,
                authentication_cost=cost,
                frame_cost=Exponential(scale=0.001),
                delivery_cost=Exponential(scale=0.001),
                replay_event_cost=Exponential(scale=0.001),
                shedding=Shedding(queue_wait_max_s=0.03, retry_after_s=1.0, spread_s=2.0),
            ),
            token_lifetime_s=20.0,
            instances=3,
            balancing="draw",
        ),
        client=ClientPart(config=ClientConfig(refreshes_token=True)),
    )


@cache
def everything_result() -> Result:
    """One run of `everything`; it is read and never changed."""
    return run(everything())


def times(trace: Trace, kind: type, **fields: object) -> list[float]:
    """When records of this kind with these fields happened, in seconds."""
    return [
        record.at / NS_PER_S
        for record in trace
        if isinstance(record, kind) and all(getattr(record, name) == value for name, value in fields.items())
    ]


def lost(scenario: Scenario) -> list[tuple[float, str | None]]:
    """When connections were lost, in seconds, and why."""
    return [(record.at / NS_PER_S, record.message) for record in run(scenario).trace if isinstance(record, ConnectionLost)]
