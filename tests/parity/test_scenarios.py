"""The simulator is faithful: the bare machines, SimPy and the shells on trio tell the same of one scenario, to the nanosecond.

Compared are, for every client, each frame that its session sends and receives with its content, each state, each outcome for
its application, each attempt, request and loss of its connections; for the server each session that joins and leaves; and
the log in the store. `transcript` says what is left out, docs/parity.md why.
"""

from typing import Literal

import msgspec
import pytest

from reference.protocol import frames
from reference.protocol.config import ServerConfig
from reference.protocol.states import ClientState
from simulation.scenario.faults import BlockUpgrade, Fault, HalfOpen, Outage, Refuse, Reset, ServerRestart, Stall
from simulation.scenario.scenario import Scenario, ServerPart, Workload
from simulation.trace.trace import (
    AttemptMade,
    ConnectionLost,
    CursorSeen,
    Delivered,
    EntryStored,
    PresenceSeen,
    RequestMade,
    ServerStarted,
    SessionJoined,
    SnapshotTaken,
    StateTurned,
)

from . import simpy_world
from .comparison import TIME_NS_MAX, assert_same, differences, largest_time_difference
from .play import CLIENTS, QUICK, SCHEDULES_MAX, play_everywhere, play_in_trio, scenario_of
from .transcript import FrameSeen, Transcript

SMALL_WINDOW = ServerConfig(events_kept_max=64, appends_pending_max=64, snapshot_interval_events=32)
WITHOUT_CURSORS = Workload(graft_per_s=0.3, prune_per_s=0.2, flag_per_s=0.1, chat_per_s=0.3, cursor_per_s=0)
QUIET = Workload(graft_per_s=0, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0)
POLLS_AT_ONCE = msgspec.structs.replace(QUICK, fallback_after_failures=1)


def rich() -> Scenario:
    """Drops that are noticed at once and late, a fallback with its return, and a server that dies twice."""
    scenario = scenario_of(
        Reset(at_s=6.1, clients=("ada",)),
        Stall(at_s=7.3, duration_s=1.7, clients=("cyd",)),
        BlockUpgrade(at_s=9.4, duration_s=21.0, clients=("ben",)),
        ServerRestart(at_s=15.05, duration_s=2.5),
        Outage(at_s=24.2, duration_s=27.0, clients=("ada",)),
        Refuse(at_s=25.3, duration_s=1.5, clients=("dan",)),
        Reset(at_s=25.4, clients=("dan",)),
        HalfOpen(at_s=26.7, clients=("cyd",)),
        Outage(at_s=44.9, duration_s=0.8, clients=("dan",)),
        ServerRestart(at_s=56.031, duration_s=0.4),
        clients=4,
        horizon_s=60.0,
        settle_s=15.0,
    )
    return scenario.replace(server=ServerPart(config=SMALL_WINDOW))


def reported(transcript: Transcript, client: str, kind: type) -> list:
    return [record for record in transcript.records if isinstance(record, kind) and record.client == client]


def test_a_rich_scenario_is_the_same_in_every_world() -> None:
    bare, simulated, real, _ = play_everywhere(rich())
    assert largest_time_difference(bare, simulated) == 0, "both count whole nanoseconds"
    assert largest_time_difference(simulated, real) <= TIME_NS_MAX

    # The scenario is as rich as it is meant to be.
    states = {name: [turn.state for turn in reported(real, f"{name}-0", StateTurned)] for name in ("ada", "ben", "cyd", "dan")}
    assert all(len(turns) >= 9 and turns[-1] is ClientState.LIVE for turns in states.values()), states
    assert ClientState.POLLING in states["ben"]
    assert ClientState.PROBE_PROVING in states["ben"], "it came back by a probe"
    assert {request.request for request in reported(real, "ben-0", RequestMade)} == {"poll", "publishMany"}
    assert any(taken.reason == "expired" for taken in reported(real, "ada-0", SnapshotTaken)), (
        "the long outage outlived the window"
    )
    assert {event.event_type for event in reported(real, "dan-0", Delivered)} == {"GRAFT", "PRUNE", "FLAG", "CHAT"}
    assert reported(real, "dan-0", CursorSeen)
    assert reported(real, "dan-0", PresenceSeen)
    assert sum(isinstance(record, SessionJoined) for record in real.records) >= 14
    assert sum(isinstance(record, EntryStored) for record in real.records) > 150
    assert len(real.frames_seen) > 1500


