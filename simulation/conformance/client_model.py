"""The model of a run that the kit plays for a client, and the kit's memory of that client over its connections."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from simulation.conformance.frames import CRITICAL, Frame, fold

PATIENCE_S = 5.0
START_S_MAX = 20.0
"""For the start of the client's process, until its first request."""
SLACK_S = 2.5
"""How much later than the text says something may happen, on a loaded machine."""
SESSION_ID = "kit-session"
DEFAULTS: dict[str, Any] = {
    "connect_timeout_s": 10.0,
    "ping_interval_s": 10.0,
    "ping_timeout_s": 10.0,
    "steady_after_s": 10.0,
    "tail_timeout_s": 2.0,
    "fallback_after_failures": 5,
    "poll_interval_s": 2.0,
    "poll_wait_s": 0.0,
    "request_timeout_s": 10.0,
    "probe_interval_s": 15.0,
    "probe_jitter": 0.25,
    "retry_base_s": 1.0,
    "retry_limit": 3,
    "cursor_interval_s": 0.05,
    "ack_interval_s": 1.0,
    "policy": "full_jitter",
    "sees_refused_upgrades": True,
}
"""The client's settings (9.2, 7.22, 5.7), unless its `ready` report names others."""


class Log:
    """The run that the kit plays: a history, its epoch, and the publishes of the one client."""

    def __init__(self) -> None:
        self.epoch = _new_id("epoch")
        self.events: list[Frame] = []
        self.answers: dict[int, Frame] = {}
        self.newest_taken = 0
        self.base = 0

    @property
    def head(self) -> int:
        return self.base + len(self.events)

    def append(self, event_type: str = "CHAT", data: Frame | None = None, user: str = "kit-other") -> Frame:
        """A new event."""
        event = {
            "eventType": event_type,
            "userId": user,
            "timestamp": 1_795_438_800_000 + self.head,
            "sequenceNumber": self.head + 1,
            "data": {} if data is None else data,
            "isCritical": event_type in CRITICAL,
        }
        self.events.append(event)
        return event

    def after(self, number: int) -> list[Frame]:
        """The events after that number."""
        return self.events[max(0, number - self.base) :]

    def state(self, number: int) -> Frame:
        """The state at that number, as `snapshot.state`."""
        return fold(self.events[: number - self.base])

    def take(self, publish: Frame) -> tuple[Frame, Frame | None]:
        """The answer to a publish, and the event if it is new."""
        number = publish["clientSequence"]
        if number in self.answers:
            return self.answers[number] | {"duplicate": True}, None
        event = self.append(publish["eventType"], publish["data"], "kit-user")
        self.newest_taken = max(self.newest_taken, number)
        answer = {"type": "accepted", "clientSequence": number, "sequenceNumber": event["sequenceNumber"]}
        self.answers[number] = answer
        return answer, event

    def lose_history(self, events: int = 0) -> None:
        """Another epoch, with that many events of its own."""
        self.__init__()  # type: ignore[misc]
        for number in range(events):
            self.append("GRAFT", {"position": f"new-{number}"})


@dataclass
class Sent:
    """One publish of the client, as the kit has seen it."""

    event_type: str
    data: Frame
    is_settled: bool = False
    is_given_up: bool = False


@dataclass
class Memory:
    """State over all connections of one client."""

    client_id: str | None = None
    generation: int = 0
    session_id: str | None = None
    was_welcomed: bool = False
    epoch: str | None = None
    sent_up_to: int = 0
    known_up_to: int = 0
    publishes: dict[int, Sent] = field(default_factory=dict)
    first_number: int = 1

    @property
    def unanswered(self) -> list[int]:
        return [number for number, sent in sorted(self.publishes.items()) if not sent.is_settled]


def _new_id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(6)}"
