"""Paths: the network between a client and the server without faults, and its availability.

    Path           propagation, bandwidth and queue, loss, TCP and TLS, middleboxes on the way
    Availability   a process of uptimes and downtimes, of one client's path, of a whole group's, or of everyone's

A path is a permanent property (an impairment); an event at one time is a fault (`simulation.scenario.faults`). Everything here is
what TCP can do: stall, reset, half-open, refuse, slow. A single message on a WebSocket cannot be lost: TCP sends a lost packet
again, and later data wait for it (head-of-line blocking).
"""

import itertools
from typing import Annotated, Literal

import msgspec

from reference.protocol.errors import ConfigError
from simulation.scenario.distributions import Constant, Distribution

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
PositiveSeconds = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
BytesPerSecond = Annotated[float, msgspec.Meta(gt=0, le=1e12)]
RECORDED_MAX = 1_000_000
"""Entries of one network trace, or of one list of recorded times."""
UpgradeHandling = Literal["pass", "block", "strip", "hang"]
"""What happens to an upgrade request: it passes, is answered with 403, loses its header, is never answered."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


# Loss.


class BernoulliLoss(_Part, frozen=True, kw_only=True, tag_field="kind", tag="bernoulli"):
    """Each packet is lost with the same probability, whatever happened before."""

    probability: Probability


class FadingLoss(_Part, frozen=True, kw_only=True, tag_field="kind", tag="fading"):
    """Loss in bursts, in time: the default model for bursts. The link is good for an exponential time of mean `good_ms`, then bad
    for one of mean `bad_ms`, and so on (Gilbert-Elliott in continuous time; it begins stationary). A packet, sent for the first
    time or again, is lost with `loss_in_good` or `loss_in_bad`, by the state when it is sent. All connections of a client have
    the same states, separately for each direction.
    """

    good_ms: Annotated[float, msgspec.Meta(ge=1, le=1e9)]
    bad_ms: Annotated[float, msgspec.Meta(ge=1, le=1e9)]
    loss_in_good: Probability = 0.0
    loss_in_bad: Probability = 1.0


class GilbertElliottLoss(_Part, frozen=True, kw_only=True, tag_field="kind", tag="gilbert_elliott"):
    """Loss in bursts, in packets: a chain of two states with one step per packet, including retransmissions.

    It describes losses of a busy link, packet by packet. On a sparse stream a burst of n packets lasts for n retransmissions,
    whose timeouts double: minutes. Use FadingLoss for fades, which end by themselves.

    good_to_bad, bad_to_good: the probabilities of a step (p and r). A packet is lost with `loss_in_good` (1 - k) or
    `loss_in_bad` (1 - h). Source: Gilbert 1960, Elliott 1963.
    """

    good_to_bad: Probability
    bad_to_good: Annotated[float, msgspec.Meta(gt=0, le=1)]
    loss_in_good: Probability = 0.0
    loss_in_bad: Probability = 1.0


Loss = BernoulliLoss | GilbertElliottLoss | FadingLoss


# TCP, TLS and middleboxes.


class TcpKeepalive(_Part, frozen=True, kw_only=True):
    """TCP's probes of an idle connection, by each endpoint's kernel (SO_KEEPALIVE). Linux's defaults are 7200, 75 and 9.

    After `idle_s` without data from the other endpoint a probe is sent, and another every `interval_s`; when `probes` of them
    were not answered, the kernel gives the connection up. Probes also keep a middlebox from closing the connection.
    """

    idle_s: PositiveSeconds = 7200.0
    interval_s: PositiveSeconds = 75.0
    probes: Annotated[int, msgspec.Meta(ge=1, le=100)] = 9


class Dns(_Part, frozen=True, kw_only=True):
    """How a client finds the server's address, before it dials. Times in seconds.

    lookup: the time of an answer, for a client whose own answer is older than `ttl_s`. Its resolver is a shared one: it fetches
    the record each time that its copy has expired, with a random phase, so a change is seen after U(0, ttl_s). stale_s: when the
    record cannot be fetched, an expired answer is used for this much longer (RFC 8767). A query without an answer is sent again
    after `repeat_s`, `tries` times in all (the resolver of glibc: 5 s and 2).
    """

    lookup: Distribution = Constant(value=0.03)
    ttl_s: Seconds = 60.0
    stale_s: Seconds = 0.0
    repeat_s: PositiveSeconds = 5.0
    tries: Annotated[int, msgspec.Meta(ge=1, le=10)] = 2


class PortPool(_Part, frozen=True, kw_only=True):
    """The ports of one address, of a NAT or a load balancer: each connection through it uses one.

    time_wait_s: a port is not reused for this many seconds after its connection was closed; after a reset it is free at once
    (RFC 9293 and 5382). when_exhausted: a SYN without a free port is dropped (a NAT) or answered by a reset (a balancer). Linux
    has 28232 ports (ip_local_port_range) and waits for 60 s.
    """

    ports: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 28_232
    time_wait_s: Seconds = 60.0
    when_exhausted: Literal["drop", "reset"] = "drop"


class Tcp(_Part, frozen=True, kw_only=True):
    """How TCP handles loss, silence and congestion.

    congestion: "none" sends everything at once; "linux" begins with `initial_window_packets` in flight, doubles that per round
    trip, halves it when idle, and backs off after losses (`simulation.network.congestion`), with `receive_window_bytes` in flight
    at most. user_timeout_s: TCP_USER_TIMEOUT, after which unacknowledged data ends the connection, in place of `retries`.
    resumes: after an outage, "at_once" (as the emulator: data wait at the gap) or "rto" (as kernels do: at the next
    retransmission, whose time has been doubling since the silence began). syn: when a connection attempt repeats its SYN,
    "classic" (at 0 1 3 7 15 31 63 s, given up at 127 s) or "linux_6_5" (0 1 2 3 4 5 7 11 19 35 67, given up at 131 s).
    rto_min_s: the least addition to the smoothed round trip, RTO = SRTT + max(rto_min, 4 mdev), as in Linux. retries: of
    data, after which the kernel gives the connection up (15: 924.6 s, computed with rto_min, as in Linux). tls: round trips of
    the handshake after TCP's: none 0, "1.3" 1, "1.2" 2. tls_ticket_s: how long after a handshake the client can resume it
    (None: never), without certificates: 1.3 still in one round trip, 1.2 in one.
    """

    mss_bytes: Annotated[int, msgspec.Meta(ge=100, le=9000)] = 1460
    congestion: Literal["none", "linux"] = "none"
    initial_window_packets: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    receive_window_bytes: Annotated[int, msgspec.Meta(ge=1460, le=2**30)] = 3 * 2**20
    user_timeout_s: PositiveSeconds | None = None
    keepalive: "TcpKeepalive | None" = None
    rto_min_s: PositiveSeconds = 0.2
    rto_max_s: PositiveSeconds = 120.0
    retries: Annotated[int, msgspec.Meta(ge=1, le=100)] = 15
    resumes: Literal["at_once", "rto"] = "at_once"
    syn: Literal["classic", "linux_6_5"] = "linux_6_5"
    tls: Literal["none", "1.3", "1.2"] = "none"
    tls_ticket_s: PositiveSeconds | None = None

    def __post_init__(self) -> None:
        if self.rto_max_s < self.rto_min_s:
            raise ConfigError(f"rto_max_s = {self.rto_max_s:g} is below rto_min_s = {self.rto_min_s:g}; raise it")
        if self.tls_ticket_s is not None and self.tls == "none":
            raise ConfigError("tls_ticket_s needs a handshake to resume; set tls, or remove it")


class Middlebox(_Part, frozen=True, kw_only=True):
    """A NAT, proxy or load balancer on the way, in normal operation.

    idle_timeout_s: a connection without data for this long is forgotten: "silent" (both endpoints keep a half-open connection) or
    "reset" (both are notified). Data and TCP's keepalives count. place: its position, as a share of the latency from the client
    (0: at the client, a NAT; 1: at the server, a load balancer). idle_sweep_s: it looks for idle connections at this interval
    (with a random phase), and not continuously (0). connection_age_max_s: every connection is
    closed at this age; websocket_age_max_s: every WebSocket, from its upgrade on. upgrades: "pass"; "block" answers 403 to each;
    "strip" removes the header, so that the server answers as to plain HTTP (426); "hang" never answers.
    """

    idle_timeout_s: PositiveSeconds | None = None
    idle_effect: Literal["silent", "reset"] = "silent"
    place: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    idle_sweep_s: Seconds = 0.0
    connection_age_max_s: PositiveSeconds | None = None
    websocket_age_max_s: PositiveSeconds | None = None
    upgrades: UpgradeHandling = "pass"


class Path(_Part, frozen=True):
    """The network between a client and the server without faults, equal in both directions unless stated otherwise.

    latency_s: one-way propagation. jitter_s: added per chunk, uniform on [0, jitter_s). delay: a distribution whose sample, in
    seconds, is added per chunk as well. TCP keeps the order. recorded_latency: (start, one-way seconds) in place of latency_s,
    each until the next, repeated from its beginning when it ends; the last lasts as long as the one before it.
    bandwidth_bytes_per_s: the bottleneck, in each direction; None is unlimited; up_bandwidth_bytes_per_s: a different one towards
    the server. deliveries_ms: in place of a bandwidth, the times at which the bottleneck can send one packet of 1500 bytes, in
    ms, repeated from the beginning when they end (the Mahimahi format). up_recorded_latency, up_deliveries_ms: different ones
    towards the server. queue_bytes: the size of the bottleneck's queue; a packet without room is lost. dns: how the server's
    address is found; None: it is known.
    """

    latency_s: Seconds = 0.02
    jitter_s: Seconds = 0.0
    bandwidth_bytes_per_s: BytesPerSecond | None = None
    delay: Distribution | None = None
    recorded_latency: Annotated[tuple[tuple[Seconds, Seconds], ...], msgspec.Meta(max_length=RECORDED_MAX)] = ()
    up_bandwidth_bytes_per_s: BytesPerSecond | None = None
    deliveries_ms: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0)], ...], msgspec.Meta(max_length=RECORDED_MAX)] = ()
    up_recorded_latency: Annotated[tuple[tuple[Seconds, Seconds], ...], msgspec.Meta(max_length=RECORDED_MAX)] = ()
    up_deliveries_ms: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0)], ...], msgspec.Meta(max_length=RECORDED_MAX)] = ()
    queue_bytes: Annotated[int, msgspec.Meta(ge=1500)] | None = None
    loss: Loss | None = None
    """How packets are lost."""
    tcp: Tcp = Tcp()
    """The behaviour of both kernels."""
    middlebox: Middlebox = Middlebox()
    """A NAT, proxy or load balancer on the path."""
    dns: Dns | None = None

    def __post_init__(self) -> None:
        for name, recorded in (("recorded_latency", self.recorded_latency), ("up_recorded_latency", self.up_recorded_latency)):
            times = [at for at, _ in recorded]
            if times and (times[0] != 0 or any(later <= at for at, later in itertools.pairwise(times))):
                raise ConfigError(f"{name}: its times must begin at 0 and increase")
        for name, deliveries in (("deliveries_ms", self.deliveries_ms), ("up_deliveries_ms", self.up_deliveries_ms)):
            if any(later < at for at, later in itertools.pairwise(deliveries)):
                raise ConfigError(f"{name}: its times must not decrease")
            if deliveries and not deliveries[-1]:
                raise ConfigError(f"{name}: its last time is its length, and must be above 0")
        if self.up_deliveries_ms and not self.deliveries_ms:
            raise ConfigError("up_deliveries_ms needs deliveries_ms for the other direction; add it")
        if self.deliveries_ms and (self.bandwidth_bytes_per_s or self.up_bandwidth_bytes_per_s):
            raise ConfigError("a path has deliveries_ms or a bandwidth, not both; remove one")
        if self.queue_bytes is not None and not (
            self.deliveries_ms or self.bandwidth_bytes_per_s or self.up_bandwidth_bytes_per_s
        ):
            raise ConfigError("queue_bytes is the queue of a bottleneck; add bandwidth_bytes_per_s or deliveries_ms")

    def recorded_latency_of(self, *, is_up: bool) -> tuple[tuple[float, float], ...]:
        """Of one direction."""
        return self.up_recorded_latency if is_up and self.up_recorded_latency else self.recorded_latency

    def deliveries_ms_of(self, *, is_up: bool) -> tuple[int, ...]:
        """Of one direction."""
        return self.up_deliveries_ms if is_up and self.up_deliveries_ms else self.deliveries_ms


class SharedBottleneck(_Part, frozen=True, kw_only=True):
    """A cell or an uplink that the clients of a group share: those that have something to send get equal shares of
    `bandwidth_bytes_per_s`, in each direction, or of `up_bandwidth_bytes_per_s` towards the server."""

    bandwidth_bytes_per_s: BytesPerSecond
    up_bandwidth_bytes_per_s: BytesPerSecond | None = None


# Availability.


class _Availability(_Part, frozen=True, kw_only=True, tag_field="kind"):
    """scope: each client has its own process, or the whole group (for the scenario's own: everyone) shares one. effect: a
    downtime is an outage (silence), or a cut (connections are reset and new ones refused at once).
    """

    scope: Literal["client", "shared"] = "client"
    effect: Literal["outage", "cut"] = "outage"


class AlternatingRenewal(_Availability, frozen=True, kw_only=True, tag="alternating"):
    """Up for a sample of `up`, down for a sample of `down`, in seconds, and so on; it begins up. Each lasts at least 1 ms.

    up_from: the start of an uptime: the end of the downtime ("end"), or when the client has a transport again ("reconnect": for
    problems of the connection, not of the link, such as an access point that drops clients or a proxy that leaks).
    """

    up: Distribution
    down: Distribution
    up_from: Literal["end", "reconnect"] = "end"

    def __post_init__(self) -> None:
        if self.up_from == "reconnect" and self.scope != "client":
            raise ConfigError('up_from = "reconnect" is of each client by itself; set scope = "client"')


class OnOffMarkov(_Availability, frozen=True, kw_only=True, tag="on_off"):
    """Exponential uptimes and downtimes; it begins in its stationary state."""

    up_mean_s: PositiveSeconds
    down_mean_s: PositiveSeconds


class PeriodicAvailability(_Availability, frozen=True, kw_only=True, tag="periodic"):
    """Down for `down_s` in every `period_s`, first at `first_down_s`; with a `random_phase` later by a uniform part of the
    period, each client by its own or all by the same (`scope`)."""

    period_s: PositiveSeconds
    down_s: PositiveSeconds
    first_down_s: Seconds = 0.0
    random_phase: bool = False

    def __post_init__(self) -> None:
        if self.down_s >= self.period_s:
            raise ConfigError(f"down_s = {self.down_s:g} must be below period_s = {self.period_s:g}, or it is never up")


class RecordedAvailability(_Availability, frozen=True, kw_only=True, tag="recorded"):
    """Down in each of these intervals: (from, until) in seconds, in order and without overlap."""

    outages: Annotated[tuple[tuple[Seconds, Seconds], ...], msgspec.Meta(min_length=1, max_length=RECORDED_MAX)]

    def __post_init__(self) -> None:
        flat = [at for stretch in self.outages for at in stretch]
        if any(later <= at for at, later in itertools.pairwise(flat)):
            raise ConfigError("outages: each must end after it begins, and begin after the one before has ended")


Availability = AlternatingRenewal | OnOffMarkov | PeriodicAvailability | RecordedAvailability
