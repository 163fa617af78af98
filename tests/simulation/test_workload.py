"""The workload: times and sizes of events."""

import json

import pytest

from reference.protocol.errors import ConfigError
from reference.protocol.timers import NS_PER_S
from simulation.scenario.distributions import Constant, Exponential, Pareto
from simulation.scenario.scenario import Group, Scenario, Workload
from simulation.scenario.workload import IDLE, OnOff, Periodic, Poisson, RecordedTimes, Stream, Timing
from simulation.trace.trace import Published, PublishRefused
from simulation.world import Result, run


def chats(timing: Timing, horizon_s: float = 60.0, clients: int = 1, size_bytes: Constant | Pareto | None = None) -> Result:
    workload = Workload(
        graft_per_s=0, prune_per_s=0, flag_per_s=0, cursor_per_s=0, chat=Stream(timing=timing, size_bytes=size_bytes)
    )
    group = Group(name="g", clients=clients, arrive_within_s=0)
    return run(Scenario(name="x", groups=(group,), horizon_s=horizon_s, settle_s=1, workload=workload))


def times_s(result: Result, client: str = "g-0") -> list[float]:
    return [record.at / NS_PER_S for record in result.trace if isinstance(record, Published) and record.client == client]


def test_periodic_events_come_like_a_clock() -> None:
    assert times_s(chats(Periodic(every_s=10.0, first_s=2.0))) == [2, 12, 22, 32, 42, 52]
    drawn = chats(Periodic(every_s=10.0), clients=2)
    phases = [times_s(drawn, client)[0] for client in ("g-0", "g-1")]
    assert phases[0] != phases[1]
    assert all(0 <= phase < 10 for phase in phases)


def test_recorded_events_come_as_they_came() -> None:
    assert times_s(chats(RecordedTimes(times_s=(1, 1.5, 4)))) == [1, 1.5, 4]
    assert times_s(chats(RecordedTimes(times_s=(1, 4), repeat_s=25))) == [1, 4, 26, 29, 51, 54]


def test_poisson_events_are_what_a_rate_is_short_for() -> None:
    short = Workload(graft_per_s=0, prune_per_s=0, flag_per_s=0, cursor_per_s=0, chat_per_s=2.0)
    scenario = Scenario(name="x", groups=(Group(name="g", arrive_within_s=0),), horizon_s=60, settle_s=1, workload=short)
    assert times_s(run(scenario)) == times_s(chats(Poisson(per_s=2.0)))


def test_bursts_are_poisson_while_on_and_nothing_while_off() -> None:
    times = times_s(chats(OnOff(per_s=5, on=Constant(value=2), off=Constant(value=8)), horizon_s=200))
    assert all(at % 10 < 2 for at in times)
    assert len(times) == pytest.approx(5 * 40, abs=3.3 * 200**0.5)
    assert times == sorted(times)


def test_bursts_of_drawn_lengths_keep_their_mean_rate() -> None:
    times = times_s(chats(OnOff(per_s=2, on=Exponential(scale=2), off=Exponential(scale=6)), horizon_s=1000))
    assert len(times) / 1000 == pytest.approx(0.5, rel=0.3)


def test_events_are_as_large_as_their_law_says() -> None:
    result = chats(Periodic(every_s=5.0, first_s=1.0), size_bytes=Constant(value=300))
    sizes = {len(json.dumps(record.data, separators=(",", ":"))) for record in result.trace if isinstance(record, Published)}
    assert sizes == {300}


def test_an_event_above_the_limit_is_refused_and_the_others_go_on() -> None:
    result = chats(Periodic(every_s=1.0, first_s=1.0), size_bytes=Pareto(scale=10_000, shape=1.0, most=1e6))
    refused = [record.error for record in result.trace if isinstance(record, PublishRefused)]
    assert refused
    assert set(refused) == {"InvalidEvent"}
    assert result.counts.accepted == result.counts.published > 20
    assert result.is_ok


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RecordedTimes(times_s=(2, 1)), "must not decrease"),
        (lambda: RecordedTimes(times_s=(1, 2), repeat_s=2), "above the last"),
        (lambda: OnOff(per_s=1, on=Constant(value=0), off=Constant(value=1)), "nothing would ever happen"),
    ],
)
def test_times_that_make_no_sense_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=message):
        make()


def test_nothing_is_nothing() -> None:
    assert IDLE.streams() == {}
