"""A scenario: everything that a simulated run is made of, as one frozen value.

    scenario = load_scenario(path)                  # TOML or JSON, every mistake named with its place
    scenario = scenario.replace(seed=7)             # a variation
    scenario = scenario.replace({"client.policy.cap_s": 10.0})
    scenario.to_toml()                              # and back; equal scenarios give equal text

    version, name, about, seed
    groups      who takes part: so many clients on such a path; they are called `name-0`, `name-1`, ... (`population`)
    workload    what each of them does until `horizon_s` (`work`)
    faults      what happens to their connections and to the server, from simulation.scenario.faults
    server      its parameters, and what its machine costs
    client      its parameters, and its policies for connecting again, for falling back to polling and for its heartbeat
    drawn_faults  the same, drawn anew in each replication
    availability  how all lines come and go by themselves; regions: those of several groups together
    horizon_s   how long the clients work, in seconds; warm_up_s: how much of that is left out of the figures
    settle_s    how long the run goes on after the work and the faults have ended, so that everyone can come back

A fault names the clients that it hits, or whole groups. A key that the scenario does not know is refused, for a misspelt
parameter that is silently ignored makes a figure wrong.
"""

import math
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

import msgspec

from reference.protocol.config import ClientConfig, ServerConfig, recovery_bound_s
from reference.protocol.errors import ConfigError
from reference.protocol.policies.catalogue import Policy
from reference.protocol.policies.fallback import Disconnection as FallbackTrouble
from reference.protocol.policies.fallback import Fallback, FallbackPolicy
from reference.protocol.policies.keepalive import Heartbeat, HeartbeatPolicy
from reference.protocol.policies.reconnect import FullJitter
from reference.tables import guess
from reference.toml_files import read_text
from simulation.random import RandomStreams
from simulation.scenario.distributions import Constant, Distribution
from simulation.scenario.drawn_faults import DrawnFaults, drawn
from simulation.scenario.faults import DnsFailure, Failover, Fault, HalfOpen, NetworkChange, RollingDeploy
from simulation.scenario.network_traces import read_in
from simulation.scenario.path_bounds import round_trip_max_s as path_round_trip_max_s
from simulation.scenario.paths import Availability, Path, PortPool, SharedBottleneck
from simulation.scenario.population import CLIENTS_MAX, Arrivals, Stay, Uniformly, Visit, check_arrivals, visit_names, visits_of
from simulation.scenario.presets import PresetFallback, PresetHeartbeat, PresetPolicy, find
from simulation.scenario.text import changed, converted, json_of, plain, table_of, toml_of
from simulation.scenario.workload import Workload

__all__ = [
    "Capacity",
    "ClientPart",
    "Group",
    "Region",
    "Scenario",
    "ServerPart",
    "Shedding",
    "Workload",
    "client_part",
    "load_scenario",
    "longest_wait_s",
    "parse_scenario",
]

FORMAT_VERSION: Literal[1] = 1
NEARLY_ALWAYS = 0.999
"""A bound on what a law gives: its value at this probability, for most laws have no largest."""

GUESSED_MAX = 50
"""Above so many clients an error names groups only."""

SecondsToSpend = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
SecondsOfADay = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class ClientPart(_Part, frozen=True, kw_only=True):
    """How the clients behave. fallback, heartbeat: None for what the config's own fields say.

    timer_granularity_s: their timers go off at multiples of it (0: exactly); timer_slack_s: and up to this much later, uniformly
    (Linux: 50 us, a busy or a sleeping machine: much more). takes_per_s: how many events (and snapshots) an application takes per
    second; None: each at once. outcomes_waiting_max: how many may wait for it before its session slows the server down.
    """

    config: ClientConfig = ClientConfig()
    """The settings of protocol 9.2."""
    policy: Policy | PresetPolicy = FullJitter()
    """When to reconnect. `{ preset = "NAME" }` is the policy of a well-known system."""
    fallback: Fallback | PresetFallback | None = None
    heartbeat: Heartbeat | PresetHeartbeat | None = None
    takes_per_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] | None = None
    outcomes_waiting_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1024
    timer_granularity_s: SecondsToSpend = 0.0
    timer_slack_s: SecondsToSpend = 0.0

    def __post_init__(self) -> None:
        for name, value, kinds, register, preset in (
            ("policy", self.policy, Policy | PresetPolicy, "register_preset", "PresetPolicy"),
            ("fallback", self.fallback, Fallback | PresetFallback | None, "register_fallback", "PresetFallback"),
            ("heartbeat", self.heartbeat, Heartbeat | PresetHeartbeat | None, "register_heartbeat", "PresetHeartbeat"),
        ):
            if not isinstance(value, kinds):
                raise ConfigError(
                    f"{name} = {value!r}: a scenario is written down, and this has no name; register it with "
                    f"simulation.{register}(NAME, ...) and give {preset}(preset=NAME)"
                )

    @property
    def heartbeat_policy(self) -> HeartbeatPolicy:
        return self.heartbeat or self.config.heartbeat_policy


