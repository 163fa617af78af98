"""The faults of the server: each has its described effect, and none violates a guarantee."""

from functools import cache

import msgspec
import pytest

from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode, ConfigError
from reference.protocol.policies.catalogue import Fixed
from reference.protocol.policies.fallback import NeverFallBack
from reference.protocol.timers import ns
from simulation.checks.checkers import check
from simulation.clock import ALARM, Call
from simulation.scenario.faults import ClockStep, Fault, Outage, Pause, Reset, RollingDeploy, ServerRestart, SlowStore
from simulation.scenario.scenario import ClientPart, Scenario, ServerPart, Workload
from simulation.trace.trace import (
    AcceptedRecord,
    AttemptMade,
    ConnectionLost,
    Delivered,
    EntryStored,
    FaultHappened,
    FaultOver,
    LogStored,
    Published,
    ResetTaken,
    ServerKilled,
    ServerStarted,
    ServerStopped,
    SessionJoined,
    SessionOver,
    Trace,
    WaitAsked,
)
from simulation.world import Result, World, run
from tests.simulation.worlds import calm

BUSY = Workload(graft_per_s=1, prune_per_s=0.5, flag_per_s=0.2, chat_per_s=1, cursor_per_s=0.5)


def after(*faults: Fault, clients: int = 3, **changes: object) -> Result:
    """A busy run with these faults, in which no guarantee is lost."""
    result = run(calm(clients, workload=BUSY, faults=faults, horizon_s=20.0, settle_s=80.0, **changes))
    assert result.is_ok, [text for verdict in result.verdicts.values() for text in verdict.violations]
    return result


def of(result: Result, kind: type) -> list:
    return [record for record in result.trace if isinstance(record, kind)]


def times(records: list) -> list[float]:
    return [record.at / 1e9 for record in records]


# Restarts.


def test_a_graceful_stop_closes_all_clients_and_stores_accepted_events() -> None:
    part = ServerPart(commit_time_s=0.4, go_away_retry_after_s=3.0, go_away_spread_s=4.0)
    result = after(ServerRestart(at_s=5, duration_s=2, is_graceful=True), server=part)
    assert not of(result, ServerKilled)
    (stopped,) = times(of(result, ServerStopped))
    assert 5.0 < stopped <= 5.4  # one commit was under way
    assert times(of(result, ServerStarted)) == [0.0, 7.0]
    assert {(wait.client, wait.retry_after_ms) for wait in of(result, WaitAsked)} == {(f"c-{n}", 3000) for n in range(3)}
    back = [attempt.at / 1e9 for attempt in of(result, AttemptMade) if attempt.at > 5e9]
    assert all(8.0 <= at <= 12.1 for at in back)
    assert max(back) - min(back) > 0.5  # spread
    assert result.verdicts["G10"].checked > 0
    assert result.verdicts["G11"].checked > 0
    stored = {entry.data["publishId"] for entry in of(result, EntryStored)}
    assert {publish.publish_id for publish in of(result, Published)} == stored


def test_a_process_that_is_still_stopping_is_waited_for() -> None:
    restart = ServerRestart(at_s=5, duration_s=0.1, is_graceful=True)
    result = after(restart, server=ServerPart(commit_time_s=2.0))
    (stopped,), (_, started), (over,) = (times(of(result, kind)) for kind in (ServerStopped, ServerStarted, FaultOver))
    assert stopped > 5.1
    assert stopped == started == over


def test_a_stop_that_takes_too_long_is_a_kill() -> None:
    result = after(
        ServerRestart(at_s=5, duration_s=1, is_graceful=True),
        SlowStore(at_s=4, duration_s=2, factor=15),
        server=ServerPart(commit_time_s=1.0),
    )
    assert not of(result, ServerStopped)
    assert times(of(result, ServerKilled)) == [15.0]
    assert times(of(result, ServerStarted)) == [0.0, 15.0]


def test_a_kill_in_the_middle_of_a_stop() -> None:
    stop = ServerRestart(at_s=5, duration_s=1, is_graceful=True)
    result = after(stop, ServerRestart(at_s=5.5, duration_s=3), server=ServerPart(commit_time_s=2.0))
    assert not of(result, ServerStopped)
    assert times(of(result, ServerKilled)) == [5.5]
    assert times(of(result, ServerStarted)) == [0.0, 8.5]


@cache
def lost_store() -> Result:
    return after(ServerRestart(at_s=8, duration_s=1, loses_state=True))


