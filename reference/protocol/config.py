"""All protocol parameters as frozen, validated values, with the unit in each name (9.1).

The defaults are the brief's constants, or those of docs/protocol.md where the brief names none. A parameter set is a value:
compare it, print it, replace one field with `msgspec.structs.replace`, write it into a scenario.
"""

import typing
from typing import Annotated, Any, Literal

import msgspec

from reference.protocol.errors import ConfigError
from reference.protocol.frames import Limits, Start
from reference.protocol.policies.fallback import AfterFailures, FallbackPolicy, NeverFallBack
from reference.protocol.policies.keepalive import EveryInterval, HeartbeatPolicy

DAY_S = 86_400
Seconds = Annotated[float, msgspec.Meta(gt=0, le=DAY_S)]
SecondsOrZero = Annotated[float, msgspec.Meta(ge=0, le=DAY_S)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
PerSecond = Annotated[float, msgspec.Meta(ge=0.001, le=1_000_000_000)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]

OutboxPolicy = Literal["reject_new", "drop_oldest", "conflate"]


STATE_AND_BATCH_BYTES_MAX = 6 * 1024 * 1024 + 256 * 1024
"""Of the 8 MiB of a frame; the rest is for users and cursors (1.5 MiB), one event larger than a batch, and the frame itself (9.3,
9.4)."""


class _Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    def __post_init__(self) -> None:
        for name, constraint in typing.get_type_hints(type(self), include_extras=True).items():
            _check(name, getattr(self, name), constraint)


class ClientConfig(_Config, frozen=True):  # 9.2
    """How a client behaves. Seconds and bytes; messages and events are counted."""

    connect_timeout_s: Seconds = 10.0
    """For opening a connection, and again for the welcome on it."""
    ping_interval_s: Seconds = 10.0
    ping_timeout_s: Seconds = 10.0
    """If no byte arrives for this long after a ping, the connection counts as half-open and is closed."""
    steady_after_s: Seconds = 10.0
    """Useful uptime (welcome plus one answered ping) after which earlier failures are forgotten."""
    first_spread_s: SecondsOrZero = 1.0
    """The spread of the first wait after a live session is lost, until the server's welcome sets it."""
    tail_timeout_s: Seconds = 2.0
    """If the head is known to be above the position and nothing arrives for this long, there is a gap."""

    fallback_after_failures: Positive | None = 5
    """Failed attempts in a row after which HTTP polling takes over; None: never."""
    poll_interval_s: Seconds = 2.0
    poll_wait_s: Annotated[float, msgspec.Meta(ge=0, le=25)] = 0.0
    """How long the server may hold a poll without an answer if there is nothing to read; 0 is plain polling."""
    request_timeout_s: Seconds = 10.0
    """For an HTTP answer, in addition to the wait that was requested from the server."""
    probe_interval_s: Seconds = 15.0
    """The first wait before WebSocket is probed during polling; doubles with each failed probe."""
    probe_interval_max_s: Seconds = 300.0
    probe_jitter: Fraction = 0.25

    outbox_messages_max: Positive = 1000
    outbox_bytes_max: Positive = 1024 * 1024
    outbox_age_max_s: Seconds = 600.0
    outbox_policy: OutboxPolicy = "reject_new"
    unanswered_max: Annotated[int, msgspec.Meta(ge=1, le=64)] = 64
    """Publishes sent and not yet answered; the server allows at most 64."""
    retry_limit: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 3
    """Tries of one message after retryable rejections (the brief's messageRetryLimit)."""
    retry_base_s: Seconds = 1.0

    cursor_interval_s: SecondsOrZero = 0.05
    """The cursor is sent at most this often; only its latest position counts."""

    inbox_held_max: Positive = 256
    ack_interval_s: Seconds = 1.0
    ack_events: Positive = 1024
    round_trip_samples_max: Positive = 100
    start: Start = "snapshot"
    refreshes_token: bool = False
    """Whether the application can supply a new token when the server asks for one."""
    token_timeout_s: Seconds = 60.0
    """How long the application may take to supply it."""
    patience_s: SecondsOrZero = 1.0
    """The longest that a driver waits for an application that takes nothing, before the session holds its events."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.outbox_messages_max < self.unanswered_max:
            raise ConfigError(
                f"outbox_messages_max = {self.outbox_messages_max} is below unanswered_max = {self.unanswered_max}: "
                "what is sent stays in the outbox until it is answered; raise the first or lower the second"
            )
        if self.probe_interval_max_s < self.probe_interval_s:
            raise ConfigError("probe_interval_max_s is below probe_interval_s; raise it")

    @property
    def fallback_policy(self) -> FallbackPolicy:
        """The policy that the fields describe, for a session created without one."""
        failures = self.fallback_after_failures
        return NeverFallBack() if failures is None else AfterFailures(failures)

    @property
    def heartbeat_policy(self) -> HeartbeatPolicy:
        """The policy that the fields describe, for a session created without one."""
        return EveryInterval(self.ping_interval_s, self.ping_timeout_s)


class ServerConfig(_Config, frozen=True):  # 9.3
    """How a server behaves towards one run and its clients."""

    hello_timeout_s: Seconds = 10.0
    heartbeat_interval_s: Seconds = 15.0
    silence_max_s: Seconds = 35.0
    """A client silent for this long is gone: three of its ping intervals and a margin."""
    slow_reader_timeout_s: Seconds = 30.0
    """A reader that takes nothing for this long while data waits for it is closed with TOO_SLOW."""
    first_spread_s: SecondsOrZero = 1.0
    """Sent in welcome: the spread of the clients' first attempts after this server is lost."""

    events_kept_max: Positive = 1000
    """Per run (the brief's MAX_PERSISTED_MESSAGES_PER_RUN)."""
    snapshot_interval_events: Positive = 500
    state_entries_max: Positive = 10_000
    state_bytes_max: Annotated[int, msgspec.Meta(ge=1, le=6 * 1024 * 1024)] = 4 * 1024 * 1024
    """A snapshot is one frame, and a client accepts no frame above 8 MiB."""
    batch_events_max: Positive = 256
    batch_bytes_max: Annotated[int, msgspec.Meta(ge=1, le=4 * 1024 * 1024)] = 256 * 1024
    """Of the events in one frame; a single event may exceed it."""
    run_idle_s: SecondsOrZero = 60.0
    """A run without clients is dropped from memory after this time; its events are stored."""
    appends_pending_max: Positive = 1000
    """Events of one run that are sequenced and not yet durable; at most `events_kept_max`, so that none is trimmed unread."""

    frame_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=1024 * 1024)] = 64 * 1024
    unanswered_max: Annotated[int, msgspec.Meta(ge=1, le=64)] = 64
    publishes_per_s: PerSecond = 200.0
    publish_burst: Positive = 400
    publish_bytes_per_s: Positive = 8 * 1024 * 1024
    publish_bytes_burst: Positive = 16 * 1024 * 1024
    """Of the data of one client's publishes. At the defaults 128 events of the largest size per second, and 256 at once."""
    frames_per_s: PerSecond = 1000.0
    frame_burst: Positive = 2000
    """Frames of any kind on one connection; a connection that exceeds it is closed with RATE."""
    clients_per_run_max: Positive = 10_000
    """Client ids that a run remembers for deduplication."""
    clients_per_user_max: Positive = 1000
    """How many of those one user may have."""
    clients_kept_s: Annotated[float, msgspec.Meta(ge=2 * DAY_S, le=366 * DAY_S)] = 7.0 * DAY_S
    """A client id that has published nothing for this long is forgotten when a new one needs its place. No client sends a publish
    again that is older than a day (`outbox_age_max_s`), so no copy reaches a server that has forgotten it."""
    connections_per_run_max: Positive = 10_000
    sessions_per_run_max: Positive = 10_000
    """Sessions that are connected, poll, or were lost less than a grace period ago."""

    presence_grace_s: SecondsOrZero = 30.0
    """A user whose connection was lost stays present for this long."""
    presence_users_max: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] = 10_000
    """Users named in presence, in order of arrival; 0: none. Sending everyone's presence to everyone costs the square of their
    number."""
    presence_interval_s: Seconds = 0.25
    cursor_interval_s: Seconds = 0.1
    """Presence and cursor changes are collected for this long and sent as one frame."""
    token_warning_fraction: Fraction = 0.8
    token_grace_s: SecondsOrZero = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.appends_pending_max > self.events_kept_max:
            raise ConfigError(
                f"appends_pending_max = {self.appends_pending_max} exceeds events_kept_max = {self.events_kept_max}: "
                "one append could trim what no reader has seen; lower the first"
            )
        if self.frames_per_s < 2 * self.publishes_per_s or self.frame_burst < 2 * self.publish_burst:
            raise ConfigError(
                "frames_per_s and frame_burst must be at least twice publishes_per_s and publish_burst: a client that is put "
                "off for publishing too fast must not be closed for it; raise the first two"
            )
        if self.publish_bytes_burst < self.frame_bytes_max:
            raise ConfigError(
                f"publish_bytes_burst = {self.publish_bytes_burst} is below frame_bytes_max = {self.frame_bytes_max}: "
                "the largest publish would never be taken; raise the first"
            )
        if self.state_bytes_max + self.batch_bytes_max > STATE_AND_BATCH_BYTES_MAX:
            raise ConfigError(
                f"state_bytes_max + batch_bytes_max = {self.state_bytes_max + self.batch_bytes_max} exceeds "
                f"{STATE_AND_BATCH_BYTES_MAX}: the answer to a poll may hold both, and a client takes 8 MiB; lower one of them"
            )
        if self.snapshot_interval_events > self.events_kept_max:
            raise ConfigError(
                f"snapshot_interval_events = {self.snapshot_interval_events} exceeds events_kept_max = "
                f"{self.events_kept_max}: what is trimmed must be covered by a snapshot; lower the first"
            )

    @property
    def limits(self) -> Limits:
        """The limits as `welcome` reports them."""
        return Limits(
            self.frame_bytes_max,
            self.unanswered_max,
            self.publishes_per_s,
            hello_timeout_ms=whole_ms(self.hello_timeout_s),
            silence_max_ms=whole_ms(self.silence_max_s),
            slow_reader_timeout_ms=whole_ms(self.slow_reader_timeout_s),
            events_kept_max=self.events_kept_max,
        )


