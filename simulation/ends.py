"""What the two ends of a simulated connection are told about it, and how one can end."""

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from reference.protocol import frames

if TYPE_CHECKING:  # the ends know connections by what they say to them
    from simulation.link import Link
    from simulation.network import HttpLink, WebSocketLink


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ends, and what is said with it. `code` None: nothing was said."""

    code: int | None
    message: str
    retry_after_ms: int | None = None


RESET = Ending(None, "the connection was reset")
REFUSED = Ending(None, "the connection was refused")
TIMED_OUT = Ending(None, "the connection timed out")
FORBIDDEN = Ending(None, "the upgrade was answered with HTTP 403")
STRIPPED = Ending(None, "the upgrade was answered with HTTP 426")


class ClientEnd(Protocol):
    """What a client's host is told about its connections. It named the WebSockets itself."""

    def connection_opened(self, connection_id: int) -> None: ...

    def connection_ended(self, connection_id: int, ending: Ending) -> None: ...

    def bytes_arrived(self, connection_id: int) -> None:
        """Another part of a large frame."""

    def frame_arrived(self, connection_id: int, frame: frames.Frame) -> None: ...

    def bytes_of_answer_arrived(self, link: "HttpLink") -> None: ...

    def request_answered(self, link: "HttpLink", answer: frames.Frame) -> None: ...

    def http_ended(self, link: "HttpLink", failure: frames.RequestFailed | None) -> None:
        """An HTTP connection has ended; `failure` if a request was under way on it."""


class ServerEnd(Protocol):
    """What a server process is told about a connection. It names it by writing `link.server_id`, and is told of frames and
    losses for as long as that is there."""

    def upgrade_arrived(self, link: "WebSocketLink") -> None:
        """The request for an upgrade; answered by `link.upgrade()`."""

    def request_arrived(self, link: "HttpLink", request: frames.RequestFrame) -> None: ...

    def frame_arrived(self, connection_id: int, frame: frames.Frame) -> None: ...

    def connection_lost(self, connection_id: int) -> None: ...

    def bytes_taken(self, connection_id: int) -> None: ...

    def released(self, link: "Link") -> None:
        """Its end of a connection is gone, whatever became of it."""


class Syn(enum.Enum):
    """What happens to a SYN that no process takes up."""

    REFUSED = "nobody listens: it is answered by a reset"
    DROPPED = "the queue of connections to be accepted is full: it is not answered, and the client's system repeats it"


@dataclass(slots=True)
class Taken:
    """What the server's machine notes about a connection that it has taken; times in ns, by the process's own time.

    instance: which one has it. at: when the listener takes it. busy_until: it has work on it until then. is_greeted: its
    handshake has been paid for.
    """

    instance: int = 0
    at: int = 0
    busy_until: int = 0
    is_greeted: bool = False


NOTHING_NOTED = Taken()
"""About a connection that a machine without instances and a capacity has taken. Nobody writes into it."""


class ServerMachine(Protocol):
    """Where the server's processes run."""

    def take(self, link: "Link") -> ServerEnd | Syn:
        """A SYN has arrived (again): the process that takes the connection, or what becomes of it."""