def test_a_lost_store_begins_a_new_history_and_reports_it() -> None:
    result = lost_store()
    first, second = of(result, ServerStarted)
    assert first.epoch != second.epoch
    assert second.head == 0
    assert next((log.at, log.epoch) for log in of(result, LogStored)) == (8_000_000_000, first.epoch)
    assert {(taken.client, taken.reason) for taken in of(result, ResetTaken)} == {(f"c-{n}", "epoch") for n in range(3)}
    before = sum(accepted.at < 8e9 for accepted in of(result, AcceptedRecord))
    assert result.counts.lost_with_store >= before > 0
    assert result.counts.lost == 0
    assert result.verdicts["G11"].checked >= before
    assert {epoch for epoch, _ in result.trace_index.entries} == {first.epoch, second.epoch}
    assert all(verdict.checked for verdict in (result.verdicts["G3"], result.verdicts["G5"]))


def test_a_store_that_is_lost_without_a_reset_is_a_violation() -> None:
    result = lost_store()
    epoch = of(result, ServerStarted)[0].epoch
    silent = [record for record in result.trace if not isinstance(record, LogStored | EntryStored) or record.epoch != epoch]
    assert not check(Trace(silent))["G11"].violated  # it was declared
    silent = [record for record in silent if not isinstance(record, FaultHappened)]
    assert check(Trace(silent))["G11"].violated


def test_a_graceful_restart_cannot_lose_its_store() -> None:
    with pytest.raises(ConfigError, match="keeps its store"):
        ServerRestart(at_s=1, duration_s=1, is_graceful=True, loses_state=True)


# Deploys.


def deployed(*, is_graceful: bool, balancing: str = "least_connections") -> Result:
    part = ServerPart(instances=3, balancing=balancing, go_away_retry_after_s=0.5, go_away_spread_s=0.5)
    return after(RollingDeploy(at_s=5, duration_s=6, is_graceful=is_graceful), clients=6, server=part)


