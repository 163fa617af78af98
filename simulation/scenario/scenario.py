"""A scenario: everything that defines a simulated run, as one frozen value.

    scenario = load_scenario(path)                  # TOML or JSON; errors name the place
    scenario = scenario.replace(seed=7)             # a variation
    scenario = scenario.replace({"client.policy.cap_s": 10.0})
    scenario.to_toml()                              # equal scenarios give equal text

    version, name, about, seed
    groups      the clients: their number and path; they are called `name-0`, `name-1`, ... (`population`)
    workload    what each of them does until `horizon_s`
    faults      what happens to connections and to the server (`simulation.scenario.faults`)
    server      its parameters, and the costs of its machine
    client      its parameters, and its policies for reconnect, fallback and heartbeat
    drawn_faults  random faults, sampled in each replication
    availability  uptimes and downtimes of all links; regions: of several groups together
    horizon_s   how long the clients work, in seconds; warm_up_s: the part of it that figures leave out
    settle_s    how long the run continues after work and faults have ended, so that everyone can reconnect

A fault names the clients that it affects, or whole groups. An unknown key is refused, because a misspelt parameter that is
ignored would make a figure wrong.
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
from reference.protocol.policies.fallback import Disconnection, Fallback, FallbackPolicy
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
from simulation.scenario.path_bounds import transfer_max_s
from simulation.scenario.paths import Availability, Path, PortPool, Seconds, SharedBottleneck
from simulation.scenario.population import (
    CLIENTS_MAX,
    Arrivals,
    Name,
    Stay,
    Uniformly,
    Visit,
    check_arrivals,
    visit_names,
    visits_of,
)
from simulation.scenario.presets import PresetFallback, PresetHeartbeat, PresetPolicy, find
from simulation.scenario.text import changed, converted, json_of, plain, table_of, toml_of
from simulation.scenario.workload import Workload as Workload

FORMAT_VERSION: Literal[1] = 1
NEARLY_ALWAYS = 0.999
"""The bound of a distribution: its value at this probability, because most distributions have no maximum."""

TIMERS_OF_A_RECOVERY = 8
"""A ping and its timeout, two hanging attempts, two waits, a poll, the tail: each of them may be late."""
GUESSED_MAX = 50
"""Above this many clients an error names groups only."""

SecondsOfADay = Annotated[float, msgspec.Meta(ge=0, le=86_400)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class ClientPart(_Part, frozen=True, kw_only=True):
    """The behaviour of clients. fallback, heartbeat: None for what the config's own fields say.

    timer_granularity_s: their timers go off at ticks of this interval, with a random phase for each client (0: exactly);
    timer_slack_s: and up to this much later, uniformly (Linux: 50 us; much more on a busy machine). takes_per_s: how many events
    (and snapshots) an application takes per second; None: all at once. outcomes_waiting_max: how many may wait for it before its
    session slows the server down.
    """

    config: ClientConfig = ClientConfig()
    """The settings of protocol 9.2."""
    policy: Policy | PresetPolicy = FullJitter()
    """When to reconnect. `{ preset = "NAME" }` is the policy of a well-known system."""
    fallback: Fallback | PresetFallback | None = None
    heartbeat: Heartbeat | PresetHeartbeat | None = None
    takes_per_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] | None = None
    outcomes_waiting_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1024
    timer_granularity_s: Seconds = 0.0
    timer_slack_s: Seconds = 0.0

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

    @property
    def timer_late_max_s(self) -> float:
        """How late a timer may go off, in seconds."""
        return self.timer_granularity_s + self.timer_slack_s


def client_part(preset: str, config: ClientConfig | None = None) -> ClientPart:
    """Clients that reconnect as a well-known system does, with that system's fallback and heartbeat if they are known. Raises
    ConfigError for an unknown name."""
    found = find(preset)
    config = config or ClientConfig()
    if found.resets_on_open:
        config = msgspec.structs.replace(config, steady_after_s=0.001)
    return ClientPart(config=config, policy=PresetPolicy(preset=preset), fallback=found.fallback, heartbeat=found.heartbeat)


class Group(_Part, frozen=True, kw_only=True):
    """Clients with equal paths.

    shared_bottleneck: a cell or uplink that they share, in addition to the bottleneck of each path. stay: how long they stay;
    None: to the end. availability: uptimes and downtimes of their links, in addition to the scenario's faults. workload, client:
    in place of the scenario's own.
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
    arrive_within_s: Seconds = 1.0
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
        """The clients of all visits."""
        return tuple(visit_names(self.name, self.clients, 1 if self.stay is None else self.stay.visits))

    def visits(self, random_source: RandomStreams) -> tuple[Visit, ...]:
        """When each of its clients begins and leaves."""
        arrivals = self.arrivals or Uniformly(within_s=self.arrive_within_s)
        return tuple(visits_of(self.name, self.clients, arrivals, self.stay, random_source))


