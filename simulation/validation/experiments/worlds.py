"""Worlds in which nothing happens but what an experiment is about, and what their traces say.

Where a closed form leaves something out, the world has to leave it out too: paths without latency, no pings, no heartbeats,
nobody who comes and goes in the presence, no sampling. All of that is set by parameters that every scenario has.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.timers import NS_PER_S
from simulation.scenario.paths import Path
from simulation.scenario.scenario import Group, Scenario, ServerPart, Workload
from simulation.trace.index import ClientIndex
from simulation.trace.trace import AttemptMade, ConnectionLeft, ConnectionLost, StateTurned

NEVER_S = 86_400.0
"""The longest time that a parameter takes; no experiment lasts so long."""
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
    """`clients` called c-0, c-1, ... on such paths; `changes` as for Scenario."""
    return Scenario(
        name=name,
        groups=(Group(name="c", clients=clients, path=path, arrive_within_s=0.0),),
        workload=QUIET,
        server=ServerPart(config=PATIENT_SERVER, commit_time_s=0.0),
        sample_interval_s=1e6,
        settle_s=0.0,
    ).replace(**changes)


@dataclass(frozen=True, slots=True)
class Absence:
    """A stretch in which nothing carried a client. has_returned: it ended with a connection. Times in seconds."""

    start_s: float
    end_s: float
    attempts: int
    has_returned: bool

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def absences(client: ClientIndex, ended_at: int) -> Iterator[Absence]:
    """Every absence of a client after it was connected for the first time."""
    since: int | None = None
    was_connected, attempts = False, 0
    for record in client.records:
        if isinstance(record, AttemptMade):
            attempts += 1
        elif isinstance(record, ConnectionLost | ConnectionLeft) and was_connected:
            attempts = 0  # the next attempt may be made in this instant, before the state is told
        elif isinstance(record, StateTurned):
            is_connected = record.is_carried
            if was_connected and not is_connected:
                since = record.at
            elif is_connected and not was_connected and since is not None:
                yield Absence(since / NS_PER_S, record.at / NS_PER_S, attempts, True)
                since = None
            was_connected = is_connected
    if since is not None:
        yield Absence(since / NS_PER_S, ended_at / NS_PER_S, attempts, False)
