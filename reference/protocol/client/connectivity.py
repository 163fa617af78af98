"""Connection management: opens WebSockets, schedules reconnects, falls back to HTTP polling, probes for the way back.

A session has one WebSocket, or HTTP polling with at most one WebSocket probe behind it. `states` has the transition table, and
only this module moves along it. When a connection is lost, the other parts of the session are notified: messages in flight are
sent again, outstanding pings are forgotten, an announced snapshot will not arrive.

Failed attempts are counted until a connection has been useful for `steady_after_s`. A socket that opens and dies is a failure, so
a proxy that kills WebSockets after a second leads to polling just as one that refuses them.
"""

from reference.protocol.actions import Close, Open, RefreshToken
from reference.protocol.client.context import ClientContext, Timer
from reference.protocol.client.delivery import EventDelivery
from reference.protocol.client.health import HealthRecord, Status
from reference.protocol.client.keepalive import Keepalive
from reference.protocol.client.outcomes import NotConnected, SessionEnded, StateChanged
from reference.protocol.client.polling import Polling
from reference.protocol.client.publishing import Publishing
from reference.protocol.errors import CloseCode, Reaction, reaction_to
from reference.protocol.frames import PROTOCOL_VERSION, FallbackReason, Goaway, Hello, RequestFailed
from reference.protocol.policies.fallback import Disconnection, FallbackPolicy
from reference.protocol.policies.reconnect import AskedWait, RandomSource, Reconnector, ReconnectPolicy, capped
from reference.protocol.saved_session import GenerationSaved
from reference.protocol.states import CLIENT_TRANSITIONS, ClientInput, ClientState, Transport
from reference.protocol.timers import NS_PER_MS, NS_PER_S, ns


class Probes:
    """Waits of interval * 2**failed, capped, each spread by the jitter to both sides."""

    __slots__ = (
        "_context",
        "_failed",
        "_index",
        "_random_source",
    )

    def __init__(self, context: ClientContext, random_source: RandomSource) -> None:
        self._context = context
        self._random_source = random_source
        self._failed = 0
        self._index = 0

    def failed(self) -> None:
        self._failed += 1

    def forget_failures(self) -> None:
        self._failed = 0

    def schedule(self, now: int, not_before: int) -> None:
        """Time the next probe (7.28); never before `not_before`. Times in ns."""
        config = self._context.config
        wait_s = capped(config.probe_interval_s, 2.0, self._failed, config.probe_interval_max_s)
        spread = config.probe_jitter * (2 * self._random_source.uniform("probe", self._index) - 1)
        self._index += 1
        self._context.timers.set(Timer.PROBE, max(now + ns(wait_s * (1 + spread)), not_before))


_HOW_FAR: dict[ClientState, FallbackReason] = {ClientState.CONNECTING: "not_opened", ClientState.GREETING: "not_welcomed"}

_ASK_AGAIN_S_MIN = 5.0
"""An application that gives the token that it gave before is asked again, but not more often than this."""
_REPORTED_ERRORS_MAX = 8
"""Reasons that are remembered as reported, until something carries the session."""


