"""All experiments of `steadywire verify`, over ranges of their parameters. `QUICK`: those that a quick run has, too."""

from simulation.validation.experiment import TheoryExperiment
from simulation.validation.experiments.clients.detecting import Accrual, AccrualMistakes, Freshness, HalfOpenConnection, Mistakes
from simulation.validation.experiments.clients.devices import (
    AfterFailover,
    AfterSleep,
    AnotherNetwork,
    InTheBackground,
    Resumed,
    Unresolved,
)
from simulation.validation.experiments.clients.herding import AcceptRate, AfterALongOutage, UniformSpread
from simulation.validation.experiments.clients.late import LateEvents
from simulation.validation.experiments.clients.outboxes import OverflowInAnOutage
from simulation.validation.experiments.clients.polls import PlainPolling
from simulation.validation.experiments.clients.racing import Phases, PingRace
from simulation.validation.experiments.clients.reconnecting import AfterAnOutage
from simulation.validation.experiments.network.fading import Fading, LonePackets
from simulation.validation.experiments.network.linux import SEGMENTS, Flights, SwallowedRefusal, SwallowedReset, Timeout
from simulation.validation.experiments.network.losing import Bursts, Repeats
from simulation.validation.experiments.network.queueing import Bottleneck, Processors, ServerQueue
from simulation.validation.experiments.network.roaming import OnAndOff
from simulation.validation.experiments.network.shared_fates import (
    CorrelatedOutages,
    DrawnSchedule,
    OutOfPorts,
    SynWaves,
    UpFromReconnect,
)
from simulation.validation.experiments.network.sharing import AllAtOnce, SharedCell
from simulation.validation.experiments.network.streams import InOrder
from simulation.validation.experiments.network.transport import KERNELS, Dialling, IdleKiller, Silence