def client_part(preset: str, config: ClientConfig | None = None) -> ClientPart:
    """Clients that connect again as a well-known system does, with the fallback and the heartbeat that belong to it where they
    are known. Raises ConfigError for a name that no preset has."""
    found = find(preset)
    config = config or ClientConfig()
    if found.resets_on_open:
        config = msgspec.structs.replace(config, steady_after_s=0.001)
    return ClientPart(config=config, policy=PresetPolicy(preset=preset), fallback=found.fallback, heartbeat=found.heartbeat)


class Group(_Part, frozen=True, kw_only=True):
    """Clients on equal paths.

    shared_bottleneck: a cell or uplink that they share, beside the bottleneck of each path. stay: how long they stay; None: to
    the end. availability: how their lines come and go by themselves, beside the scenario's faults. workload, client: in place of
    the scenario's own.
    """

    name: Name
    """The name of the group. Its clients are called NAME-0, NAME-1, ..."""
    clients: Annotated[int, msgspec.Meta(ge=1, le=CLIENTS_MAX)] = 1
    """How many clients."""
    path: Path = Path()
    """The network between each of them and the server."""
    shared_bottleneck: SharedBottleneck | None = None
    nat: PortPool | None = None
    """The NAT whose ports they share."""
    arrive_within_s: SecondsToSpend = 1.0
    """They arrive uniformly within this time."""
    arrivals: Arrivals | None = None
    """When they arrive, in place of `arrive_within_s`."""
    stay: Stay | None = None
    availability: Availability | None = None
    workload: Workload | None = None
    client: ClientPart | None = None

    def __post_init__(self) -> None:
        if self.arrivals is not None:
            check_arrivals(self.name, self.clients, self.arrivals)

    @property
    def client_names(self) -> tuple[str, ...]:
        """Of every visit."""
        return tuple(visit_names(self.name, self.clients, 1 if self.stay is None else self.stay.visits))

    def visits(self, random_source: RandomStreams) -> tuple[Visit, ...]:
        """When each of its clients begins and leaves."""
        arrivals = self.arrivals or Uniformly(within_s=self.arrive_within_s)
        return tuple(visits_of(self.name, self.clients, arrivals, self.stay, random_source))


class Shedding(_Part, frozen=True, kw_only=True):
    """When the server turns clients away, and what it tells them.

    queue_wait_max_s: a hello that has waited this long for the server's processors is answered OVERLOADED (503 over HTTP)
    instead of being served. retry_after_s, spread_s: come back after retry_after + U(0, spread).
    """

    queue_wait_max_s: SecondsToSpend = 1.0
    retry_after_s: SecondsOfADay = 5.0
    spread_s: SecondsOfADay = 30.0