class Connectivity:
    """Owns the state of one client session and the connections that it opens."""

    __slots__ = (
        "_client_id",
        "_context",
        "_delivery",
        "_expires_at",
        "_fallback",
        "_generation",
        "_is_from_probe",
        "_keepalive",
        "_last_connection_id",
        "_probe_at",
        "_probes",
        "_publishing",
        "_random_source",
        "_record",
        "_reported_errors",
        "_returns",
        "_silent_since",
        "_timers",
        "_tries_token",
        "_troubled_since",
        "ended",
        "is_carried",
        "last_error",
        "polling",
        "reconnector",
        "session_id",
        "state",
        "token",
        "websocket",
        "websocket_generation",
    )

    def __init__(
        self,
        client_id: str,
        context: ClientContext,
        publishing: Publishing,
        delivery: EventDelivery,
        keepalive: Keepalive,
        record: HealthRecord,
        policy: ReconnectPolicy,
        fallback: FallbackPolicy,
        random_source: RandomSource,
        token: str | None,
    ) -> None:
        self.state = ClientState.NEW
        self.is_carried = False
        """Whether anything carries the session (7.42)."""
        self.last_error: NotConnected | None = None
        """Why the last attempt failed or the last connection was lost; None while a WebSocket carries the session."""
        self.ended: SessionEnded | None = None
        self._reported_errors: list[NotConnected] = []
        self._expires_at: int | None = None  # of the token, from the last `expiring`
        self._is_from_probe = False  # the WebSocket was opened behind polling
        self.session_id: str | None = None
        self.websocket: int | None = None
        self.websocket_generation = 0
        self.token = token
        self._silent_since: int | None = None  # what is lost now had been silent since then
        self._tries_token = False  # the next attempt is made at once, for the last was made with a token that had grown old
        asked = AskedWait()
        self.reconnector = Reconnector(policy, random_source, context.config.first_spread_s, asked)
        polls = Reconnector(policy, random_source, context.config.first_spread_s, asked, purpose="poll_backoff")
        self.polling = Polling(context, client_id, polls)
        self._probes = Probes(context, random_source)
        self._probe_at: int | None = None  # of the probe that a wish for a token has put off
        self._random_source = random_source
        self._returns = 0  # how often the machine's network came back
        self._fallback = fallback
        self._troubled_since = 0  # when the session was last carried steadily
        self._client_id = client_id
        self._context = context
        self._timers = context.timers
        self._publishing = publishing
        self._delivery = delivery
        self._keepalive = keepalive
        self._record = record
        self._last_connection_id = 0
        self._generation = 0  # the highest that a connection of ours has had

    @property
    def transport(self) -> Transport | None:
        """What carries the session now; of two, the newer."""
        if self.state.has_websocket:
            return Transport.WEBSOCKET
        return Transport.POLLING if self.is_carried else None

    @property
    def next_attempt_at(self) -> int | None:
        """When the next WebSocket is opened, in ns; None while there is one, and when there will be none."""
        if self.state is ClientState.WAITING:
            return self._timers.deadline_of(Timer.RETRY)
        return self._timers.deadline_of(Timer.PROBE) if self.state is ClientState.POLLING else None

    @property
    def status(self) -> Status:
        """What a person is shown (7.34)."""
        if not self.is_carried:
            return Status.DISCONNECTED
        if self.polling.carries:
            return Status.HTTP_POLLING
        return Status.RECONNECTED if self._record.reconnections else Status.CONNECTED

    # A WebSocket comes up.

    def start(self, now: int) -> None:
        self._troubled_since = now
        self._turn(ClientInput.START, now)
        self._connect(now)
        self.overdue(now)

    def due(self, now: int) -> None:
        """It is time for the next attempt, or the next probe."""
        self._is_from_probe = self.state is ClientState.POLLING
        self._turn(ClientInput.DUE, now)
        self._connect(now)

    def opened(self, now: int) -> None:
        self._turn(ClientInput.OPENED, now)
        self._timers.set(Timer.CONNECT, now + ns(self._context.config.connect_timeout_s))  # 7.20

    def hello(self, epoch: str | None, last: int) -> Hello:
        """The first frame on the WebSocket that was opened (4.2)."""
        return Hello(
            protocol=PROTOCOL_VERSION,
            client_id=self._client_id,
            generation=self.websocket_generation,
            session_id=self.session_id,
            epoch=epoch,
            after_sequence=None if epoch is None else last,
            start=self._context.config.start,
        )

    def welcomed(self, session_id: str, first_spread_s: float, now: int) -> None:
        self._turn(ClientInput.WELCOMED, now)
        for timer in (Timer.CONNECT, Timer.FALLBACK):
            self._timers.cancel(timer)
        self.last_error = None
        self._tries_token = False
        self.session_id = session_id
        self.reconnector.first_spread_s = first_spread_s
        # 7.29: what polling has under way may arrive or not; this connection carries it from now on.
        self._publishing.connection_lost()

    def proven(self, now: int) -> None:
        """A ping was answered: the WebSocket is useful, and polling ends (7.29)."""
        self._turn(ClientInput.PROVEN, now)
        self._stop_polling()
        self._timers.set(Timer.STEADY, now + ns(self._context.config.steady_after_s))

    def steady(self) -> None:
        """It has been useful for long enough (7.21)."""
        self._is_from_probe = False
        self.reconnector.steady()
        self._probes.forget_failures()

    def network_returned(self, now: int) -> None:
        """The machine's own network is back: what waits for its time need not, unless the server asked for the wait (7.44)."""
        at = self.reconnector.hurry(now, self._random_source.uniform("network_returned", self._returns))
        self._returns += 1
        for timer in (Timer.RETRY, Timer.PROBE, Timer.POLL):
            deadline = self._timers.deadline_of(timer)
            if at is not None and deadline is not None and deadline > at:
                self._timers.set(timer, at)

    # A WebSocket goes down.

    def leave(self, code: int | None, message: str, now: int, *, is_failure: bool = True) -> None:
        """Our decision that the WebSocket is of no more use: it is abandoned, and the session goes on (6.4, 6.6)."""
        assert self.websocket is not None, "there is a connection to leave"
        self._context.actions.append(Close((self.websocket,), code, message))
        self.lost(None, message, now, is_failure=is_failure, by_silence=code == CloseCode.HEARTBEAT_LOST)

    def leave_for_gap(self, message: str, now: int) -> None:
        """An event is missing, and only a resume can bring it."""
        self._context.client_report.gaps += 1
        self.leave(CloseCode.GOING_AWAY, message, now)

    def sent_away(self, goaway: Goaway, now: int) -> None:
        self.asked_to_wait(now, goaway.retry_after_ms, goaway.spread_ms)
        # 6.5: it is obeyed with 1000
        self.leave(1000, "asked to go away", now, is_failure=False)
        self._report_error(goaway.code, "the server asked this client to come back later")

    def asked_to_wait(self, now: int, retry_after_ms: int, spread_ms: int | None) -> None:
        """The server wants to hear nothing before a time, on whatever transport (7.23)."""
        self.reconnector.asked_to_wait(now, retry_after_ms, spread_ms)
        self._keep_waits()

    def _keep_waits(self) -> None:
        not_before = self.reconnector.not_before
        for timer in (Timer.RETRY, Timer.POLL):
            deadline = self._timers.deadline_of(timer)
            if deadline is not None and deadline < not_before:
                self._timers.set(timer, not_before)
        probe_at = self._timers.deadline_of(Timer.PROBE)
        if probe_at is not None and probe_at < not_before:
            self._probes.schedule(not_before, not_before)  # spread anew: many clients got the same time

    def lost(self, code: int | None, message: str, now: int, *, is_failure: bool = True, by_silence: bool = False) -> None:
        """The WebSocket is gone, by whatever cause."""
        was_steady = self.state is ClientState.LIVE and Timer.STEADY not in self._timers
        is_newest = self.websocket_generation == self._generation
        if was_steady:
            self._troubled_since = now
        if self.state.has_websocket:
            self._publishing.connection_lost()
        self._context.client_report.failed_attempts += is_failure and not was_steady
        if is_failure:
            self.last_error = NotConnected(code, message)
        self._silent_since = self._keepalive.heard_at if by_silence else None
        if not self.state.is_polling:
            self.polling.fallback = _HOW_FAR.get(self.state, "not_steady")
        self._forget_websocket()
        if is_failure and not was_steady and not self.state.is_polling:
            self.reconnector.failed()
            if self._is_from_probe:  # proven, and gone before it was steady: a way back that does not hold (7.28)
                self._probes.failed()
        reaction = self._reaction(code, is_newest)
        if reaction is Reaction.STOP:
            self.end(code, message, now)
        elif reaction is Reaction.NEW_TOKEN:
            self._tries_token = not self.state.has_websocket and not self._tries_token
            self.want_token(code, message, now)
        else:
            if reaction is Reaction.NEW_SESSION:
                self.session_id = None
            if self.state.is_polling:
                self._probe_lost(now, is_failure=is_failure)
            else:
                self._wait_or_fall_back(ClientInput.LOST, now)
        if is_failure:
            self._report_error(code, message)

    def _reaction(self, code: int | None, is_newest: bool) -> Reaction:
        """What a close code asks of us (6.2, 6.3). If we have opened something newer, we were superseded by ourselves (7.30)."""
        return Reaction.RESUME if code == CloseCode.SUPERSEDED and not is_newest else reaction_to(code)

    def _wait_or_fall_back(self, event: ClientInput, now: int, *, at_once: bool = False, probe_at: int | None = None) -> None:
        if self._falls_back(now):
            self._fall_back(now, now if at_once and self._is_from_probe else probe_at)
            return
        at = self.reconnector.earliest(now) if at_once else self.reconnector.next_attempt_at(now)
        if at is None:
            why = "" if self.last_error is None else f"; the last: {self.last_error.reason}"
            self.end(None, f"the reconnect policy gave up after {self.reconnector.failures} failed attempts{why}", now)
        else:
            self._turn(event, now)
            self._timers.set(Timer.RETRY, at)

    def overdue(self, now: int) -> None:
        """Nothing carries the session, and it is time to ask the fallback policy."""
        if not self._falls_back(now):
            return
        if self.state is ClientState.WAITING:
            self._timers.cancel(Timer.RETRY)
            self._fall_back(now)
        else:
            self.leave(None, "polling takes over", now)

    def _falls_back(self, now: int) -> bool:
        """Ask the fallback policy (7.25). If not now, a timer is set for when to ask again."""
        since = max(self._troubled_since, self.reconnector.not_before)
        wait_s = self._fallback.wait_s(Disconnection(self.reconnector.failures, max(0, now - since) / NS_PER_S))
        if wait_s is None or ns(wait_s) <= 0:
            self._timers.cancel(Timer.FALLBACK)
            return wait_s is not None
        self._timers.set(Timer.FALLBACK, max(now, self.reconnector.not_before) + ns(wait_s))
        return False

    def _fall_back(self, now: int, probe_at: int | None = None) -> None:
        """Polling takes over. `probe_at`: when the first probe is due; None: a whole wait from now on (7.28)."""
        self._turn(ClientInput.EXHAUSTED, now)
        earliest = self.reconnector.earliest(now)
        first_poll_at = self.polling.first_poll_at(earliest)
        self.polling.open(self._new_connection_id(), self._new_generation(), self.token, first_poll_at)
        if probe_at is None:
            self._probes.schedule(now, earliest)
        else:
            self._timers.set(Timer.PROBE, max(probe_at, earliest))

    def _probe_lost(self, now: int, *, is_failure: bool) -> None:
        self._turn(ClientInput.LOST, now)
        if is_failure:
            self._probes.failed()
        # 7.30: the server may have taken the probe for the session's newest connection; polling is the newer of the two again.
        self.polling.generation = self._new_generation()
        self._probes.schedule(now, self.reconnector.earliest(now))

    # Polling.

    def restart_polling(self, first_poll_at: int, now: int) -> None:
        """Give up what is under way over HTTP, and poll on a new connection.

        Behind a probe it keeps its generation: a probe that the server has welcomed is the newer of the two.
        """
        generation = self._new_generation() if self.websocket is None else self.polling.generation
        self._close_polling()
        self.polling.open(self._new_connection_id(), generation, self.token, first_poll_at)
        if not self.state.has_websocket:
            self._publishing.connection_lost()
        self._look_whether_carried(now)

    def polling_timed_out(self, now: int) -> None:
        """A request is not answered in time, or not with an answer of the protocol."""
        _, at = self.polling.failed("poll", None, now)
        if at is None:
            self.end(None, "the reconnect policy gave up on polling", now)
        else:
            self.restart_polling(at, now)
            self._report_error(None, f"no answer to a poll within {self._context.config.request_timeout_s:g} s")

    def poll_answered(self, has_more: bool, now: int) -> bool:
        """A poll was answered: polling carries the session. Returns False if none was under way."""
        if not self.polling.poll_answered(has_more, now):
            return False
        self._look_whether_carried(now)
        return True

    def request_failed(self, failed: RequestFailed, now: int) -> None:
        """A request was refused, or its connection failed (5.8, 7.27)."""
        generation, at = self.polling.failed(failed.request, failed.retry_after_ms, now)
        self._look_whether_carried(now)
        self._keep_waits()
        reaction = self._reaction(failed.code, generation == self._generation)
        if reaction is Reaction.NEW_SESSION:
            self.session_id = None
        if reaction is Reaction.STOP:
            self.end(failed.code, failed.message, now)
        elif reaction is Reaction.NEW_TOKEN:
            self.want_token(failed.code, failed.message, now)
        elif at is None:
            self.end(None, "the reconnect policy gave up on polling", now)
        elif failed.request == "publishMany" and not self.state.has_websocket:
            self._publishing.connection_lost()
            self._publishing.wait_until(at)
        self._report_error(failed.code, failed.message)

    # Tokens, and the end.

    def want_token(self, code: int | None, message: str, now: int) -> None:
        """The server takes this token no longer (7.40)."""
        if not self._context.config.refreshes_token:
            self.end(code, message, now)
            return
        # 7.40: a probe that waits, or is dropped with the rest, is due still. Else none would come where tokens live shorter than
        # the wait for a probe.
        is_probing = self.state.is_polling and self.websocket is not None
        self._probe_at = now if is_probing else self._timers.deadline_of(Timer.PROBE)
        self._drop_transports()
        self._turn(ClientInput.TOKEN_WANTED, now)
        self._timers.set(Timer.TOKEN, now + ns(self._context.config.token_timeout_s))
        self._context.actions.append(RefreshToken())

    def token_expires(self, in_ms: int, now: int) -> None:
        """The server warns that it will not take this token for long (4.18, 7.36)."""
        self._expires_at = now + in_ms * NS_PER_MS
        self.ask_for_token()

    def ask_for_token(self) -> None:
        if self._context.config.refreshes_token:
            self._context.actions.append(RefreshToken())

    def token_is_the_same(self, now: int) -> None:
        """The application has no newer one yet: ask again after half of the time that is left (7.36)."""
        left = 0 if self._expires_at is None else self._expires_at - now
        if self.state.has_websocket and left > 0:
            self._timers.set(Timer.REFRESH, now + max(left // 2, ns(_ASK_AGAIN_S_MIN)))

    def token_given(self, now: int, *, is_new: bool) -> None:
        """The application has supplied a token that was wanted (7.40). A wait may be longer than it lives, so it is tried at once
        if it was an attempt that showed the last one to be too old; but not two in a row."""
        self._timers.cancel(Timer.TOKEN)
        self._expires_at = None
        at_once = self._tries_token and is_new
        self._wait_or_fall_back(ClientInput.TOKEN_GIVEN, now, at_once=at_once, probe_at=self._probe_at)

    def end(self, code: int | None, message: str, now: int) -> None:
        """The session is over; whatever is unanswered fails visibly (7.39)."""
        self._drop_transports()
        self._publishing.give_up(f"the session ended: {message}")
        for timer in Timer:
            self._timers.cancel(timer)
        self.ended = SessionEnded(code, message)
        self._turn(ClientInput.END, now)
        self._context.outcomes.append(self.ended)

    # Small things.

    def _report_error(self, code: int | None, reason: str) -> None:
        """An attempt failed, or a connection was lost. The application is notified of each reason once, while nothing carries the
        session (7.43)."""
        if self.state is ClientState.CLOSED or self.state.has_websocket:
            return
        self.last_error = error = NotConnected(code, reason)
        if not self.is_carried and error not in self._reported_errors:
            self._reported_errors = [*self._reported_errors[1 - _REPORTED_ERRORS_MAX :], error]
            self._context.outcomes.append(error)

    def _turn(self, event: ClientInput, now: int) -> None:
        self.state = CLIENT_TRANSITIONS[self.state, event]
        if not self._look_whether_carried(now):
            self._context.outcomes.append(StateChanged(self.state, self.is_carried))

    def _look_whether_carried(self, now: int) -> bool:
        """Whether this has changed; then it is reported, for the application, for the server and for health alike (7.42)."""
        is_carried = self.state.has_websocket or (self.state.is_polling and self.polling.carries)
        if is_carried is self.is_carried:
            return False
        self.is_carried = is_carried
        self._context.outcomes.append(StateChanged(self.state, is_carried))
        if is_carried:
            self._reported_errors = []
            self._context.client_report.recovered(now)
            self._record.connected()
        elif self.state is not ClientState.CLOSED:
            self._context.client_report.lost(now, silent_since=self._silent_since)
        self._silent_since = None
        return True

    def _connect(self, now: int) -> None:
        self.websocket = self._new_connection_id()
        self.websocket_generation = self._new_generation()
        self._context.actions.append(Open(self.websocket, Transport.WEBSOCKET, self.token))
        self._timers.set(Timer.CONNECT, now + ns(self._context.config.connect_timeout_s))

    def _new_connection_id(self) -> int:
        self._last_connection_id += 1
        return self._last_connection_id

    def _new_generation(self) -> int:
        self._generation += 1
        self._context.save(GenerationSaved(self._generation))
        return self._generation

    def restore(self, generation: int) -> None:
        """Lower generations were used in the program's life before (2.6)."""
        self._generation = generation

    def _forget_websocket(self) -> None:
        self._stop_reading(self.websocket)
        self.websocket = None
        for timer in (Timer.CONNECT, Timer.STEADY, Timer.REFRESH):
            self._timers.cancel(timer)
        self._keepalive.stopped()
        self._delivery.disconnected()

    def _stop_reading(self, connection_id: int | None) -> None:
        if self._context.flow is not None and connection_id is not None:
            self._context.flow.forget(connection_id)

    def _close_polling(self) -> None:
        self._stop_reading(self.polling.connection_id)
        self.polling.close()

    def _stop_polling(self) -> None:
        self._close_polling()
        self._timers.cancel(Timer.PROBE)

    def _drop_transports(self) -> None:
        self._stop_polling()
        if self.websocket is not None:
            self._context.actions.append(Close((self.websocket,), 1000, "leaving"))
        for timer in (Timer.RETRY, Timer.FALLBACK):
            self._timers.cancel(timer)
        self._forget_websocket()
        self._publishing.connection_lost()