QUICK: tuple[TheoryExperiment, ...] = (
    AfterAnOutage(policy="ours", outage_mean_s=0.5, attempts=1),
    AfterAnOutage(policy="ours", outage_mean_s=5.0, attempts=5),
    AfterAnOutage(policy="ours", outage_mean_s=60.0, attempts=8),
    AfterAnOutage(policy="ours", outage_mean_s=5.0, latency_s=0.1),
    AfterAnOutage(policy="ours, spread 5 s", outage_mean_s=5.0),
    AfterAnOutage(policy="full-jitter", outage_mean_s=0.5, attempts=1),
    AfterAnOutage(policy="full-jitter", outage_mean_s=5.0, attempts=5),
    AfterAnOutage(policy="full-jitter", outage_mean_s=60.0, attempts=8),
    AfterAnOutage(policy="equal-jitter", outage_mean_s=5.0),
    AfterAnOutage(policy="+-20 %", outage_mean_s=5.0),
    AfterAnOutage(policy="brief-as-documented", outage_mean_s=5.0, attempts=2),
    AfterAnOutage(policy="brief-as-built", outage_mean_s=10.0),
    AfterAnOutage(policy="signalr", outage_mean_s=20.0, attempts=2),
    AfterAnOutage(policy="phoenix", outage_mean_s=2.0, attempts=6),
    AfterAnOutage(policy="nats", outage_mean_s=60.0, attempts=20),
    AfterAnOutage(policy="graphql-ws", outage_mean_s=20.0, attempts=3),
    AfterAnOutage(policy="centrifuge-js", outage_mean_s=20.0, attempts=5),
    AfterAnOutage(policy="mattermost", outage_mean_s=10.0),
    AfterAnOutage(policy="ably", outage_mean_s=20.0, attempts=2),
    OnAndOff(policy="full-jitter", on_mean_s=20.0, off_mean_s=5.0),
    OnAndOff(policy="ours", on_mean_s=3.0, off_mean_s=6.0),
    UniformSpread(clients=100, spread_s=1.0, bins=20),
    UniformSpread(clients=60, spread_s=10.0, bins=40),
    AfterALongOutage(floor_s=0.25, cap_s=5.0),
    AfterALongOutage(floor_s=3.0, cap_s=4.0),
    AcceptRate(clients=100, spread_s=1.0, accepts_per_s=40.0),
    AcceptRate(clients=80, spread_s=2.0, accepts_per_s=30.0),
    ServerQueue(law="constant", load=0.5),
    ServerQueue(law="constant", load=0.8),
    ServerQueue(law="exponential", load=0.5),
    ServerQueue(law="uniform", load=0.7),
    Processors(processors=2, load=0.7),
    Processors(processors=8, load=0.8),
    Bottleneck(law="constant", load=0.5),
    Bottleneck(law="constant", load=0.8),
    Bottleneck(law="exponential", load=0.6),
    Bursts(good_to_bad=0.01, bad_to_good=0.2),
    Bursts(good_to_bad=0.05, bad_to_good=0.5),
    Repeats(loss=0.02),
    Repeats(loss=0.1),
    HalfOpenConnection(interval_s=10.0, timeout_s=10.0, round_trip_s=0.1),
    HalfOpenConnection(interval_s=5.0, timeout_s=2.0, round_trip_s=1.0),
    HalfOpenConnection(interval_s=5.0, timeout_s=2.0, round_trip_s=1.0, misses=3),
    Freshness(interval_s=10.0, shift_s=10.0, round_trip_s=0.1),
    Freshness(interval_s=0.5, shift_s=2.5, round_trip_s=1.3),
    Mistakes(interval_s=1.0, shift_s=0.5, floor_s=0.1, mean_s=0.1),
    Mistakes(interval_s=1.0, shift_s=0.4, floor_s=0.04, mean_s=0.12),
    Accrual(law="normal", threshold=8.0, interval_s=1.0, pause_s=3.0),
    Accrual(law="normal", threshold=5.0, interval_s=2.0, std_min_s=0.01, swing_s=0.2),
    Accrual(law="exponential", threshold=8.0, interval_s=1.0),
    AccrualMistakes(law="normal", threshold=1.0, samples=20),
    AccrualMistakes(law="normal", threshold=2.0, samples=50),
    AccrualMistakes(law="exponential", threshold=1.0, samples=20),
    PlainPolling(interval_s=2.0, round_trip_s=0.1),
    PlainPolling(interval_s=1.0, round_trip_s=0.6),
    OverflowInAnOutage(limit=30, messages_per_s=1.0, outage_mean_s=20.0),
    OverflowInAnOutage(limit=5, messages_per_s=2.0, outage_mean_s=5.0),
    LateEvents(policy="full-jitter", on_mean_s=60.0, off_mean_s=10.0),
    LateEvents(policy="ours", on_mean_s=20.0, off_mean_s=2.0),
    InOrder(messages_per_s=1000.0, floor_s=0.03, mean_s=0.01),
    InOrder(messages_per_s=50.0, floor_s=0.05, mean_s=0.02),
    *(Dialling(kernel=kernel, outage_s=outage_s) for kernel in KERNELS for outage_s in (2.5, 5.5, 20.0, 300.0)),
    *(Silence(outage_s=outage_s) for outage_s in (0.5, 10.0, 100.0, 2000.0)),
    *(IdleKiller(idle_s=idle_s, ping_s=10.0) for idle_s in (60.0, 240.0, 350.0)),
    IdleKiller(idle_s=60.0, ping_s=30.0),
    IdleKiller(idle_s=60.0, ping_s=61.0),
    IdleKiller(idle_s=60.0, ping_s=61.0, effect="reset"),
    *(SwallowedRefusal(kernel=kernel, outage_s=outage_s) for kernel in KERNELS for outage_s in (0.5, 3.0, 20.0)),
    *(SwallowedReset(ping_s=ping_s, outage_s=outage_s) for ping_s, outage_s in ((5.0, 12.0), (20.0, 3.0), (45.0, 4.0))),
    *(Timeout(measured=measured) for measured in SEGMENTS),
    *(Silence(outage_s=outage_s, latency_s=0.15) for outage_s in (0.6, 10.0, 100.0)),
    *(Flights(kilobytes=kilobytes, latency_s=latency_s) for kilobytes in (10, 50, 1000) for latency_s in (0.02, 0.1)),
    Flights(kilobytes=1000, window=3),
    Flights(kilobytes=1000, most=50),
    Flights(kilobytes=200, before="the same"),
    Flights(kilobytes=200, before="the same, an hour ago"),
    Fading(good_ms=900.0, bad_ms=100.0),
    Fading(good_ms=100.0, bad_ms=25.0),
    LonePackets(good_ms=4750.0, bad_ms=250.0),
    LonePackets(good_ms=400.0, bad_ms=100.0),
    PingRace(ping_s=60.0, idle_s=60.0, slack_s=0.2),
    PingRace(ping_s=60.0, idle_s=60.0, slack_s=0.3),
    PingRace(ping_s=60.0, idle_s=60.0, slack_s=0.0),
    PingRace(ping_s=60.0, idle_s=59.0, slack_s=0.2),
    PingRace(ping_s=30.0, idle_s=60.0, slack_s=1.0),
    Phases(period_s=60.0),
    Phases(period_s=7.0, first_s=20.0),
    SharedCell(law="constant", load=0.5),
    SharedCell(law="constant", load=0.8),
    SharedCell(law="exponential", load=0.7),
    SharedCell(law="uniform", load=0.6),
    *(AllAtOnce(clients=clients) for clients in (1, 8, 40)),
    AfterSleep(clock="counts"),
    AfterSleep(clock="stops"),
    InTheBackground(every_s=1.0, wait_s=0.3),
    InTheBackground(every_s=60.0, wait_s=5.0),
    *(AnotherNetwork(is_told=is_told, gap_s=gap_s) for is_told, gap_s in ((True, 0.0), (True, 6.5), (False, 0.0))),
    AfterFailover(ttl_s=30.0, publish_s=10.0),
    AfterFailover(ttl_s=60.0, publish_s=0.0),
    Unresolved(how="error", tries=2),
    Unresolved(how="timeout", tries=2),
    Unresolved(how="timeout", tries=4),
    Resumed(tls="none", has_ticket=False),
    Resumed(tls="1.2", has_ticket=False),
    Resumed(tls="1.2", has_ticket=True),
    Resumed(tls="1.3", has_ticket=True),
    OutOfPorts(ports=20, offered=15.0, held_s=1.0, time_wait_s=0.0),
    OutOfPorts(ports=20, offered=15.0, held_s=2.0, time_wait_s=60.0),
    OutOfPorts(ports=10, offered=12.0, held_s=30.0, time_wait_s=60.0, law="uniform"),
    SynWaves(clients=40, backlog=10, cookies=False),
    SynWaves(clients=40, backlog=10, cookies=True),
    CorrelatedOutages(),
    DrawnSchedule(every_s=50.0),
    DrawnSchedule(every_s=20.0, share_hit=0.1),
    UpFromReconnect(up_mean_s=20.0, down_mean_s=5.0, wait_s=3.0),
    UpFromReconnect(up_mean_s=5.0, down_mean_s=0.5, wait_s=2.0),
)