class Capacity(_Part, frozen=True, kw_only=True):
    """What the server's machine can do. All work waits in one queue for `processors` equal processors, first come first served.

    accepts_per_s: connections that the listener takes; accept_backlog_max: how many may wait for that, the rest is dropped as by
    a kernel (their SYN is sent again). syn_backlog_max: how many SYNs may wait for the client's part of the handshake, one round
    trip (None: any number); beyond that the kernel answers without noting the connection (syn_cookies), or drops. Costs in
    seconds of a processor: of a TLS handshake, of one that is resumed (None: as much), of the authentication of a client, of one
    frame or request that comes in, of one frame handed to one reader, of one event of a replay (docs/simulation-model.md says
    when). shedding None: never.
    """

    processors: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    accepts_per_s: Annotated[float, msgspec.Meta(gt=0, le=10_000_000)] | None = None
    accept_backlog_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 4096
    syn_backlog_max: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] | None = None
    syn_cookies: bool = True
    handshake_cost: Distribution = Constant(value=0.0)
    resumption_cost: Distribution | None = None
    authentication_cost: Distribution = Constant(value=0.0)
    frame_cost: Distribution = Constant(value=0.0)
    delivery_cost: Distribution = Constant(value=0.0)
    replay_event_cost: Distribution = Constant(value=0.0)
    shedding: Shedding | None = None

    def storm_s(self, clients: int) -> float:
        """How long it takes on average to let in so many clients that come at once, in seconds."""
        distributions = (self.handshake_cost, self.authentication_cost, self.frame_cost, self.frame_cost, self.delivery_cost)
        accept_s = 0.0 if self.accepts_per_s is None else 1 / self.accepts_per_s
        return clients * (math.fsum(distribution.mean for distribution in distributions) / self.processors + accept_s)


class Region(_Part, frozen=True, kw_only=True):
    """Groups that go down together: what is above their own lines (a cell, a provider, a part of the country). A client may be
    down by its own line, by its group's and by each region that its group is in.

    availability: how the region comes and goes; its scope is "shared".
    """

    name: Name
    groups: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    availability: Availability

    def __post_init__(self) -> None:
        if self.availability.scope != "shared":
            raise ConfigError(f'region {self.name} goes down as one; set availability.scope = "shared"')


Balancing = Literal["least_connections", "draw"]
"""Which instance gets a new connection: the one with the fewest, or by a draw."""


class ServerPart(_Part, frozen=True, kw_only=True):
    """How the server behaves, and its machine.

    commit_time_s: of one transaction of its store; batches that come meanwhile share the next one. commit_time: a law for it, in
    seconds, in its place. commit_event_time_s: and for each event in the transaction. send_buffer_bytes: what the operating
    system takes for one connection, until it has arrived, before the server has to wait. capacity None: a machine that is never
    busy. token_lifetime_s: clients bring tokens that expire after this (None: never) and get a new one within
    token_refresh_time_s when they are asked to, if their config has `refreshes_token`; otherwise the session ends with the token.
    instances: processes behind one load balancer that share the run and the capacity; what a rolling deploy replaces one by one.
    balancing: which of them gets a new connection. timer_granularity_s, timer_slack_s: of its timers, as a client's.
    go_away_retry_after_s, go_away_spread_s: what a graceful stop asks of clients. balancer: the ports that its load balancer has
    towards it. keeps_ticket_keys: a process that is started again can resume the TLS sessions of the one before it.
    """

    config: ServerConfig = ServerConfig()
    """The settings of protocol 9.3."""
    commit_time_s: SecondsToSpend = 0.002
    commit_time: Distribution | None = None
    commit_event_time_s: SecondsToSpend = 0.0
    send_buffer_bytes: Annotated[int, msgspec.Meta(ge=1)] = 256 * 1024
    capacity: Capacity | None = None
    token_lifetime_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] | None = None
    token_refresh_time_s: SecondsToSpend = 0.1
    instances: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    balancing: Balancing = "least_connections"
    timer_granularity_s: SecondsToSpend = 0.0
    timer_slack_s: SecondsToSpend = 0.0
    go_away_retry_after_s: SecondsOfADay = 1.0
    go_away_spread_s: SecondsOfADay = 5.0
    balancer: PortPool | None = None
    keeps_ticket_keys: bool = True


