"""All experiments of `steadywire verify`, over ranges of their parameters. `QUICK`: those that a quick run has, too."""

from simulation.verify.detecting import HalfOpenConnection
from simulation.verify.experiment import Experiment
from simulation.verify.herding import AfterALongOutage, UniformSpread
from simulation.verify.outboxes import OverflowInAnOutage
from simulation.verify.polls import PlainPolling
from simulation.verify.reconnecting import AfterAnOutage

QUICK: tuple[Experiment, ...] = (
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
    UniformSpread(clients=200, spread_s=1.0, bins=20),
    UniformSpread(clients=100, spread_s=10.0, bins=50),
    AfterALongOutage(floor_s=0.25, cap_s=5.0),
    AfterALongOutage(floor_s=3.0, cap_s=4.0),
    HalfOpenConnection(interval_s=10.0, timeout_s=10.0, round_trip_s=0.1),
    HalfOpenConnection(interval_s=5.0, timeout_s=2.0, round_trip_s=1.0),
    PlainPolling(interval_s=2.0, round_trip_s=0.1),
    PlainPolling(interval_s=1.0, round_trip_s=0.6),
    OverflowInAnOutage(limit=30, messages_per_s=1.0, outage_mean_s=20.0),
    OverflowInAnOutage(limit=5, messages_per_s=2.0, outage_mean_s=5.0),
)

LONG: tuple[Experiment, ...] = (
    AfterAnOutage(policy="y-websocket", outage_mean_s=2.0, attempts=4),
    AfterAnOutage(policy="liveblocks", outage_mean_s=5.0, attempts=5),
    AfterAnOutage(policy="sockudo-js", outage_mean_s=30.0, attempts=4),
    AfterAnOutage(policy="hocuspocus", outage_mean_s=10.0),
    AfterAnOutage(policy="python-websockets", outage_mean_s=5.0, attempts=2),
    AfterAnOutage(policy="grpc", outage_mean_s=5.0),
    AfterAnOutage(policy="sip-outbound", outage_mean_s=60.0, attempts=2),
)

EXPERIMENTS: tuple[Experiment, ...] = (*QUICK, *LONG)
FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(experiment.family for experiment in EXPERIMENTS))


def chosen(families: tuple[str, ...], *, is_quick: bool) -> tuple[Experiment, ...]:
    """The experiments of these families, of all if none is named, family by family; a quick run leaves some out."""
    return tuple(
        experiment
        for family in FAMILIES
        if not families or family in families
        for experiment in (QUICK if is_quick else EXPERIMENTS)
        if experiment.family == family
    )
