"""The client: a session of the protocol on trio, over WebSocket or, if no WebSocket connects, over HTTP polling.

    async with connect("http://127.0.0.1:8765", run_id, token=token) as client:
        await client.publish("CHAT", {"text": "hello"})
        async for outcome in client:
            ...

Import everything that an application needs from here:

    connect, create_run, Client             under trio
    connect_asyncio                         under asyncio
    connect_blocking, TrioPortal            without `async`: notebooks, scripts
    ClientConfig, ClientSettings, policies  settings of a client
    events and outcomes                     what it receives
    Health, Status, ClientState             connection health and state
    FileOutboxStore                         an outbox that survives a restart
    errors                                  the exceptions of calls

Read `client` for what an application can do and `connecting` for how a client starts and ends; then `trio_io`, the I/O of a
session, and its two transports (`websocket`, `polling`); `without_trio` is for programs that do not use trio. The session
(`reference.protocol.client.session`) makes all decisions; this package waits, sends and delivers.
"""

from typing import TYPE_CHECKING

from reference.public_names import imported_on_use

if TYPE_CHECKING:
    from reference.client.addresses import OpenStream, open_tcp_stream
    from reference.client.client import Client, HealthChanges
    from reference.client.connecting import CreateRunFailed, connect, create_run
    from reference.client.mailbox import Delivery, PublishFailedError, Ticket, UndeliveredError
    from reference.client.outbox_store import FileOutboxStore, OutboxStore, OutboxStoreFailed
    from reference.client.recorder import SessionRecording
    from reference.client.settings import ClientSettings
    from reference.client.transport import LostConnection, QueuedPublish, ReceivedFrame, Tap
    from reference.client.without_trio.asyncio_client import AsyncioClient, connect_asyncio, create_run_asyncio
    from reference.client.without_trio.blocking import BlockingClient, connect_blocking
    from reference.client.without_trio.portal import PortalTimeout, Running, TrioPortal
    from reference.protocol.client.health import Health, Quality, RoundTrips, Status
    from reference.protocol.client.outcomes import (
        FailureCode,
        NotConnected,
        PublishAccepted,
        PublishFailed,
        ResetReceived,
        SessionEnded,
        SnapshotReceived,
    )
    from reference.protocol.config import ClientConfig
    from reference.protocol.errors import (
        CloseCode,
        ConfigError,
        InvalidEvent,
        LocalError,
        OutboxFull,
        RejectCode,
        SessionClosed,
        SteadywireError,
    )
    from reference.protocol.events import Data, Event, EventRegistry
    from reference.protocol.frames import Limits
    from reference.protocol.policies.catalogue import (
        AddedJitter,
        Decorrelated,
        DoubleJitter,
        ExponentialBackoff,
        Fixed,
        LateGrowth,
        OnceDrawn,
        Polynomial,
        Ramp,
        ScaledJitter,
        Schedule,
        SignedJitter,
        SpreadJitter,
    )
    from reference.protocol.policies.fallback import AfterEither, AfterFailures, AfterSeconds, FallbackPolicy, NeverFallBack
    from reference.protocol.policies.keepalive import (
        AfterSilence,
        EveryInterval,
        FreshnessPoints,
        HeartbeatPolicy,
        MissesInARow,
        NoPings,
        PhiAccrual,
        PhiExponential,
    )
    from reference.protocol.policies.reconnect import Attempt, FullJitter, RandomSource, ReconnectPolicy
    from reference.protocol.records import RunState, Snapshot
    from reference.protocol.states import ClientState, Transport
    from reference.protocol.statistics import Held