LONG: tuple[TheoryExperiment, ...] = (
    AfterAnOutage(policy="y-websocket", outage_mean_s=2.0, attempts=4),
    AfterAnOutage(policy="liveblocks", outage_mean_s=5.0, attempts=5),
    AfterAnOutage(policy="sockudo-js", outage_mean_s=30.0, attempts=4),
    AfterAnOutage(policy="hocuspocus", outage_mean_s=10.0),
    AfterAnOutage(policy="python-websockets", outage_mean_s=5.0, attempts=2),
    AfterAnOutage(policy="grpc", outage_mean_s=5.0),
    AfterAnOutage(policy="sip-outbound", outage_mean_s=60.0, attempts=2),
    Freshness(interval_s=2.0, shift_s=5.0, round_trip_s=0.5),
    Accrual(law="normal", threshold=3.0, interval_s=5.0, std_min_s=0.5),
    Accrual(law="exponential", threshold=1.5, interval_s=5.0),
    AccrualMistakes(law="exponential", threshold=2.0, samples=10),
)

EXPERIMENTS: tuple[TheoryExperiment, ...] = (*QUICK, *LONG)
FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(experiment.family for experiment in EXPERIMENTS))


def chosen(families: tuple[str, ...], *, is_quick: bool) -> tuple[TheoryExperiment, ...]:
    """The experiments of these families, of all if none is named, family by family; a quick run leaves some out."""
    return tuple(
        experiment
        for family in FAMILIES
        if not families or family in families
        for experiment in (QUICK if is_quick else EXPERIMENTS)
        if experiment.family == family
    )
