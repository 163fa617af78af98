"""The protocol's parameters as the demo sets them.

The defaults are made for days and for networks that are down for minutes. In the demo everything has to happen, be detected and
recover within seconds, so the times are shorter; nothing else differs. The report names all of them.
"""

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.policies.reconnect import FullJitter
from simulation.processes.run_plan import Parameters

EVENTS_KEPT_MAX = 100_000
"""The whole log of a demo is kept, so that all of it can be checked."""

CLIENT = ClientConfig(
    connect_timeout_s=2.0,
    ping_interval_s=2.0,
    ping_timeout_s=2.0,
    steady_after_s=2.0,
    first_spread_s=0.3,
    tail_timeout_s=1.5,
    fallback_after_failures=4,
    poll_interval_s=1.0,
    request_timeout_s=2.0,
    probe_interval_s=1.5,
    probe_interval_max_s=3.0,
)
SERVER = ServerConfig(
    heartbeat_interval_s=3.0,
    silence_max_s=8.0,
    first_spread_s=0.3,
    presence_grace_s=6.0,
    cursor_interval_s=0.25,
    snapshot_interval_events=100,
    events_kept_max=EVENTS_KEPT_MAX,
)
POLICY = FullJitter(base_s=0.3, factor=2.0, cap_s=2.0, floor_s=0.1)

PARAMETERS = Parameters(
    client=CLIENT, server=SERVER, policy=POLICY, wait_max_s=POLICY.floor_s + POLICY.cap_s, round_trip_max_s=1.0
)
