"""What the parts of one run share: its settings, its timers, and the trays that its driver empties."""

import enum

from reference.protocol.actions import Send, ServerAction
from reference.protocol.config import ServerConfig
from reference.protocol.frames import Frame
from reference.protocol.observations import Observation
from reference.protocol.timers import Timers


class RunTimer(enum.Enum):
    """What a run waits for. The first three are the run's own, GRACE belongs to a client, the others to a connection."""

    HEARTBEAT = "the readers have heard nothing for too long"
    PRESENCE = "changes of presence have been gathered for long enough"
    CURSORS = "moves of cursors have been gathered for long enough"
    GRACE = "a user who went away is gone"
    HELLO = "the first frame is to be here, and its token checked, by now"
    SILENCE = "the client has said nothing for too long"
    STALLED = "a reader takes nothing of what waits for it"
    EXPIRING = "the client should get a new token"
    EXPIRED = "the token and its grace are over"
    LONG_POLL = "a poll is to be answered with nothing"


OF_CONNECTION = (
    RunTimer.HELLO,
    RunTimer.SILENCE,
    RunTimer.STALLED,
    RunTimer.EXPIRING,
    RunTimer.EXPIRED,
    RunTimer.LONG_POLL,
)
THE_RUN = 0
"""The owner of the run's own timers; connections are numbered from 1."""

TimerKey = tuple[RunTimer, int | str]
"""A timer and its owner: THE_RUN, a connection id, or a client id."""


class RunDesk:
    """One per run; the run's parts put their work on it."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.timers: Timers[TimerKey] = Timers()
        self.actions: list[ServerAction] = []
        self.observations: list[Observation] = []

    def send(self, connection_ids: tuple[int, ...], frame: Frame | None) -> None:
        """Send a frame, if there is one, to those connections, if there are any."""
        if connection_ids and frame is not None:
            self.actions.append(Send(connection_ids, frame))