@pytest.mark.slow
@pytest.mark.parallel
def test_the_order_in_which_trio_runs_its_tasks_does_not_matter() -> None:
    scenario = rich()
    simulated = simpy_world.play(scenario)
    assert_same(simulated, play_in_trio(scenario, simulated, schedule=1))


ONE_OF_EACH = [
    Outage(at_s=6.3, duration_s=3.0, clients=("ada",)),
    Outage(at_s=6.3, duration_s=25.0, clients=("ada",)),
    Stall(at_s=6.3, duration_s=3.0, clients=("ada",)),
    Stall(at_s=6.3, duration_s=25.0, clients=("ada",)),
    Reset(at_s=6.3, clients=("ada",)),
    HalfOpen(at_s=6.3, clients=("ada",)),
    Refuse(at_s=0.0, duration_s=9.0, clients=("ada",)),
    BlockUpgrade(at_s=6.3, duration_s=9.0, clients=("ada",)),
    BlockUpgrade(at_s=6.3, duration_s=9.0, clients=("ada",), how="strip"),
    BlockUpgrade(at_s=6.3, duration_s=23.0, clients=("ada",), how="hang"),
    Outage(at_s=6.3, duration_s=3.0, clients=("ada",), direction="up"),
    Outage(at_s=6.3, duration_s=3.0, clients=("ada",), direction="down"),
    HalfOpen(at_s=6.3, clients=("ada",), direction="up"),
    HalfOpen(at_s=6.3, clients=("ada",), direction="down"),
    ServerRestart(at_s=6.3, duration_s=0.05),
    ServerRestart(at_s=6.3, duration_s=6.0),
]


def name_of(fault: object) -> str:
    kind = getattr(fault, "how", getattr(fault, "direction", "all"))
    return f"{type(fault).__name__}-{kind}-{getattr(fault, 'duration_s', 'once')}"


@pytest.mark.parametrize("fault", ONE_OF_EACH, ids=name_of)
def test_each_fault_on_websockets(fault: object) -> None:
    play_everywhere(scenario_of(fault))


@pytest.mark.parametrize("fault", [fault for fault in ONE_OF_EACH if not isinstance(fault, BlockUpgrade)], ids=name_of)
def test_each_fault_on_a_client_that_polls(fault: object) -> None:
    """A poll and a publish travel on two connections; where both arrive in one instant, their order is a tie."""
    blocked = BlockUpgrade(at_s=0.0, duration_s=18.0, clients=("ada",))
    scenario = scenario_of(blocked, fault, config=POLLS_AT_ONCE, workload=WITHOUT_CURSORS)
    simulated = play_everywhere(scenario, schedules_max=SCHEDULES_MAX).simulated
    assert reported(simulated, "ada-0", RequestMade)


@pytest.mark.parametrize("how", ["block", "strip", "hang"])
def test_a_client_without_websockets_falls_back_and_comes_back(how: Literal["block", "strip", "hang"]) -> None:
    """A proxy that took the upgrade's headers away once made the shipped server say that there is no such run: the end."""
    config = msgspec.structs.replace(POLLS_AT_ONCE, connect_timeout_s=3.1)
    blocked = BlockUpgrade(at_s=0.0, duration_s=14.0, clients=("ada",), how=how)
    simulated = play_everywhere(
        scenario_of(blocked, config=config, workload=WITHOUT_CURSORS), schedules_max=SCHEDULES_MAX
    ).simulated
    states = [turn.state for turn in reported(simulated, "ada-0", StateTurned)]
    assert ClientState.POLLING in states
    assert states[-1] is ClientState.LIVE


def test_of_several_blocks_the_last_one_decides() -> None:
    """The first of the two that hang ends last; the simulator and the emulator ended it with the other, which began later."""
    faults = (
        BlockUpgrade(at_s=0.1, duration_s=7.1, how="hang"),
        BlockUpgrade(at_s=0.2, duration_s=13.9),
        BlockUpgrade(at_s=0.3, duration_s=0.2, how="hang"),
    )
    config = msgspec.structs.replace(QUICK, fallback_after_failures=None)
    real = play_everywhere(scenario_of(*faults, config=config, horizon_s=8.0)).real
    first = next(record.at for record in real.records if isinstance(record, ConnectionLost))
    assert first < 3e9, "it was refused, and did not hang"