def whole_ms(seconds: float) -> int:
    """A limit as `welcome` reports it: at least 1, because 0 would read as none."""
    return max(1, round(seconds * 1000))


def recovery_bound_s(
    client: ClientConfig, wait_max_s: float, round_trip_max_s: float, *, heartbeat: HeartbeatPolicy | None = None
) -> float:
    """G6: the longest time after the last fault until a client is live again and at the head, in seconds.

    When the fault ends, the client may be waiting for the longest wait of its reconnect policy, may not have noticed yet that its
    connection is dead (bounded by `heartbeat`, None for the config's own), or may have a hanging attempt. Then it connects, is
    welcomed and reads. The fallback policy does not change the bound: polling may take over once in between, and that is counted
    in full. The bound holds for a server that answers within `round_trip_max_s`.
    """
    notice = (heartbeat or client.heartbeat_policy).notice_max_s
    hanging = 2 * client.connect_timeout_s
    polling = client.poll_interval_s + client.poll_wait_s + 2 * client.request_timeout_s
    return notice + hanging + polling + 2 * wait_max_s + client.tail_timeout_s + 10 * round_trip_max_s


def _check(name: str, value: Any, hint: Any) -> None:
    if hint is bool and not isinstance(value, bool):
        raise ConfigError(f"{name} = {value!r}: must be true or false")
    if typing.get_origin(hint) is Literal and value not in typing.get_args(hint):
        raise ConfigError(f"{name} = {value!r}: must be one of {', '.join(typing.get_args(hint))}")
    for option in _constrained(hint):
        metas = [meta for meta in option.__metadata__ if isinstance(meta, msgspec.Meta)]
        if value is None or not metas:
            return
        wanted = option.__origin__
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or (wanted is int and not isinstance(value, int)):
            raise ConfigError(f"{name} = {value!r}: needs a {'whole ' if wanted is int else ''}number")
        for meta in metas:
            for holds, sign, limit in (
                (meta.gt is None or value > meta.gt, ">", meta.gt),
                (meta.ge is None or value >= meta.ge, ">=", meta.ge),
                (meta.le is None or value <= meta.le, "<=", meta.le),
            ):
                if not holds:
                    raise ConfigError(f"{name} = {value!r}: must be {sign} {limit}")


def _constrained(hint: Any) -> list[Any]:
    options = typing.get_args(hint) if not hasattr(hint, "__metadata__") else (hint,)
    return [option for option in options if hasattr(option, "__metadata__")]
