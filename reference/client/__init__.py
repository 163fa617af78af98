"""The client: a session of the protocol on trio, over WebSocket or, where that does not get through, over HTTP polling.

    async with connect("http://127.0.0.1:8000", run_id, token=token) as client:
        await client.publish("CHAT", {"text": "hello"})
        async for outcome in client:
            ...

Read `client` for what an application can do and `connect` for how to begin; then `trio_io`, the IO of a session, and its two
transports (`websocket`, `polling`). Every decision is the session's (`reference.protocol.client.session`); what is here waits,
sends and hands over.
"""

from reference.client.addresses import OpenStream, open_tcp_stream
from reference.client.client import Client
from reference.client.connect import CreateRunFailed, connect, create_run
from reference.client.health_changes import HealthChanges
from reference.client.mailbox import Delivery
from reference.client.outbox_store import FileOutboxStore, OutboxStore, OutboxStoreFailed
from reference.client.recorder import SessionRecording
from reference.client.tap import LostConnection, QueuedPublish, ReceivedFrame, Tap
from reference.client.tickets import PublishFailedError, Ticket, UndeliveredError

__all__ = [
    "Client",
    "CreateRunFailed",
    "Delivery",
    "FileOutboxStore",
    "HealthChanges",
    "LostConnection",
    "OpenStream",
    "OutboxStore",
    "OutboxStoreFailed",
    "PublishFailedError",
    "QueuedPublish",
    "ReceivedFrame",
    "SessionRecording",
    "Tap",
    "Ticket",
    "UndeliveredError",
    "connect",
    "create_run",
    "open_tcp_stream",
]