class Shedding(_Part, frozen=True, kw_only=True):
    """When the server refuses clients because of overload, and when they may return.

    queue_wait_max_s: a hello that has waited this long for the server's processors is answered OVERLOADED (503 over HTTP)
    instead of being served. retry_after_s, spread_s: they return after retry_after + U(0, spread).
    """

    queue_wait_max_s: Seconds = 1.0
    retry_after_s: SecondsOfADay = 5.0
    spread_s: SecondsOfADay = 30.0


class Capacity(_Part, frozen=True, kw_only=True):
    """The capacity of the server's machine. All jobs wait in one queue for `processors` equal processors, first come, first
    served.

    accepts_per_s: the rate at which the listener accepts connections; accept_backlog_max: how many may wait for that; others are
    dropped as by a kernel (their SYN is sent again). syn_backlog_max: how many SYNs may wait for the client's part of the
    handshake, one round trip (None: any number); above that the kernel answers without noting the connection (syn_cookies), or
    drops it. Costs in seconds of a processor: of a TLS handshake, of a resumed one (None: as much), of the authentication of a
    client, of one incoming frame or request, of one frame sent to one reader, of one event of a replay (docs/simulation-model.md
    says when). shedding None: never.
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
        """The mean time for accepting this many clients that connect at once, in seconds."""
        distributions = (self.handshake_cost, self.authentication_cost, self.frame_cost, self.frame_cost, self.delivery_cost)
        accept_s = 0.0 if self.accepts_per_s is None else 1 / self.accepts_per_s
        return clients * (math.fsum(distribution.mean for distribution in distributions) / self.processors + accept_s)


class Region(_Part, frozen=True, kw_only=True):
    """Groups that go down together, for a cause beyond their own links (a cell, a provider, a part of the country). A client may
    be down because of its own link, its group's and each region of its group.

    availability: the region's uptimes and downtimes; its scope is "shared".
    """

    name: Name
    groups: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    availability: Availability

    def __post_init__(self) -> None:
        if self.availability.scope != "shared":
            raise ConfigError(f'region {self.name} goes down as one; set availability.scope = "shared"')


Balancing = Literal["least_connections", "draw"]
"""Which instance gets a new connection: the one with the fewest, or a random one."""


class ServerPart(_Part, frozen=True, kw_only=True):
    """The server's behaviour, and its machine.

    commit_time_s: of one transaction of its store; batches that arrive meanwhile share the next one. commit_time: a distribution
    for it, in seconds, in its place. commit_event_time_s: additional, for each event. send_buffer_bytes: what the operating
    system takes for one connection, until it has arrived, before the server has to wait; with `tcp.congestion` it also limits
    what is in flight. capacity None: a machine that is never busy. token_lifetime_s: clients bring tokens that expire after this
    (None: never) and get a new one within token_refresh_time_s when they are asked to, if their config has `refreshes_token`;
    otherwise the session ends with the token. instances: processes behind one load balancer that share the run and the capacity;
    what a rolling deploy replaces one by one. balancing: which of them gets a new connection. timer_granularity_s, timer_slack_s:
    of its timers, as a client's. go_away_retry_after_s, go_away_spread_s: what a graceful stop asks clients for. balancer: the
    ports that its load balancer has towards it. keeps_ticket_keys: a process that is started again can resume the TLS sessions of
    the one before it.
    """

    config: ServerConfig = ServerConfig()
    """The settings of protocol 9.3."""
    commit_time_s: Seconds = 0.002
    commit_time: Distribution | None = None
    commit_event_time_s: Seconds = 0.0
    send_buffer_bytes: Annotated[int, msgspec.Meta(ge=1)] = 256 * 1024
    capacity: Capacity | None = None
    token_lifetime_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] | None = None
    token_refresh_time_s: Seconds = 0.1
    instances: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    balancing: Balancing = "least_connections"
    timer_granularity_s: Seconds = 0.0
    timer_slack_s: Seconds = 0.0
    go_away_retry_after_s: SecondsOfADay = 1.0
    go_away_spread_s: SecondsOfADay = 5.0
    balancer: PortPool | None = None
    keeps_ticket_keys: bool = True


class Scenario(_Part, frozen=True, kw_only=True):
    """See the module."""

    version: Literal[1] = FORMAT_VERSION
    """The version of this format. Required in a file."""
    name: Name
    """The name of the scenario: letters, digits, `_`, `.` and `-`."""
    about: str = ""
    """What happens, and what to look for."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 1
    """The seed of all randomness. Equal scenarios with equal seeds give equal traces."""
    horizon_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] = 60.0
    """How long the clients work."""
    settle_s: Seconds | None = None
    """None: the longest time that recovery may take (guarantee G6)."""
    sample_interval_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] = 1.0
    """How often the lengths of queues are sampled."""
    warm_up_s: Seconds = 0.0
    """What happens before is left out of the figures (never of the guarantees)."""
    record: Literal["full", "histograms"] = "full"
    """Whether a trace keeps each message, or, for large runs, histograms with a known error in their place."""
    record_frames: bool = False
    """Whether a trace keeps every frame too, for sequence diagrams (`diagram`)."""
    groups: Annotated[tuple[Group, ...], msgspec.Meta(min_length=1)]
    """The clients."""
    availability: Availability | None = None
    """Of all clients' links, in addition to that of their groups."""
    workload: Workload = Workload()
    """What each client does until the horizon."""
    regions: tuple[Region, ...] = ()
    """Groups that go down together, in addition to that."""
    faults: tuple[Fault, ...] = ()
    """What happens to connections and to the server, at given times."""
    drawn_faults: tuple[DrawnFaults, ...] = ()
    """Faults that are sampled in each replication."""
    server: ServerPart = ServerPart()
    """The server's settings, and its machine."""
    client: ClientPart = ClientPart()
    """The clients' settings and policies."""

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        visits = sum(group.clients * (1 if group.stay is None else group.stay.visits) for group in self.groups)
        if visits > CLIENTS_MAX:
            raise ConfigError(f"{visits} clients; the limit is {CLIENTS_MAX}")
        clients: set[str] = set()  # a million names take a second, and usually they are not needed
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
        """All faults, random ones by their template, each with its place in the file."""
        own = [(f"faults[{number}]", fault) for number, fault in enumerate(self.faults)]
        return (*own, *((f"drawn_faults.{each.name}.fault", each.fault) for each in self.drawn_faults))

    @property
    def fault_kinds(self) -> tuple[Fault, ...]:
        """One of each kind that may happen: its faults, and the templates of its random faults."""
        return tuple(fault for _, fault in self._placed_faults)

    def _members(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The clients in these groups and names."""
        members = {group.name: group.client_names for group in self.groups}
        return tuple(dict.fromkeys(client for name in names for client in members.get(name, (name,))))

    @property
    def resolved_faults(self) -> tuple[Fault, ...]:
        """The faults in the order of their beginning, with clients in place of groups."""
        named = [msgspec.structs.replace(fault, clients=self._members(fault.clients)) for fault in self.faults]
        return tuple(sorted(named, key=lambda fault: fault.at_s))

    def faults_of(self, random_source: RandomStreams) -> tuple[Fault, ...]:
        """All faults of one replication in the order of their beginning: the scenario's own, and the random ones."""
        found = list(self.resolved_faults)
        for process in self.drawn_faults:
            clients = self._members(process.fault.clients) or self.client_names
            found += drawn(process, clients, self.horizon_s, random_source)
        return tuple(sorted(found, key=lambda fault: fault.at_s))

    def paths_of(self, group: Group) -> tuple[Path, ...]:
        """The group's path, and those to which its clients may change."""
        names = {group.name, *group.client_names}
        changes = [fault for fault in self.fault_kinds if isinstance(fault, NetworkChange) and fault.path is not None]
        others = [fault.path for fault in changes if fault.path and (not fault.clients or names.intersection(fault.clients))]
        return (group.path, *others)

    def client_of(self, group: Group) -> ClientPart:
        """The behaviour of a group's clients."""
        return group.client or self.client

    def workload_of(self, group: Group) -> Workload:
        """The workload of a group's clients."""
        return group.workload or self.workload

    @property
    def round_trip_max_s(self) -> float:
        """The longest time of an answer without faults, in seconds, not counting waits in queues (`path_bounds`)."""
        server = self.server
        commit_s = server.commit_time_s if server.commit_time is None else server.commit_time.at(NEARLY_ALWAYS)
        return max(path_round_trip_max_s(path) for group in self.groups for path in self.paths_of(group)) + 2 * commit_s

    @property
    def recovery_bound_s(self) -> float:
        """G6: within this many seconds after the last fault everyone has recovered."""
        return max(self._recovery_bound_s(group) for group in self.groups)

    @property
    def tail_bound_s(self) -> float:
        """G13: how long a live connection may leave its client behind without anything arriving, in seconds."""
        parts, server = [self.client_of(group) for group in self.groups], self.server
        tail_s = max(part.config.tail_timeout_s + part.timer_late_max_s for part in parts)
        heartbeat_s = server.config.heartbeat_interval_s + server.timer_granularity_s + server.timer_slack_s
        return heartbeat_s + tail_s + self.round_trip_max_s + self._batch_max_s

    @property
    def notice_bound_s(self) -> float:
        """How long a dead connection may go unnoticed, in seconds."""
        parts = [self.client_of(group) for group in self.groups]
        notice_s = max(part.heartbeat_policy.notice_max_s + 2 * part.timer_late_max_s for part in parts)
        if any(isinstance(fault, HalfOpen) and fault.direction == "up" for fault in self.fault_kinds):
            # The client still receives from the server, which has to notice that it receives nothing from the client.
            notice_s = max(notice_s, self.server.config.silence_max_s)
        return notice_s + self.round_trip_max_s

    @property
    def end_s(self) -> float:
        """When the run ends, in seconds."""
        return self._trouble_end_s + (self.recovery_bound_s if self.settle_s is None else self.settle_s)

    def replace(self, paths: Mapping[str, Any] | None = None, **changes: Any) -> "Scenario":
        """A variation, checked like a scenario that was read: fields by name, or any value by its path.

        `scenario.replace({"client.policy.cap_s": 10.0, "groups.mobile.path.latency_s": 0.2}, seed=7)`. Raises ConfigError for an
        invalid scenario or path.
        """
        table = plain(msgspec.structs.replace(self, **changes))
        return converted(changed(table, paths or {}), Scenario)

    def to_toml(self) -> str:
        """Every parameter, including defaults, in a form that `parse_scenario` reads."""
        return toml_of(self.replace())

    def to_json(self) -> str:
        """The same as JSON."""
        return json_of(self.replace())

    def digest(self) -> str:
        """A hash of this scenario, in hex."""
        return blake2b(self.to_toml().encode(), digest_size=16).hexdigest()

    @property
    def _batch_max_s(self) -> float:
        """The longest time of one batch of events on the slowest link: a batch is delivered when all of it has arrived."""
        batch_bytes = self.server.config.batch_bytes_max
        cells = [(group.shared_bottleneck, group.clients) for group in self.groups]
        shared_s = [batch_bytes * clients / cell.bandwidth_bytes_per_s for cell, clients in cells if cell is not None]
        own_s = [transfer_max_s(path, batch_bytes) for group in self.groups for path in self.paths_of(group)]
        return max([*own_s, *shared_s])

    @property
    def _trouble_end_s(self) -> float:
        dns = [path.dns for group in self.groups for path in self.paths_of(group) if path.dns is not None]
        old_s = max((each.ttl_s + each.stale_s for each in dns), default=0.0)  # how long some may still use an old address
        ends = [fault.end_s + (old_s if isinstance(fault, Failover) else 0.0) for fault in self.faults]
        if any(isinstance(each.fault, Failover) for each in self.drawn_faults):
            ends.append(self.horizon_s + old_s)
        return max([self.horizon_s, *ends])

    def _recovery_bound_s(self, group: Group) -> float:
        part, boxes = self.client_of(group), [path.middlebox for path in self.paths_of(group)]
        wait_s = longest_wait_s(part.policy, self._trouble_end_s)
        bound_s = recovery_bound_s(part.config, wait_s, self.round_trip_max_s, heartbeat=part.heartbeat)
        bound_s += TIMERS_OF_A_RECOVERY * part.timer_late_max_s
        if any(box.upgrades != "pass" or box.websocket_age_max_s is not None for box in boxes):
            # Then no client has recovered before polling has taken over.
            attempt_s = wait_s + part.config.connect_timeout_s + max(box.websocket_age_max_s or 0.0 for box in boxes)
            bound_s += longest_until_fallback_s(part.fallback or part.config.fallback_policy, attempt_s)
        if self.server.capacity is not None:  # some are refused because they waited too long, and have to try once more
            bound_s += 2 * self.server.capacity.storm_s(len(self.client_names))
        if self.server.token_lifetime_s is not None:  # a token may have expired: a new one, and another attempt
            bound_s += self.server.token_refresh_time_s + wait_s + 2 * part.config.connect_timeout_s
        return bound_s


def longest_until_fallback_s(policy: FallbackPolicy, attempt_s: float) -> float:
    """The longest time until polling takes over if every attempt fails within `attempt_s`, including its wait; 0 for a policy
    that never falls back."""
    for failures in range(_FAILURES_MAX):
        wait_s = policy.wait_s(Disconnection(failures, failures * attempt_s))
        if wait_s is not None:
            return failures * attempt_s + max(0.0, wait_s)
    return 0.0


def longest_wait_s(policy: Policy | PresetPolicy, trouble_s: float) -> float:
    """The longest wait of a policy when a disconnection of `trouble_s` ends, if attempts fail at once.

    It is the wait of the last attempt that can have begun by then; for a policy with a cap, the cap.
    """
    elapsed_s = longest_s = 0.0
    for failures in range(_FAILURES_MAX):
        bounds = policy.range_s(failures)
        if bounds is None or elapsed_s > trouble_s:
            break
        elapsed_s += bounds[0]
        longest_s = max(longest_s, bounds[1])
    return longest_s


_FAILURES_MAX = 2000  # no formula here still grows after that many failures


def load_scenario(path: FilePath) -> Scenario:
    """Read a scenario's file. Raises ConfigError with one line that says where, what and what to do."""
    text = read_text(path)
    try:
        return parse_scenario(text, path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_scenario(text: str, folder: FilePath | None = None) -> Scenario:
    """A scenario from TOML or JSON. `folder`: of the network traces that it names. Raises ConfigError."""
    table = table_of(text)
    version = table.get("version")
    if version != FORMAT_VERSION:
        raise ConfigError(f"needs `version = {FORMAT_VERSION}` at its top, this one has {version!r}")
    return converted(read_in(table, folder), Scenario)
