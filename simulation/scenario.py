"""A scenario: everything that a simulated run is made of, as one frozen value.

    scenario = load_scenario(path)                  # TOML, every mistake named with its place
    scenario = scenario.replace(seed=7)             # a variation
    scenario.to_toml()                              # and back; equal scenarios give equal text

    version, name, about, seed
    groups      who takes part: so many clients on such a path; they are called `name-0`, `name-1`, ...
    workload    what each of them does, in events per second, until `horizon_s`
    faults      what happens to their connections and to the server, from simulation.faults
    server      its parameters, and what its machine costs
    client      its parameters and its reconnect policy
    availability  how all lines come and go by themselves
    horizon_s   how long the clients work, in seconds; warm_up_s: how much of that is left out of the figures
    settle_s    how long the run goes on after the work and the faults have ended, so that everyone can come back

A fault names the clients that it hits, or whole groups. A key that the scenario does not know is refused, for a misspelt
parameter that is silently ignored makes a figure wrong.
"""

import math
import tomllib
from hashlib import blake2b
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

import msgspec

from reference.protocol.backoff import FullJitter, ReconnectPolicy
from reference.protocol.config import ClientConfig, ServerConfig, recovery_bound_s
from reference.protocol.errors import ConfigError
from simulation.faults import Fault
from simulation.laws import Constant, Law
from simulation.paths import Availability, Path
from simulation.toml_text import to_toml

FORMAT_VERSION: Literal[1] = 1
CLIENTS_MAX = 100_000
NEVER = "never"
"""What TOML says for `fallback_after_failures = None`: it has no word for nothing."""

Rate = Annotated[float, msgspec.Meta(ge=0, le=10_000)]
SecondsToSpend = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Group(_Part, frozen=True, kw_only=True):
    """Clients on equal paths. They arrive uniformly within the first `arrive_within_s`.

    availability: how their lines come and go by themselves, beside the scenario's faults. workload, client: in place of the
    scenario's own.
    """

    name: Name
    clients: Annotated[int, msgspec.Meta(ge=1, le=CLIENTS_MAX)] = 1
    path: Path = Path()
    arrive_within_s: SecondsToSpend = 1.0
    availability: Availability | None = None
    workload: "Workload | None" = None
    client: "ClientPart | None" = None

    @property
    def client_names(self) -> tuple[str, ...]:
        return tuple(f"{self.name}-{number}" for number in range(self.clients))


class Workload(_Part, frozen=True, kw_only=True):
    """What one client does, as Poisson processes: events per second of each type."""

    graft_per_s: Rate = 0.1
    prune_per_s: Rate = 0.05
    flag_per_s: Rate = 0.02
    chat_per_s: Rate = 0.1
    cursor_per_s: Rate = 0.5


class FullJitterPolicy(_Part, frozen=True, kw_only=True, tag_field="kind", tag="full_jitter"):
    """Waits floor + U(0, min(cap, base * factor**k)) after failed attempt k."""

    base_s: float = 1.0
    factor: float = 2.0
    cap_s: float = 30.0
    floor_s: float = 0.25

    def __post_init__(self) -> None:
        self.build()

    def build(self) -> ReconnectPolicy:
        """The policy itself; raises ConfigError."""
        return FullJitter(self.base_s, self.factor, self.cap_s, self.floor_s)

    @property
    def wait_max_s(self) -> float:
        """The longest wait that it can ask for, in seconds."""
        return self.floor_s + self.cap_s


class ClientPart(_Part, frozen=True, kw_only=True):
    """How the clients behave."""

    config: ClientConfig = ClientConfig()
    policy: FullJitterPolicy = FullJitterPolicy()


class Shedding(_Part, frozen=True, kw_only=True):
    """When the server turns clients away, and what it tells them.

    queue_wait_max_s: a hello that has waited this long for the server's processors is answered OVERLOADED (503 over HTTP)
    instead of being served. retry_after_s, spread_s: come back after retry_after + U(0, spread).
    """

    queue_wait_max_s: SecondsToSpend = 1.0
    retry_after_s: SecondsToSpend = 5.0
    spread_s: SecondsToSpend = 30.0


class Capacity(_Part, frozen=True, kw_only=True):
    """What the server's machine can do. All work waits in one queue for `processors` equal processors, first come first served.

    accepts_per_s: connections that the listener takes; accept_backlog_max: how many may wait for that, the rest is dropped as by
    a kernel (their SYN is sent again). Costs in seconds of a processor: of a TLS handshake, of the authentication of a client, of
    one frame or request that comes in, of one frame handed to one reader, of one event of a replay. shedding None: never.
    """

    processors: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    accepts_per_s: Annotated[float, msgspec.Meta(gt=0, le=10_000_000)] | None = None
    accept_backlog_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 4096
    handshake_cost: Law = Constant(value=0.0)
    authentication_cost: Law = Constant(value=0.0)
    frame_cost: Law = Constant(value=0.0)
    delivery_cost: Law = Constant(value=0.0)
    replay_event_cost: Law = Constant(value=0.0)
    shedding: Shedding | None = None


