"""Small scenarios that the tests share."""

from functools import cache

from simulation.faults import BlockUpgrade, HalfOpen, Outage, Path, Reset, ServerRestart
from simulation.scenario import Group, Scenario, Workload
from simulation.world import Result, run

QUIET = Workload(graft_per_s=0, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0)


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


@cache
def everything_result() -> Result:
    """One run of `everything`; it is read and never changed."""
    return run(everything())
