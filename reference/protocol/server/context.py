"""The context shared by the parts of one run: settings, timers, and the output queues that the driver drains."""

import enum

from reference.protocol.actions import Retire, Send, ServerAction
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, RejectCode
from reference.protocol.frames import Accepted, Frame, Limits, Ping, Rejected, Report
from reference.protocol.limits import Limit
from reference.protocol.server.connection import Session
from reference.protocol.server.observations import Answered, Left, LimitReached, Observation, Refused, Reported, RoundTripMeasured
from reference.protocol.timers import Timers, ns


class RunTimer(enum.Enum):
    """What a run waits for. The first four timers are the run's own, GRACE belongs to a client, the others to a connection."""

    __hash__ = object.__hash__  # members are unique; Enum's own hash is a Python function, and these are keys on every path

    HEARTBEAT = "the readers have heard nothing for too long"
    PRESENCE = "changes of presence have been gathered for long enough"
    CURSORS = "moves of cursors have been gathered for long enough"
    IDLE = "the run has had no clients for long enough to be unloaded"
    GRACE = "a user who went away is gone"
    HELLO = "by now the first frame must have arrived and its token been checked"
    SILENCE = "the client has said nothing for too long"
    STALLED = "a reader takes nothing of what waits for it"
    EXPIRING = "the client should get a new token"
    EXPIRED = "the token and its grace are over"
    LONG_POLL = "now a poll is answered without events"


OF_CONNECTION = (
    RunTimer.HELLO,
    RunTimer.SILENCE,
    RunTimer.STALLED,
    RunTimer.EXPIRING,
    RunTimer.EXPIRED,
    RunTimer.LONG_POLL,
)
TOO_LATE = {
    RunTimer.HELLO: (CloseCode.HEARTBEAT_LOST, "no hello within {:g} s", "hello_timeout_s", Limit.HELLO_TIME),
    RunTimer.SILENCE: (CloseCode.HEARTBEAT_LOST, "no frame received from this client for {:g} s", "silence_max_s", Limit.SILENCE),
    RunTimer.STALLED: (CloseCode.TOO_SLOW, "slow reader: no data taken for {:g} s", "slow_reader_timeout_s", Limit.SLOW_READER),
    RunTimer.EXPIRED: (CloseCode.TOKEN, "the token has expired", "token_grace_s", None),
}
"""Timers that end a connection: its close code, the reason with its setting, and the limit that was reached."""
OF_RUN = 4
"""How many timers are the run's own."""
THE_RUN = 0
"""The owner of the run's own timers; connections are numbered from 1."""

TimerKey = tuple[RunTimer, int | str]
"""A timer and its owner: THE_RUN, a connection id, or a client id."""


_LIMITS = {
    RejectCode.RATE: Limit.PUBLISH_RATE,
    RejectCode.TOO_MANY_UNANSWERED: Limit.UNANSWERED,
    RejectCode.OVERLOADED: Limit.APPENDS_PENDING,
    RejectCode.TOO_MANY_CLIENTS: Limit.CLIENTS,
    RejectCode.STATE_FULL: Limit.STATE,
}
"""Rejections that mean that a limit was reached."""


class RunContext:
    """One per run; the parts append their actions and observations to it."""

    def __init__(self, config: ServerConfig, limits: Limits | None = None) -> None:
        """`limits`: as reported in every welcome; None: those of the config."""
        self.config = config
        self.limits = limits or config.limits
        self.timers: Timers[TimerKey] = Timers()
        self.actions: list[ServerAction] = []
        self.observations: list[Observation] = []

    def take_actions(self) -> list[ServerAction]:
        """Return the collected actions, and start a new list."""
        actions, self.actions = self.actions, []
        return actions

    def take_observations(self) -> list[Observation]:
        """Return the collected observations, and start a new list."""
        observations, self.observations = self.observations, []
        return observations

    def send(self, connection_ids: tuple[int, ...], frame: Frame | None) -> None:
        """Send a frame to these connections; does nothing if there is no frame or no connection."""
        if connection_ids and frame is not None:
            self.actions.append(Send(connection_ids, frame))

    def limit_reached(self, limit: Limit | None) -> None:
        """Report that a peer has reached a limit; does nothing for None."""
        if limit is not None:
            self.observations.append(LimitReached(limit))

    def pinged(self, session: Session, ping: Ping) -> None:
        """A client's ping, with its round trip and report."""
        if ping.round_trip_ms is not None:
            self.observations.append(RoundTripMeasured(session.session_id, session.client_id, ping.round_trip_ms))
        self.reported(session, ping.report)

    def reported(self, session: Session, report: Report | None) -> None:
        """The report that came with a ping or a poll; a client with nothing to report has nothing queued either."""
        self.observations.append(Reported(session.session_id, session.client_id, report or Report()))

    def ended(self, connection_id: int, session: Session | None, code: int | None, peer_code: int | None) -> None:
        """A WebSocket has ended, with our code, or the peer's, or without a code."""
        if session is not None:
            self.observations.append(Left(connection_id, session.session_id, session.client_id, code, peer_code))
        elif code is not None:
            self.observations.append(Refused(connection_id, code))

    def accepted(self, counts: dict[str, int]) -> None:
        """Counts of accepted publishes, by client."""
        for client_id, count in counts.items():
            self.observations.append(Answered(client_id, True, count=count))

    def answered(self, client_id: str, answer: Accepted | Rejected) -> None:
        """A publish was answered."""
        code = RejectCode(answer.code) if isinstance(answer, Rejected) else None
        is_duplicate = isinstance(answer, Accepted) and answer.duplicate
        self.observations.append(Answered(client_id, isinstance(answer, Accepted), code, is_duplicate))
        self.limit_reached(None if code is None else _LIMITS.get(code))


_KEY = (RunTimer.IDLE, THE_RUN)


class Idling:
    """Tracks whether the run is in use. `since`: when it became idle, in ns; None while it is in use."""

    __slots__ = ("_context", "since")

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self.since: int | None = None

    def watch(self, is_idle: bool, now: int) -> None:
        """Call after every input."""
        if not is_idle:
            if self.since is not None:
                self.since = None
                self._context.timers.cancel(_KEY)
        elif self.since is None:
            self.since = now  # 8.43
            self._context.timers.set(_KEY, now + ns(self._context.config.run_idle_s))

    def is_over(self) -> None:
        """The run has been idle long enough."""
        self._context.actions.append(Retire())