_HOMES = {
    "reference.client.addresses": ("OpenStream", "open_tcp_stream"),
    "reference.client.without_trio.asyncio_client": ("AsyncioClient", "connect_asyncio", "create_run_asyncio"),
    "reference.client.without_trio.blocking": ("BlockingClient", "connect_blocking"),
    "reference.client.client": ("Client", "HealthChanges"),
    "reference.client.connecting": ("CreateRunFailed", "connect", "create_run"),
    "reference.client.mailbox": ("Delivery", "PublishFailedError", "Ticket", "UndeliveredError"),
    "reference.client.outbox_store": ("FileOutboxStore", "OutboxStore", "OutboxStoreFailed"),
    "reference.client.without_trio.portal": ("PortalTimeout", "Running", "TrioPortal"),
    "reference.client.recorder": ("SessionRecording",),
    "reference.client.settings": ("ClientSettings",),
    "reference.client.transport": ("LostConnection", "QueuedPublish", "ReceivedFrame", "Tap"),
    "reference.protocol.client.health": ("Health", "Quality", "RoundTrips", "Status"),
    "reference.protocol.client.outcomes": (
        "FailureCode",
        "NotConnected",
        "PublishAccepted",
        "PublishFailed",
        "ResetReceived",
        "SessionEnded",
        "SnapshotReceived",
    ),
    "reference.protocol.config": ("ClientConfig",),
    "reference.protocol.errors": (
        "CloseCode",
        "ConfigError",
        "InvalidEvent",
        "LocalError",
        "OutboxFull",
        "RejectCode",
        "SessionClosed",
        "SteadywireError",
    ),
    "reference.protocol.events": ("Data", "Event", "EventRegistry"),
    "reference.protocol.frames": ("Limits",),
    "reference.protocol.policies.catalogue": (
        "AddedJitter",
        "Decorrelated",
        "DoubleJitter",
        "ExponentialBackoff",
        "Fixed",
        "LateGrowth",
        "OnceDrawn",
        "Polynomial",
        "Ramp",
        "ScaledJitter",
        "Schedule",
        "SignedJitter",
        "SpreadJitter",
    ),
    "reference.protocol.policies.fallback": ("AfterEither", "AfterFailures", "AfterSeconds", "FallbackPolicy", "NeverFallBack"),
    "reference.protocol.policies.keepalive": (
        "AfterSilence",
        "EveryInterval",
        "FreshnessPoints",
        "HeartbeatPolicy",
        "MissesInARow",
        "NoPings",
        "PhiAccrual",
        "PhiExponential",
    ),
    "reference.protocol.policies.reconnect": ("Attempt", "FullJitter", "RandomSource", "ReconnectPolicy"),
    "reference.protocol.records": ("RunState", "Snapshot"),
    "reference.protocol.states": ("ClientState", "Transport"),
    "reference.protocol.statistics": ("Held",),
}

__all__ = [
    "AddedJitter",
    "AfterEither",
    "AfterFailures",
    "AfterSeconds",
    "AfterSilence",
    "AsyncioClient",
    "Attempt",
    "BlockingClient",
    "Client",
    "ClientConfig",
    "ClientSettings",
    "ClientState",
    "CloseCode",
    "ConfigError",
    "CreateRunFailed",
    "Data",
    "Decorrelated",
    "Delivery",
    "DoubleJitter",
    "Event",
    "EventRegistry",
    "EveryInterval",
    "ExponentialBackoff",
    "FailureCode",
    "FallbackPolicy",
    "FileOutboxStore",
    "Fixed",
    "FreshnessPoints",
    "FullJitter",
    "Health",
    "HealthChanges",
    "HeartbeatPolicy",
    "Held",
    "InvalidEvent",
    "LateGrowth",
    "Limits",
    "LocalError",
    "LostConnection",
    "MissesInARow",
    "NeverFallBack",
    "NoPings",
    "NotConnected",
    "OnceDrawn",
    "OpenStream",
    "OutboxFull",
    "OutboxStore",
    "OutboxStoreFailed",
    "PhiAccrual",
    "PhiExponential",
    "Polynomial",
    "PortalTimeout",
    "PublishAccepted",
    "PublishFailed",
    "PublishFailedError",
    "Quality",
    "QueuedPublish",
    "Ramp",
    "RandomSource",
    "ReceivedFrame",
    "ReconnectPolicy",
    "RejectCode",
    "ResetReceived",
    "RoundTrips",
    "RunState",
    "Running",
    "ScaledJitter",
    "Schedule",
    "SessionClosed",
    "SessionEnded",
    "SessionRecording",
    "SignedJitter",
    "Snapshot",
    "SnapshotReceived",
    "SpreadJitter",
    "Status",
    "SteadywireError",
    "Tap",
    "Ticket",
    "Transport",
    "TrioPortal",
    "UndeliveredError",
    "connect",
    "connect_asyncio",
    "connect_blocking",
    "create_run",
    "create_run_asyncio",
    "open_tcp_stream",
]

__getattr__, __dir__ = imported_on_use(globals(), {name: f"{home}:{name}" for home, names in _HOMES.items() for name in names})