@pytest.mark.parametrize("later", [ServerRestart(at_s=4.3, duration_s=0.1), BlockUpgrade(at_s=4.3, duration_s=0.2)], ids=name_of)
def test_an_upgrade_that_is_never_answered_is_not_a_connection(later: object) -> None:
    """The server is not connected any more, so its end does not reach the client; and it is no WebSocket that could be cut. The
    simulator passed on a reset of the killed server, the emulator cut it as a WebSocket."""
    hung = BlockUpgrade(at_s=0.0, duration_s=2.0, clients=("ada",), how="hang")
    config = msgspec.structs.replace(QUICK, fallback_after_failures=None)
    real = play_everywhere(scenario_of(hung, later, config=config, horizon_s=8.0)).real
    tries = reported(real, "ada-0", AttemptMade)
    assert tries[1].at - tries[0].at > 10e9, "only its own limit has ended the first"


def test_a_run_without_publishes_has_equal_heartbeats() -> None:
    """Only heartbeats, pings and acks are left; their phases come from when a run is loaded, before and after a restart."""
    simulated = play_everywhere(scenario_of(ServerRestart(at_s=10.0, duration_s=7.3), workload=QUIET, horizon_s=70.0)).simulated
    kinds = {type(seen.frame).__name__ for seen in simulated.frames_seen}
    assert {"Heartbeat", "Ping", "Pong"} <= kinds


def test_a_crash_in_the_middle_of_a_commit_is_drawn_alike() -> None:
    """Whether the disk has the batch is unknown; the next copy of the publish finds out."""
    outcomes = set()
    for seed in (3, 7):
        scenario = scenario_of(seed=seed, horizon_s=8.0, settle_s=8.0)
        first = next(seen for seen in simpy_world.play(scenario).frames_seen if seen.at > 5e9 and is_accepted(seen))
        committed_s = first.at / 1e9 - CLIENTS[first.client.removesuffix("-0")]
        restart = ServerRestart(at_s=committed_s - scenario.server.commit_time_s / 2, duration_s=0.3)
        simulated = play_everywhere(scenario.replace(faults=(restart,))).simulated
        restarted = [record for record in simulated.records if isinstance(record, ServerStarted)][1]
        outcomes.add(restarted.head >= first.frame.sequence_number)
    assert outcomes == {False, True}, "both ways must have come up"


def is_accepted(seen: FrameSeen) -> bool:
    return isinstance(seen.frame, frames.Accepted)


def test_another_seed_or_another_nanosecond_gives_a_difference() -> None:
    """The comparison sees what it is there to see."""
    scenario = scenario_of(Reset(at_s=4.0, clients=("ada",)), horizon_s=6.0, settle_s=4.0)
    simulated = play_everywhere(scenario).simulated
    slower = scenario.replace(faults=(Reset(at_s=4.000001, clients=("ada",)),))
    found = differences(simulated, play_in_trio(slower, simulated))
    assert found
    assert "1000 ns apart" in str(found[0])
    assert differences(simulated, play_in_trio(scenario.replace(seed=4), simulated))


RESETS_THAT_ARE_LOST = {
    "killed-in-an-outage": (Outage(at_s=6.2, duration_s=4.0), ServerRestart(at_s=6.3, duration_s=1.0)),
    "reset-swallowed-on-its-way": (ServerRestart(at_s=6.3, duration_s=1.0), Outage(at_s=6.31, duration_s=3.0)),
    "killed-while-only-the-way-down-is-lost": (
        Outage(at_s=6.2, duration_s=9.0, direction="down"),
        ServerRestart(at_s=6.3, duration_s=1.0),
    ),
    "refused-in-an-outage": (
        Reset(at_s=6.0),
        Refuse(at_s=5.9, duration_s=3.0),
        Outage(at_s=6.4, duration_s=4.0, direction="down"),
    ),
    "upgrades-cut-in-an-outage": (Outage(at_s=6.2, duration_s=4.0), BlockUpgrade(at_s=6.3, duration_s=1.0)),
}


@pytest.mark.parametrize("faults", RESETS_THAT_ARE_LOST.values(), ids=RESETS_THAT_ARE_LOST.keys())
def test_resets_that_are_lost(faults: tuple[Fault, ...]) -> None:
    play_everywhere(scenario_of(*faults))
