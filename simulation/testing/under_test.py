"""The interfaces of your own server or client for the state machines of `machines`. Time passes only with `advance`."""

from typing import Protocol

from reference.protocol.events import Data


class ServerUnderTest(Protocol):
    """A server with one run. Connections have numbers that are never used twice; texts are JSON frames of the protocol."""

    def open(self, connection: int, user: str) -> None:
        """A WebSocket is open, its token names `user`."""

    def send(self, connection: int, text: str) -> None:
        """A text message of the client has arrived."""

    def receive(self, connection: int) -> list[str]:
        """The text messages for this client since the last call, in order."""

    def is_open(self, connection: int) -> bool:
        """Whether the server has not closed it."""

    def cut(self, connection: int) -> None:
        """The connection is gone."""

    def advance(self, seconds: float) -> None:
        """Time passes; the server does its background work."""

    def crash(self) -> None:
        """The process is killed. Only durable data stay."""

    def restart(self) -> None:
        """The process is started again."""


class PollingServerUnderTest(ServerUnderTest, Protocol):
    """A server that is also asked over HTTP. Requests have numbers too, never used twice, nor by a connection."""

    def ask(self, request: int, user: str, text: str) -> None:
        """A call of `user` has arrived: `poll` (its query parameters as JSON) or `publishMany` (its body); `type` says which."""

    def answer(self, request: int) -> str | None:
        """The body of the answer, once: `polled`, `published`, or an `HttpProblem`. None while there is none."""

    def forsake(self, request: int) -> None:
        """The answer is no longer awaited."""


class ClientUnderTest(Protocol):
    """A client in one run, without HTTP. It names its connections by numbers that are never used twice."""

    def publish(self, event_type: str, data: Data) -> None:
        """The application publishes."""

    def wishes(self) -> list[int]:
        """Connections that it has requested since the last call."""

    def opened(self, connection: int) -> None:
        """One of them is open."""

    def sent(self) -> list[tuple[int, str]]:
        """The text messages that it has sent since the last call, with their connections."""

    def receive(self, connection: int, text: str) -> None:
        """A text message of the server has arrived."""

    def lost(self, connection: int, code: int | None) -> None:
        """A connection is gone, with the server's close code if it gave one."""

    def advance(self, seconds: float) -> None:
        """Time passes."""

    def delivered(self) -> list[int]:
        """The numbers of the events that its application was given since the last call, in order."""


class PollingClientUnderTest(ClientUnderTest, Protocol):
    """A client that goes on over HTTP when it can have no WebSocket. Its requests have numbers too, never used twice, nor by a
    connection."""

    def asked(self) -> list[tuple[int, str]]:
        """The calls that it has made since the last call: `poll` (its query parameters as JSON) or `publishMany` (its body), with
        `type`."""

    def answered(self, request: int, text: str) -> None:
        """The body of an answer has arrived: `polled`, `published`, or an `HttpProblem`. It may have given the request up."""

    def unanswered(self, request: int) -> None:
        """The connection of a request broke."""