class Scenario(_Part, frozen=True, kw_only=True):
    """See the module."""

    version: Literal[1] = FORMAT_VERSION
    """The version of this format. A file must say it."""
    name: Name
    """The name of the scenario: letters, digits, `_`, `.` and `-`."""
    about: str = ""
    """What happens, and what to look for."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 1
    """The seed of all randomness. Equal scenarios with equal seeds give equal traces."""
    horizon_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] = 60.0
    """For how long the clients work."""
    settle_s: SecondsToSpend | None = None
    """None: as long as recovery may take at the most (guarantee G6)."""
    sample_interval_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] = 1.0
    """How often the lengths of queues are looked at."""
    warm_up_s: SecondsToSpend = 0.0
    """What happens before is left out of the figures (never of the guarantees)."""
    record: Literal["full", "histograms"] = "full"
    """Whether a trace keeps each message, or, for runs too large for that, histograms with a stated error in their place."""
    record_frames: bool = False
    """Whether a trace keeps every frame too, for sequence diagrams (`diagram`)."""
    groups: Annotated[tuple[Group, ...], msgspec.Meta(min_length=1)]
    """The clients that take part."""
    availability: Availability | None = None
    """Of everyone's lines, beside that of their groups."""
    workload: Workload = Workload()
    """What each client does until the horizon."""
    regions: tuple[Region, ...] = ()
    """Of groups that go down together, beside all that."""
    faults: tuple[Fault, ...] = ()
    """What happens to connections and to the server, at a time."""
    drawn_faults: tuple[DrawnFaults, ...] = ()
    """Faults that are drawn anew in each replication."""
    server: ServerPart = ServerPart()
    """The server's settings, and its machine."""
    client: ClientPart = ClientPart()
    """The clients' settings and policies."""

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        visits = sum(group.clients * (1 if group.stay is None else group.stay.visits) for group in self.groups)
        if visits > CLIENTS_MAX:
            raise ConfigError(f"{visits} clients; the limit is {CLIENTS_MAX}")
        clients: set[str] = set()  # a million names take a second, and mostly nobody asks for them
        if len(names) > 1 or any(fault.clients for _, fault in self._placed_faults):
            clients.update(client for group in self.groups for client in group.client_names)
            if len(set(names)) < len(names) or len(clients) < visits:
                raise ConfigError(f"groups {', '.join(names)} give two clients the same name; rename one group")
        for kind, parts in (("regions", self.regions), ("drawn_faults", self.drawn_faults)):
            if len({part.name for part in parts}) < len(parts):
                raise ConfigError(f"two {kind} have the same name; rename one")
        for region in self.regions:
            for name in region.groups:
                if name not in names:
                    raise ConfigError(f"region {region.name} names {name!r}, which is no group; there are {', '.join(names)}")
        known = {*names, *clients}
        for place, fault in self._placed_faults:
            for client in fault.clients:
                if client not in known:
                    advice = guess(client, names if len(clients) > GUESSED_MAX else known)
                    raise ConfigError(f"{place}.clients names {client!r}, which is no client and no group; {advice}")
            if isinstance(fault, DnsFailure) and not any(path.dns for group in self.groups for path in self.paths_of(group)):
                raise ConfigError(f"{place}: a dns_failure needs a group whose path has dns; add path.dns, or remove it")
            if isinstance(fault, RollingDeploy) and self.server.instances < 2:
                raise ConfigError(f"{place}: a rolling_deploy needs server.instances above 1; or use a server_restart")
        for group in self.groups:
            quiet_s, silence_s = self.client_of(group).heartbeat_policy.quiet_max_s, self.server.config.silence_max_s
            if quiet_s is not None and quiet_s >= silence_s:
                raise ConfigError(
                    f"the clients of group {group.name} may say nothing for {quiet_s:g} s, and the server gives a client up "
                    f"after server.config.silence_max_s = {silence_s:g}; let them ping more often, or raise that"
                )

    @property
    def client_names(self) -> tuple[str, ...]:
        return tuple(client for group in self.groups for client in group.client_names)

    @property
    def _placed_faults(self) -> tuple[tuple[str, Fault], ...]:
        """All faults, drawn ones as they are described, and where each stands."""
        own = [(f"faults[{number}]", fault) for number, fault in enumerate(self.faults)]
        return (*own, *((f"drawn_faults.{each.name}.fault", each.fault) for each in self.drawn_faults))

    @property
    def fault_kinds(self) -> tuple[Fault, ...]:
        """One of each that may happen: its faults, and the ones that its drawn faults are like."""
        return tuple(fault for _, fault in self._placed_faults)

    def _members(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Clients, in place of their groups."""
        members = {group.name: group.client_names for group in self.groups}
        return tuple(dict.fromkeys(client for name in names for client in members.get(name, (name,))))

    @property
    def resolved_faults(self) -> tuple[Fault, ...]:
        """The faults in the order in which they begin, each with the names of its clients in place of their groups."""
        named = [msgspec.structs.replace(fault, clients=self._members(fault.clients)) for fault in self.faults]
        return tuple(sorted(named, key=lambda fault: fault.at_s))

    def faults_of(self, random_source: RandomStreams) -> tuple[Fault, ...]:
        """All faults of one replication, in the order in which they begin: its own, and the drawn ones."""
        found = list(self.resolved_faults)
        for process in self.drawn_faults:
            clients = self._members(process.fault.clients) or self.client_names
            found += drawn(process, clients, self.horizon_s, random_source)
        return tuple(sorted(found, key=lambda fault: fault.at_s))

    def paths_of(self, group: Group) -> tuple[Path, ...]:
        """Its own, and those that its clients may change to."""
        names = {group.name, *group.client_names}
        changes = [fault for fault in self.fault_kinds if isinstance(fault, NetworkChange) and fault.path is not None]
        others = [fault.path for fault in changes if fault.path and (not fault.clients or names.intersection(fault.clients))]
        return (group.path, *others)

    def client_of(self, group: Group) -> ClientPart:
        """How the clients of a group behave."""
        return group.client or self.client

    def workload_of(self, group: Group) -> Workload:
        """What the clients of a group do."""
        return group.workload or self.workload

    @property
    def round_trip_max_s(self) -> float:
        """How long an answer may take when nothing is wrong, in seconds, not counting what waits in queues (`way`)."""
        server = self.server
        commit_s = server.commit_time_s if server.commit_time is None else server.commit_time.at(NEARLY_ALWAYS)
        return max(path_round_trip_max_s(path) for group in self.groups for path in self.paths_of(group)) + 2 * commit_s

    @property
    def recovery_bound_s(self) -> float:
        """G6: within this many seconds after the last fault everyone is back."""
        return max(self._recovery_bound_s(group) for group in self.groups)

    @property
    def tail_bound_s(self) -> float:
        """G13: how long a live connection may leave its client behind with nothing arriving, in seconds."""
        tail_s = max(self.client_of(group).config.tail_timeout_s for group in self.groups)
        return self.server.config.heartbeat_interval_s + tail_s + self.round_trip_max_s + self._batch_max_s

    @property
    def notice_bound_s(self) -> float:
        """How long a dead connection may look alive, in seconds."""
        notice_s = max(self.client_of(group).heartbeat_policy.notice_max_s for group in self.groups)
        if any(isinstance(fault, HalfOpen) and fault.direction == "up" for fault in self.fault_kinds):
            # The client still hears the server, which has to find out that it does not hear the client.
            notice_s = max(notice_s, self.server.config.silence_max_s)
        return notice_s + self.round_trip_max_s

    @property
    def end_s(self) -> float:
        """When the run ends, in seconds."""
        return self._trouble_end_s + (self.recovery_bound_s if self.settle_s is None else self.settle_s)

    def replace(self, paths: Mapping[str, Any] | None = None, **changes: Any) -> "Scenario":
        """A variation, checked like one that was read: fields by name, or anything inside by its path.

        `scenario.replace({"client.policy.cap_s": 10.0, "groups.mobile.path.latency_s": 0.2}, seed=7)`. Raises ConfigError if it
        makes no sense, or a path leads nowhere.
        """
        table = plain(msgspec.structs.replace(self, **changes))
        return converted(changed(table, paths or {}), Scenario)

    def to_toml(self) -> str:
        """Every parameter, the defaults included, in a form that `parse_scenario` reads back."""
        return toml_of(self.replace())

    def to_json(self) -> str:
        """The same as JSON."""
        return json_of(self.replace())

    def digest(self) -> str:
        """A short name for exactly this scenario, in hex."""
        return blake2b(self.to_toml().encode(), digest_size=16).hexdigest()

    @property
    def _batch_max_s(self) -> float:
        """How long one batch of events may be on its way over the thinnest line: it is given out when all of it has come."""
        rates = [path.bandwidth_bytes_per_s for group in self.groups for path in self.paths_of(group)]
        cells = [(group.shared_bottleneck, group.clients) for group in self.groups]
        rates += [cell.bandwidth_bytes_per_s / clients for cell, clients in cells if cell is not None]
        return max((self.server.config.batch_bytes_max / rate for rate in rates if rate is not None), default=0.0)

    @property
    def _trouble_end_s(self) -> float:
        dns = [path.dns for group in self.groups for path in self.paths_of(group) if path.dns is not None]
        old_s = max((each.ttl_s + each.stale_s for each in dns), default=0.0)  # for so long some may go to an old address
        ends = [fault.end_s + (old_s if isinstance(fault, Failover) else 0.0) for fault in self.faults]
        if any(isinstance(each.fault, Failover) for each in self.drawn_faults):
            ends.append(self.horizon_s + old_s)
        return max([self.horizon_s, *ends])

    def _recovery_bound_s(self, group: Group) -> float:
        part, boxes = self.client_of(group), [path.middlebox for path in self.paths_of(group)]
        wait_s = longest_wait_s(part.policy, self._trouble_end_s)
        bound_s = recovery_bound_s(part.config, wait_s, self.round_trip_max_s, heartbeat=part.heartbeat)
        if any(box.upgrades != "pass" or box.websocket_age_max_s is not None for box in boxes):
            # Then nobody is back before polling has taken over.
            attempt_s = wait_s + part.config.connect_timeout_s + max(box.websocket_age_max_s or 0.0 for box in boxes)
            bound_s += longest_until_fallback_s(part.fallback or part.config.fallback_policy, attempt_s)
        if self.server.capacity is not None:  # some are too late for their turn, and have to come once more
            bound_s += 2 * self.server.capacity.storm_s(len(self.client_names))
        if self.server.token_lifetime_s is not None:  # a token may turn out to be too old: a new one, and another attempt
            bound_s += self.server.token_refresh_time_s + wait_s + 2 * part.config.connect_timeout_s
        return bound_s


def longest_until_fallback_s(policy: FallbackPolicy, attempt_s: float) -> float:
    """How long it can take until polling takes over if every attempt fails, within `attempt_s` each, its wait included; 0 for a
    policy under which it never does."""
    for failures in range(_FAILURES_MAX):
        wait_s = policy.wait_s(FallbackTrouble(failures, failures * attempt_s))
        if wait_s is not None:
            return failures * attempt_s + max(0.0, wait_s)
    return 0.0


def longest_wait_s(policy: Policy | PresetPolicy, trouble_s: float) -> float:
    """The longest wait that a policy can be in when trouble that lasted `trouble_s` is over, if attempts fail at once.

    It is that of the last attempt which can have begun by then; for a policy with a cap, the cap.
    """
    elapsed_s = longest_s = 0.0
    for failures in range(_FAILURES_MAX):
        bounds = policy.range_s(failures)
        if bounds is None or elapsed_s > trouble_s:
            break
        elapsed_s += bounds[0]
        longest_s = max(longest_s, bounds[1])
    return longest_s


_FAILURES_MAX = 2000  # no formula here is still growing then


def load_scenario(path: FilePath) -> Scenario:
    """Read a scenario's file. Raises ConfigError with one line that says where, what and what to do."""
    text = read_text(path)
    try:
        return parse_scenario(text, path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_scenario(text: str, folder: FilePath | None = None) -> Scenario:
    """A scenario from TOML, or from JSON. `folder`: where the recordings are that it names. Raises ConfigError."""
    table = table_of(text)
    version = table.get("version")
    if version != FORMAT_VERSION:
        raise ConfigError(f"needs `version = {FORMAT_VERSION}` at its top, this one has {version!r}")
    return converted(read_in(table, folder), Scenario)