@pytest.mark.parametrize("balancing", ["least_connections", "draw"])
def test_a_rolling_deploy_takes_one_instance_after_the_other(balancing: str) -> None:
    result = deployed(is_graceful=True, balancing=balancing)
    assert not of(result, ServerKilled)
    assert not of(result, ServerStopped)
    assert len(of(result, ServerStarted)) == 1  # the run goes on
    waits = of(result, WaitAsked)
    assert {wait.at // 1_000_000_000 for wait in waits} <= {5, 7, 9}
    assert {wait.client for wait in waits} == {f"c-{n}" for n in range(6)}  # each instance in its turn
    per_turn = [sum(wait.at // 1_000_000_000 == at for wait in waits) for at in (5, 7, 9)]
    assert per_turn[0] == 2 if balancing == "least_connections" else sum(per_turn) >= 6


def test_an_instance_that_is_replaced_takes_nobody_until_it_is_back() -> None:
    part = ServerPart(instances=3, go_away_retry_after_s=0.5, go_away_spread_s=0.5)
    world = World(calm(6, faults=(RollingDeploy(at_s=5, duration_s=6),), server=part))
    seen: list[tuple[int, ...]] = []
    for at_s in (4.9, 6.9, 8.9, 10.9):  # before it, and at the end of each turn, when all are back somewhere
        Call(world.clock, ns(at_s), ALARM, lambda _: seen.append(world.server.instances.connections))
    world.run()
    assert seen == [(2, 2, 2), (0, 3, 3), (3, 0, 3), (3, 3, 0)]


def test_a_hard_deploy_resets_connections() -> None:
    result = deployed(is_graceful=False)
    assert not of(result, WaitAsked)
    losses = of(result, ConnectionLost)
    assert {loss.message for loss in losses} == {"the connection was reset"}
    assert {loss.client for loss in losses} == {f"c-{n}" for n in range(6)}


def test_a_deploy_needs_instances() -> None:
    with pytest.raises(ConfigError, match=r"faults\[0\]: a rolling_deploy needs server.instances above 1"):
        calm(faults=(RollingDeploy(at_s=1, duration_s=1),))


# Pauses, slow stores, clocks.


def test_a_paused_process_does_everything_later() -> None:
    result = after(Pause(at_s=5, duration_s=4))
    assert not of(result, ConnectionLost)
    delivered = [record.at / 1e9 for record in of(result, Delivered)]
    assert not [at for at in delivered if 5.1 < at < 9.0]
    assert [at for at in delivered if 9.0 <= at < 9.1]
    assert result.counts.unsettled == 0


def test_a_process_that_is_killed_while_it_stands_still_does_not_come_back() -> None:
    result = after(Pause(at_s=5, duration_s=10), ServerRestart(at_s=7, duration_s=1))
    assert times(of(result, ServerStarted)) == [0.0, 8.0]
    assert [record for record in of(result, Delivered) if 8e9 < record.at < 15e9]


def test_pauses_overlap() -> None:
    result = after(Pause(at_s=5, duration_s=2), Pause(at_s=6, duration_s=3))
    assert not [record for record in of(result, Delivered) if 5.1e9 < record.at < 9.0e9]


def test_a_slow_store_makes_answers_late_and_no_more() -> None:
    result = after(SlowStore(at_s=5, duration_s=5, factor=100), server=ServerPart(commit_time_s=0.01))
    published = {(record.client, record.ticket): record.at for record in of(result, Published)}
    took = [(record.at, (record.at - published[record.client, record.ticket]) / 1e9) for record in of(result, AcceptedRecord)]
    assert min(seconds for at, seconds in took if 6e9 < at < 10e9) > 1.0  # a commit takes a second, and they wait for each other
    assert max(seconds for at, seconds in took if at < 5e9 or at > 12e9) < 0.2


def test_a_clock_that_steps_is_felt_after_the_next_start() -> None:
    result = after(ClockStep(at_s=5, step_s=-3600), ServerRestart(at_s=10, duration_s=1))
    assert result.counts.lost == 0
    again = after(ServerRestart(at_s=10, duration_s=1))
    assert times(of(result, AcceptedRecord)) == times(of(again, AcceptedRecord))  # nothing but what clocks show


# Tokens.


def tokens(*faults: Fault, lifetime_s: float = 10.0, refreshes: bool = True, **changes: object) -> Scenario:
    config = msgspec.structs.replace(changes.pop("config", ClientConfig()), refreshes_token=refreshes)
    return calm(
        2,
        workload=BUSY,
        faults=faults,
        horizon_s=30.0,
        settle_s=60.0,
        server=ServerPart(token_lifetime_s=lifetime_s, token_refresh_time_s=0.3),
        client=ClientPart(config=config),
    )


def test_tokens_are_refreshed_in_band() -> None:
    result = run(tokens())
    assert result.is_ok
    assert not of(result, ConnectionLost)
    assert {client.state.value for client in result.trace_index.clients.values()} == {"live"}


def test_without_a_new_token_the_session_ends_a_grace_after_the_old_one() -> None:
    result = run(tokens(refreshes=False))
    assert [(round(over.at / 1e9), over.code) for over in of(result, SessionOver)] == [(40, CloseCode.TOKEN)] * 2


def test_a_token_that_expires_in_an_outage_is_refused_and_replaced() -> None:
    result = run(tokens(Outage(at_s=3, duration_s=25, clients=("c-0",)), lifetime_s=12.0))
    assert result.is_ok
    refused = [loss for loss in of(result, ConnectionLost) if loss.code == CloseCode.TOKEN]
    assert {loss.client for loss in refused} == {"c-0"}
    assert refused[0].at > 28e9
    assert {client.state.value for client in result.trace_index.clients.values()} == {"live"}


def test_a_wait_that_is_longer_than_a_token_lives_does_not_keep_a_client_out() -> None:
    """Found by the drawn scenarios: the token that came for an attempt was as old as the last when the attempt was made."""
    scenario = tokens(Reset(at_s=1.0, clients=("c-0",)))
    scenario = msgspec.structs.replace(
        scenario, client=ClientPart(config=scenario.client.config, policy=Fixed(seconds=12.0), fallback=NeverFallBack())
    )
    result = run(scenario)
    assert result.is_ok
    assert [loss.code for loss in of(result, ConnectionLost)] == [None, CloseCode.TOKEN]
    assert [round(join.at / 1e9) for join in of(result, SessionJoined) if join.is_return] == [13]


def test_a_clock_that_is_ahead_takes_no_token() -> None:
    """After the next start every token looks expired, and nobody is let in: found by the codes that clients are given."""
    result = run(tokens(ClockStep(at_s=5, step_s=3600), ServerRestart(at_s=10, duration_s=1)))
    assert not [join for join in of(result, SessionJoined) if join.at > 10e9]
    assert {loss.code for loss in of(result, ConnectionLost) if loss.at > 15e9} == {CloseCode.TOKEN}
