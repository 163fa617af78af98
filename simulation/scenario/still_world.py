"""A still world: a scenario without heartbeats, timeouts and workload, to which one adds what one wants to measure.

    scenario = still_world("mine", 100, Path(latency_s=0.05), faults=(Reset(at_s=5.0),), horizon_s=60.0)

Every closed form needs one, and `steadywire verify` measures in them. All of it is set by parameters that every scenario has.
"""

from typing import Any

from reference.protocol.config import ClientConfig, ServerConfig
from simulation.scenario.paths import Path
from simulation.scenario.scenario import Group, Scenario, ServerPart, Workload

NEVER_S = 86_400.0
"""The longest time that a parameter takes, in seconds."""
AT_ONCE = Path(latency_s=0.0)
QUIET = Workload(graft_per_s=0, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0)
PATIENT_CLIENT = ClientConfig(
    connect_timeout_s=NEVER_S,
    ping_interval_s=NEVER_S - 1.0,  # below what the server allows, or it would ping more often
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
    """A scenario in which nothing happens but what `changes` ask for (fields, or paths, as for `Scenario.replace`).

    `clients` are called c-0, c-1, ... on such paths, and arrive at time 0. Nobody pings, beats, falls back, gives up waiting,
    comes and goes in the presence, or publishes; commits take no time; nothing is sampled. Where a closed form leaves something
    out, the world has to leave it out too.
    """
    return Scenario(
        name=name,
        groups=(Group(name="c", clients=clients, path=path, arrive_within_s=0.0),),
        workload=QUIET,
        server=ServerPart(config=PATIENT_SERVER, commit_time_s=0.0),
        sample_interval_s=1e6,
        settle_s=0.0,
    ).replace(**changes)
