"""The driver of a client session, the same in every world: feed inputs, carry out actions, deliver outcomes, set the alarm.

    inputs (calls of the application, frames, the passing of time)
      -> ClientSession -> actions  -> ClientIO: open, send, close, pause, resume, refresh_token
                       -> outcomes -> ClientIO.deliver
                       -> deadline -> ClientIO.set_alarm

A world supplies only a `ClientIO`: the trio client uses sockets, the simulator virtual connections, the property tests lists.
Inputs that arrive together (all frames of one read) are fed one after the other, then the session is drained once. Nothing here
waits: the caller that brings an input runs the loop itself, and there is no queue in front of the session. An input that arrives
during a drain (from an I/O that answers at once) is fed at once, and the running loop carries out its results.
"""

from collections.abc import Callable, Iterable
from typing import ParamSpec, Protocol, TypeVar, assert_never

from reference.protocol.actions import ClientAction, Close, Open, PauseReading, RefreshToken, ResumeReading, Save, Send
from reference.protocol.client.outcomes import Outcome
from reference.protocol.client.session import ClientSession
from reference.protocol.frames import Frame
from reference.protocol.saved_session import Change

P = ParamSpec("P")
T = TypeVar("T")


class ClientIO(Protocol):
    """The I/O of one world for a client session. No method waits; later results are new inputs."""

    def observe(self, actions: list[ClientAction]) -> None:
        """Called with the session's actions before they are carried out, for recordings and checks."""

    def open(self, action: Open) -> None:
        """Open a connection; report `connection_opened` or `connection_lost` for a WebSocket."""

    def send(self, connection_id: int, frame: Frame) -> None:
        """Send a frame, or make a request."""

    def close(self, connection_id: int, code: int | None, message: str) -> None:
        """Close a connection after the frames sent before; with code None, cut it. Report nothing more about it."""

    def pause(self, connection_id: int) -> None:
        """Stop reading frames from this connection."""

    def resume(self, connection_id: int) -> None:
        """Resume reading from this connection."""

    def save(self, change: Change) -> None:
        """Save a change before the next actions. Called only for a session that saves."""

    def refresh_token(self) -> None:
        """Get a new token from the application, and report it with `handle_token`."""

    def deliver(self, outcomes: list[Outcome]) -> None:
        """Deliver these to the application, in order."""

    def set_alarm(self, deadline: int | None) -> None:
        """Call `ClientDriver.ring` at this time, in ns of the session's clock, in place of any deadline set before; None: set no
        alarm."""


class ClientDriver:
    """Drives one session with one I/O."""

    __slots__ = ("_has_more", "_io", "_is_draining", "session")

    def __init__(self, session: ClientSession, io: ClientIO) -> None:
        self.session = session
        self._io = io
        self._is_draining = False
        self._has_more = False

    def feed(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Feed one input: `verb` is a method of the session, its arguments include the time. Raises what `verb` raises."""
        result = verb(*args, **kwargs)
        self.drain()
        return result

    def receive(self, connection_id: int, frames: Iterable[Frame], now: int) -> None:
        """Feed all frames of one read as one turn."""
        for frame in frames:
            self.session.receive_frame(connection_id, frame, now)
        self.drain()

    def ring(self, now: int) -> None:
        """The alarm's time has come."""
        self.session.handle_timeout(now)
        self.drain()

    def drain(self) -> None:
        """Carry out everything that the session asks for. Call it after feeding inputs to the session directly."""
        if self._is_draining:
            self._has_more = True
            return
        session, io = self.session, self._io
        self._is_draining = True
        try:
            while True:
                self._has_more = False
                actions = session.take_actions()
                if actions:
                    io.observe(actions)
                    for action in actions:
                        self._carry_out(action)
                outcomes = session.take_outcomes()
                if outcomes:
                    io.deliver(outcomes)
                if not self._has_more:
                    break
        finally:
            self._is_draining = False
        io.set_alarm(session.next_deadline())

    def _carry_out(self, action: ClientAction) -> None:
        io = self._io
        match action:
            case Send(connection_ids=connection_ids, frame=frame):
                for connection_id in connection_ids:
                    io.send(connection_id, frame)
            case Open():
                io.open(action)
            case Close(connection_ids=connection_ids, code=code, message=message):
                for connection_id in connection_ids:
                    io.close(connection_id, code, message)
            case PauseReading(connection_id=connection_id):
                io.pause(connection_id)
            case ResumeReading(connection_id=connection_id):
                io.resume(connection_id)
            case Save(change=change):
                io.save(change)
            case RefreshToken():
                io.refresh_token()
            case _:
                assert_never(action)