class ServerPart(_Part, frozen=True, kw_only=True):
    """How the server behaves, and its machine.

    commit_time_s: of one transaction of its store; batches that come meanwhile share the next one. commit_time: a law for it, in
    seconds, in its place. commit_event_time_s: and for each event in the transaction. send_buffer_bytes: what the operating
    system takes for one connection, until it has arrived, before the server has to wait. capacity None: a machine that is never
    busy. token_lifetime_s: clients bring tokens that expire after this (None: never) and get a new one within
    token_refresh_time_s when they are asked to. instances: processes behind one load balancer that share the run; what a rolling
    deploy replaces one by one. go_away_retry_after_s, go_away_spread_s: what a graceful stop asks of clients.
    """

    config: ServerConfig = ServerConfig()
    commit_time_s: SecondsToSpend = 0.002
    commit_time: Law | None = None
    commit_event_time_s: SecondsToSpend = 0.0
    send_buffer_bytes: Annotated[int, msgspec.Meta(ge=1)] = 256 * 1024
    capacity: Capacity | None = None
    token_lifetime_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] | None = None
    token_refresh_time_s: SecondsToSpend = 0.1
    instances: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    go_away_retry_after_s: SecondsToSpend = 1.0
    go_away_spread_s: SecondsToSpend = 5.0


class Scenario(_Part, frozen=True, kw_only=True):
    """See the module."""

    version: Literal[1] = FORMAT_VERSION
    name: Name
    about: str = ""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 1
    horizon_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] = 60.0
    settle_s: SecondsToSpend | None = None
    """None: as long as recovery may take at the most (guarantee G6)."""
    sample_interval_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] = 1.0
    """How often the lengths of queues are looked at."""
    warm_up_s: SecondsToSpend = 0.0
    """What happens before is left out of the figures (never of the guarantees)."""
    groups: Annotated[tuple[Group, ...], msgspec.Meta(min_length=1)]
    availability: Availability | None = None
    """Of everyone's lines, beside that of their groups."""
    workload: Workload = Workload()
    faults: tuple[Fault, ...] = ()
    server: ServerPart = ServerPart()
    client: ClientPart = ClientPart()

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        clients = [client for group in self.groups for client in group.client_names]
        if len(set(names)) < len(names) or len(set(clients)) < len(clients):
            raise ConfigError(f"groups {', '.join(names)} give two clients the same name; rename one group")
        if len(clients) > CLIENTS_MAX:
            raise ConfigError(f"{len(clients)} clients; the limit is {CLIENTS_MAX}")
        known = {*names, *clients}
        for number, fault in enumerate(self.faults):
            for client in fault.clients:
                if client not in known:
                    raise ConfigError(f"faults[{number}].clients names {client!r}, which is no client and no group")

    @property
    def client_names(self) -> tuple[str, ...]:
        return tuple(client for group in self.groups for client in group.client_names)

    @property
    def resolved_faults(self) -> tuple[Fault, ...]:
        """The faults in the order in which they begin, each with the names of its clients in place of their groups."""
        members = {group.name: group.client_names for group in self.groups}
        named = []
        for fault in self.faults:
            clients = [client for name in fault.clients for client in members.get(name, (name,))]
            named.append(msgspec.structs.replace(fault, clients=tuple(dict.fromkeys(clients))))
        return tuple(sorted(named, key=lambda fault: fault.at_s))

    @property
    def round_trip_max_s(self) -> float:
        """How long an answer may take when nothing is wrong, in seconds, not counting a bottleneck's queue."""
        return max(2 * (group.path.latency_s + group.path.jitter_s) for group in self.groups) + 2 * self.server.commit_time_s

    @property
    def recovery_bound_s(self) -> float:
        """G6: within this many seconds after the last fault everyone is back."""
        return recovery_bound_s(self.client.config, self.client.policy.wait_max_s, self.round_trip_max_s)

    @property
    def end_s(self) -> float:
        """When the run ends, in seconds."""
        last = max([self.horizon_s, *(fault.end_s for fault in self.faults)])
        return last + (self.recovery_bound_s if self.settle_s is None else self.settle_s)

    def replace(self, **changes: Any) -> "Scenario":
        """A variation, checked like one that was read. Raises ConfigError if it makes no sense."""
        return _checked(msgspec.to_builtins(msgspec.structs.replace(self, **changes)))

    def to_toml(self) -> str:
        """Every parameter, the defaults included, in a form that `parse_scenario` reads back."""
        return to_toml(_with_words_for_nothing(msgspec.to_builtins(self.replace())))

    def digest(self) -> str:
        """A short name for exactly this scenario, in hex."""
        return blake2b(self.to_toml().encode(), digest_size=16).hexdigest()


def load_scenario(path: FilePath) -> Scenario:
    """Read a scenario's file. Raises ConfigError with one line that says where, what and what to do."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the scenario {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    try:
        return parse_scenario(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_scenario(text: str) -> Scenario:
    """A scenario from TOML. Raises ConfigError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}") from None
    version = table.get("version")
    if version != FORMAT_VERSION:
        raise ConfigError(f"needs `version = {FORMAT_VERSION}` at its top, this one has {version!r}")
    config = table.get("client", {}).get("config", {}) if isinstance(table.get("client", {}), dict) else {}
    if isinstance(config, dict) and config.get("fallback_after_failures") == NEVER:
        config["fallback_after_failures"] = None
    return _checked(table)


def _checked(table: Any) -> Scenario:
    _check_finite(table, "$")
    try:
        return msgspec.convert(table, Scenario)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from None


def _check_finite(value: object, place: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{value} is not a finite number - at `{place}`")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_finite(item, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check_finite(item, f"{place}[{number}]")


def _with_words_for_nothing(table: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is None by default; the one None that is not has a word of its own."""
    words: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            words[key] = _with_words_for_nothing(value)
        elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            words[key] = [_with_words_for_nothing(item) for item in value]
        elif value is not None:
            words[key] = value
        elif key == "fallback_after_failures":
            words[key] = NEVER
    return words
