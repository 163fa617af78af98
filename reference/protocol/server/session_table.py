"""The sessions of one run by client id, and which connection owns each."""

from dataclasses import dataclass

from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.states import Transport


@dataclass(slots=True)
class Session:
    session_id: str
    client_id: str
    user_id: str
    generation: int
    transport: Transport
    connection_id: int | None = None
    """The WebSocket that owns the session; None during polling and while disconnected."""


class SessionTable:
    """Sessions by client id; bounded by the run's connections and the grace period of lost sessions."""

    __slots__ = ("_sessions",)

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def owners(self) -> tuple[int, ...]:
        """The WebSockets that own a session."""
        return tuple(each.connection_id for each in self._sessions.values() if each.connection_id is not None)

    def get(self, client_id: str) -> Session | None:
        return self._sessions.get(client_id)

    def claim(
        self,
        client_id: str,
        user_id: str,
        named_session_id: str | None,
        generation: int,
        transport: Transport,
        new_session_id: str,
    ) -> tuple[Session, int | None, bool]:
        """Make a connection of that generation the owner of the client's session.

        Returns the session, the superseded WebSocket (None if there is none), and whether the session is new here. Raises
        RemoteError FORBIDDEN (another user's client id) or SUPERSEDED (a newer connection owns it).
        """
        session = self._sessions.get(client_id)
        if session is None:
            session_id = named_session_id or new_session_id
            session = Session(session_id, client_id, user_id, generation, transport)
            self._sessions[client_id] = session
            return session, None, True
        if session.user_id != user_id:
            raise RemoteError(CloseCode.FORBIDDEN, "this client id belongs to another user")
        if generation < session.generation:  # 8.22
            raise RemoteError(CloseCode.SUPERSEDED, "a newer connection owns this session")
        superseded, session.connection_id = session.connection_id, None
        session.session_id = named_session_id or session.session_id  # an identifier only, it grants nothing (10.4)
        session.generation = generation
        session.transport = transport
        return session, superseded, False

    def drop(self, client_id: str) -> Session | None:
        return self._sessions.pop(client_id, None)
