"""A still world: a scenario without heartbeats, timeouts and workload, to which a measurement adds what it needs.

    scenario = still_world("mine", 100, Path(latency_s=0.05), faults=(Reset(at_s=5.0),), horizon_s=60.0)

Closed forms need such a world, and `steadywire verify` measures in them. It uses only ordinary parameters of a scenario.
"""

from typing import Any

from reference.protocol.config import ClientConfig, ServerConfig
from simulation.scenario.paths import Path
from simulation.scenario.scenario import Group, Scenario, ServerPart
from simulation.scenario.workload import IDLE

NEVER_S = 86_400.0
"""The largest value of a time parameter, in seconds."""
AT_ONCE = Path(latency_s=0.0)
QUIET = IDLE
PATIENT_CLIENT = ClientConfig(
    connect_timeout_s=NEVER_S,
    ping_interval_s=NEVER_S - 1.0,  # below the server's limit, which would cause additional pings
    ping_timeout_s=NEVER_S,
    steady_after_s=1e-9,
    fallback_after_failures=None,
    request_timeout_s=NEVER_S,
    ack_interval_s=NEVER_S,
)
PATIENT_SERVER = ServerConfig(
    hello_timeout_s=NEVER_S,
    heartbeat_interval_s=NEVER_S,
    silence_max_s=NEVER_S,
    slow_reader_timeout_s=NEVER_S,
    presence_grace_s=NEVER_S,
    presence_interval_s=NEVER_S,
)


def still_world(name: str, clients: int, path: Path = AT_ONCE, **changes: Any) -> Scenario:
    """A scenario in which nothing happens except `changes` (fields, or paths, as for `Scenario.replace`).

    `clients` are called c-0, c-1, ... on such paths, and arrive at time 0. There are no pings, heartbeats, fallback, timeouts,
    presence changes or publishes; commits take no time; nothing is sampled. A world must leave out everything that the closed
    form leaves out.
    """
    return Scenario(
        name=name,
        groups=(Group(name="c", clients=clients, path=path, arrive_within_s=0.0),),
        workload=QUIET,
        server=ServerPart(config=PATIENT_SERVER, commit_time_s=0.0),
        sample_interval_s=1e6,
        settle_s=0.0,
    ).replace(**changes)
