"""The context shared by the parts of one client session: settings, timers, the two output queues that the driver empties, and the
report to the server."""

import enum

from reference.protocol.actions import ClientAction, Save
from reference.protocol.client.client_report import ClientReport
from reference.protocol.client.outcomes import Outcome
from reference.protocol.config import ClientConfig
from reference.protocol.saved_session import Change
from reference.protocol.timers import FewTimers


class Timer(enum.Enum):
    """Everything that a client session may be waiting for."""

    __hash__ = object.__hash__  # members are unique; Enum's own hash is a Python function, and these are keys on every path

    CONNECT = "connect timeout: the connection must be open, or welcomed"
    RETRY = "the next attempt"
    PING = "the next ping"
    PONG = "no byte for as long as the heartbeat policy allows: half-open"
    FALLBACK = "polling takes over if no transport carries the session by now"
    STEADY = "useful for long enough to forget earlier failures"
    PROBE = "the next probe of WebSocket while polling"
    TOKEN = "the application must have supplied a token by now"
    REFRESH = "ask the application again for a token, because it supplied the old one"
    TAIL = "events that must exist have not arrived"
    ACK = "acknowledge events that the application has taken"
    CURSOR = "the cursor may be sent again"
    RESEND = "send again what the server rejected as retryable"
    EXPIRE = "the oldest waiting message has become too old"
    POLL = "the next poll"
    POLL_LIMIT = "request timeout of the poll"
    PUBLISH_LIMIT = "request timeout of the publish"
    PATIENCE = "the application has taken nothing for too long"


class ClientContext:
    """One per session; the parts append their actions and outcomes to it."""

    __slots__ = ("actions", "client_report", "config", "outcomes", "saves", "timers")

    def __init__(self, config: ClientConfig, *, saves: bool = False) -> None:
        self.config = config
        self.saves = saves
        self.timers: FewTimers[Timer] = FewTimers()
        self.actions: list[ClientAction] = []
        self.outcomes: list[Outcome] = []
        self.client_report = ClientReport()

    def save(self, change: Change) -> None:
        """Ask the driver to save a change, if this session saves."""
        if self.saves:
            self.actions.append(Save(change))
