"""Devices, DNS, ports and drawn faults all at once: every guarantee holds, and equal runs give equal traces."""

from itertools import product

import pytest

from simulation.scenario.distributions import Constant
from simulation.scenario.drawn_faults import DrawnFaults
from simulation.scenario.faults import (
    BackgroundTab,
    DnsFailure,
    Failover,
    Fault,
    NetworkChange,
    Reset,
    ServerRestart,
    Suspend,
)
from simulation.scenario.paths import Dns, FadingLoss, Middlebox, Path, PortPool, SharedBottleneck, Tcp, TcpKeepalive
from simulation.scenario.scenario import Capacity, Group, Scenario, ServerPart
from simulation.world import run

FIRST = Path(
    latency_s=0.03,
    dns=Dns(ttl_s=7.0, lookup=Constant(value=0.2)),
    tcp=Tcp(
        keepalive=TcpKeepalive(idle_s=3.0, interval_s=1.0, probes=3),
        tls="1.2",
        tls_ticket_s=30.0,
        congestion="linux",
        resumes="rto",
    ),
    middlebox=Middlebox(idle_timeout_s=5.0, place=0.3, websocket_age_max_s=20.0, connection_age_max_s=40.0),
)
OTHERS = (
    Path(latency_s=0.1),
    Path(latency_s=0.1, bandwidth_bytes_per_s=50_000.0, queue_bytes=30_000, dns=Dns(ttl_s=0.0)),
    Path(latency_s=0.05, middlebox=Middlebox(upgrades="block")),
    Path(loss=FadingLoss(good_ms=2000.0, bad_ms=100.0)),
)


def everything(other: Path, seed: int, *, is_notified: bool) -> Scenario:
    """Two minutes. `is_notified`: whether systems tell of what happens, in all their ways; else they do not."""
    again_and_again: dict[str, tuple[Fault, float]] = {
        "moves": (NetworkChange(at_s=1.0, duration_s=0.5, is_notified=is_notified, path=other), 13.0),
        "sleeps": (Suspend(at_s=3.0, duration_s=6.0, clock="counts" if is_notified else "stops"), 17.0),
        "tabs": (BackgroundTab(at_s=3.0, duration_s=6.0, timers_every_s=2.0), 19.0),
        "dns": (DnsFailure(at_s=3.0, duration_s=4.0, how="error" if is_notified else "timeout"), 23.0),
        "failovers": (Failover(at_s=3.0, duration_s=4.0, old_address="refuses" if is_notified else "silent"), 31.0),
        "resets": (Reset(at_s=3.0), 11.0),
        "kills": (ServerRestart(at_s=3.0, duration_s=1.0), 41.0),
    }
    return Scenario(
        name="everything",
        seed=seed,
        horizon_s=120.0,
        groups=(
            Group(name="a", clients=3, path=FIRST, nat=PortPool(ports=20, time_wait_s=5.0)),
            Group(name="b", clients=2, path=other, shared_bottleneck=SharedBottleneck(bandwidth_bytes_per_s=1e5)),
        ),
        server=ServerPart(
            balancer=PortPool(ports=40, time_wait_s=3.0, when_exhausted="reset"),
            capacity=Capacity(
                syn_backlog_max=3,
                syn_cookies=is_notified,
                handshake_cost=Constant(value=0.01),
                resumption_cost=Constant(value=0.001),
            ),
            keeps_ticket_keys=is_notified,
        ),
        drawn_faults=tuple(
            DrawnFaults(
                name=name,
                fault=fault,
                every=Constant(value=every_s),
                share=0.5 if name in ("moves", "sleeps", "tabs") else 1.0,
            )
            for name, (fault, every_s) in again_and_again.items()
        ),
    )


@pytest.mark.slow
@pytest.mark.parallel
@pytest.mark.parametrize(("other", "is_notified"), list(product(range(len(OTHERS)), (True, False))))
def test_every_guarantee_holds_and_runs_repeat(other: int, is_notified: bool) -> None:
    scenario = everything(OTHERS[other], other, is_notified=is_notified)
    result, again = run(scenario), run(scenario)
    assert result.is_ok, [str(verdict) for verdict in result.verdicts.values() if verdict.violated]
    assert (result.counts.lost, result.counts.unsettled) == (0, 0)
    assert result.counts.reconnections > 10
    assert list(result.trace) == list(again.trace)
