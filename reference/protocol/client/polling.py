"""HTTP polling: the transport of a session when no WebSocket connects.

One poll and one publish request may be under way at a time (7.26). The next poll follows after the interval, or at once when the
server has more. A failed request is repeated after the reconnect policy's wait (7.27), so a server that is down is not
overloaded. Session, position, outbox and inbox are the same as over WebSocket; only the transport differs.

Every request carries the generation that polling had when it was sent. If the server says that a request was superseded, and the
session has opened a newer connection since, that connection superseded it.
"""

from reference.protocol import frames
from reference.protocol.actions import Close, Open, Send
from reference.protocol.client.client_report import POLL
from reference.protocol.client.context import ClientContext, Timer
from reference.protocol.events import Data
from reference.protocol.policies.reconnect import Reconnector
from reference.protocol.states import Transport
from reference.protocol.timers import ns

_TIMERS = (Timer.POLL, Timer.POLL_LIMIT, Timer.PUBLISH_LIMIT)


class Polling:
    """The requests under way, and when the next one is due."""

    __slots__ = (
        "_client_id",
        "_context",
        "_poll_generation",
        "_publish_generation",
        "_reconnector",
        "asked_in_epoch",
        "carries",
        "connection_id",
        "fallback",
        "generation",
        "has_arrived",
    )

    def __init__(self, context: ClientContext, client_id: str, reconnector: Reconnector) -> None:
        self._context = context
        self._client_id = client_id
        self._reconnector = reconnector
        self.connection_id: int | None = None
        self.generation = 0
        self.fallback: frames.FallbackReason | None = None
        """How far the last WebSocket got, for the server's records."""
        self.asked_in_epoch: str | None = None
        """Our epoch when the last poll was sent."""
        self._poll_generation: int | None = None  # of the request under way, None if there is none
        self._publish_generation: int | None = None
        self.has_arrived = False
        """Whether the server has answered a poll since polling was opened; only then may publishes be sent (7.26)."""
        self.carries = False
        """Whether polling carries the session (7.42): the last finished poll was answered."""

    def may_publish(self, now: int) -> bool:
        """Whether a publish request may be sent: the server has answered a poll, and has not asked for a wait."""
        return self.has_arrived and self._publish_generation is None and now >= self._reconnector.not_before

    def first_poll_at(self, earliest: int) -> int | None:
        """When polling that opens at `earliest` may send its first poll: at once, or after a wait if this client's last polls
        failed. None if the policy gives up."""
        return self._reconnector.next_attempt_at(earliest) if self._reconnector.failures else earliest

    def next_poll_at(self, now: int) -> int:
        """When a new connection that ends no wait may send its first poll (7.37)."""
        due = self._context.timers.deadline_of(Timer.POLL)
        return now if due is None or not self._reconnector.failures else due

    def open(self, connection_id: int, generation: int, token: str | None, first_poll_at: int) -> None:
        """Begin, or begin again, on a new connection."""
        self._context.actions.append(Open(connection_id, Transport.POLLING, token))
        self.connection_id = connection_id
        self.generation = generation
        self._poll_at(first_poll_at)

    def close(self) -> None:
        """Stop; answers still under way are no longer awaited."""
        if self.connection_id is None:
            return
        self._context.actions.append(Close((self.connection_id,), None, "polling has ended"))
        self.connection_id = None
        self.has_arrived = self.carries = False
        self._poll_generation = self._publish_generation = None
        self._context.client_report.poll_unreported()
        for timer in _TIMERS:
            self._context.timers.cancel(timer)

    def poll(self, epoch: str | None, last: int, session_id: str | None, queued_messages: int, now: int) -> None:
        config = self._context.config
        request = frames.PollRequest(
            after_sequence=None if epoch is None else last,
            epoch=epoch,
            wait_ms=round(config.poll_wait_s * 1000),
            client_id=self._client_id,
            session_id=session_id,
            generation=self.generation,
            start=config.start,
            fallback=self.fallback,
            report=self._context.client_report.report(POLL, queued_messages),
        )
        self.asked_in_epoch = epoch
        self._poll_generation = self.generation
        self._send(request, Timer.POLL_LIMIT, now + ns(config.poll_wait_s + config.request_timeout_s))

    def poll_soon(self, now: int) -> None:
        """Poll soon: the server has something that the last poll did not bring."""
        if Timer.POLL in self._context.timers:
            self._poll_at(now)

    def publish(self, messages: tuple[frames.Message, ...], cursor: Data | None, now: int) -> None:
        request = frames.PublishRequest(client_id=self._client_id, generation=self.generation, messages=messages, cursor=cursor)
        self._publish_generation = self.generation
        self._send(request, Timer.PUBLISH_LIMIT, now + ns(self._context.config.request_timeout_s))

    def poll_answered(self, has_more: bool, now: int) -> bool:
        """The poll under way was answered. Returns False if none was under way."""
        if self._poll_generation is None:
            return False
        self._poll_generation = None
        self.has_arrived = self.carries = True
        self._context.client_report.poll_acknowledged()
        self._reconnector.steady()
        self._context.timers.cancel(Timer.POLL_LIMIT)
        self._poll_at(now if has_more else now + ns(self._context.config.poll_interval_s))
        return True

    def publish_answered(self) -> bool:
        """The publish request under way was answered. Returns False if none was under way."""
        if self._publish_generation is None:
            return False
        self._publish_generation = None
        self._context.timers.cancel(Timer.PUBLISH_LIMIT)
        return True

    def failed(self, request: str, retry_after_ms: int | None, now: int) -> tuple[int | None, int | None]:
        """A request failed. Returns its generation, and when to send again (None if the policy gives up)."""
        self._reconnector.failed()
        if retry_after_ms is not None:
            self._reconnector.asked_to_wait(now, retry_after_ms, None)
        at = self._reconnector.next_attempt_at(now)
        if at is not None:
            at = max(at, now + ns(self._context.config.poll_interval_s))
        if request == "poll":
            generation, self._poll_generation = self._poll_generation, None
            self.carries = False
            self._context.client_report.poll_unreported()
            self._context.timers.cancel(Timer.POLL_LIMIT)
            if at is not None:
                self._context.timers.set(Timer.POLL, at)
        else:
            generation, self._publish_generation = self._publish_generation, None
            self._context.timers.cancel(Timer.PUBLISH_LIMIT)
        return generation, at

    def bytes_came(self, request: frames.RequestKind, now: int) -> None:
        """A large answer may be arriving: give it time (7.27)."""
        timer = Timer.POLL_LIMIT if request == "poll" else Timer.PUBLISH_LIMIT
        limit_at = now + ns(self._context.config.request_timeout_s)
        deadline = self._context.timers.deadline_of(timer)
        if deadline is not None and deadline < limit_at:
            self._context.timers.set(timer, limit_at)

    def _poll_at(self, at: int) -> None:
        """Not before the time that the server has asked for, perhaps in an answer to another request."""
        self._context.timers.set(Timer.POLL, max(at, self._reconnector.not_before))

    def _send(self, request: frames.Frame, limit: Timer, limit_at: int) -> None:
        assert self.connection_id is not None, "only an open transport has timers that send"
        self._context.actions.append(Send((self.connection_id,), request))
        self._context.timers.set(limit, limit_at)
