"""Connection management: opens WebSockets, schedules reconnects, falls back to HTTP polling, probes for the return to WebSocket.

A session has one WebSocket, or HTTP polling and at most one WebSocket probe beside it. `states` has the transition table; only
this module changes the state. When a connection is lost, the other parts of the session are notified: messages in flight are sent
again, outstanding pings are forgotten, and an announced snapshot is no longer expected.

Failed attempts are counted until a connection has been useful for `steady_after_s`. A socket that opens and fails soon after
counts as a failure: a proxy that kills WebSockets after a second leads to polling just as one that refuses them.
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
    """Waits of interval * 2**failed, capped, each with symmetric jitter."""

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
        """Schedule the next probe (7.28); never before `not_before`. Times in ns."""
        config = self._context.config
        wait_s = capped(config.probe_interval_s, 2.0, self._failed, config.probe_interval_max_s)
        spread = config.probe_jitter * (2 * self._random_source.uniform("probe", self._index) - 1)
        self._index += 1
        self._context.timers.set(Timer.PROBE, max(now + ns(wait_s * (1 + spread)), not_before))


_HOW_FAR: dict[ClientState, FallbackReason] = {ClientState.CONNECTING: "not_opened", ClientState.GREETING: "not_welcomed"}

_ASK_AGAIN_S_MIN = 5.0
"""If the application supplies the same token again, wait at least this long before asking once more."""
_REPORTED_ERRORS_MAX = 8
"""Reasons already reported, kept until the session has a transport again."""


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
        """Whether a transport carries the session (7.42)."""
        self.last_error: NotConnected | None = None
        """Why the last attempt failed or the last connection was lost; None while a WebSocket carries the session."""
        self.ended: SessionEnded | None = None
        self._reported_errors: list[NotConnected] = []
        self._expires_at: int | None = None  # of the token, from the last `expiring`
        self._is_from_probe = False  # the WebSocket was opened as a probe during polling
        self.session_id: str | None = None
        self.websocket: int | None = None
        self.websocket_generation = 0
        self.token = token
        self._silent_since: int | None = None  # the connection being lost had been silent since then
        self._tries_token = False  # make the next attempt at once: the last one used an expired token
        asked = AskedWait()
        self.reconnector = Reconnector(policy, random_source, context.config.first_spread_s, asked)
        polls = Reconnector(policy, random_source, context.config.first_spread_s, asked, purpose="poll_backoff")
        self.polling = Polling(context, client_id, polls)
        self._probes = Probes(context, random_source)
        self._probe_at: int | None = None  # the time of a probe that was postponed until a new token comes
        self._random_source = random_source
        self._returns = 0  # how often this machine's network came back
        self._fallback = fallback
        self._troubled_since = 0  # when the session was last carried by a steady connection
        self._client_id = client_id
        self._context = context
        self._timers = context.timers
        self._publishing = publishing
        self._delivery = delivery
        self._keepalive = keepalive
        self._record = record
        self._last_connection_id = 0
        self._generation = 0  # the highest generation of this client's connections

    @property
    def transport(self) -> Transport | None:
        """The transport that carries the session; the newer one if there are two."""
        if self.state.has_websocket:
            return Transport.WEBSOCKET
        return Transport.POLLING if self.is_carried else None

    @property
    def next_attempt_at(self) -> int | None:
        """When the next WebSocket is opened, in ns; None if one is open or none will be opened."""
        if self.state is ClientState.WAITING:
            return self._timers.deadline_of(Timer.RETRY)
        return self._timers.deadline_of(Timer.PROBE) if self.state is ClientState.POLLING else None

    @property
    def status(self) -> Status:
        """The status to show to a person (7.34)."""
        if not self.is_carried:
            return Status.DISCONNECTED
        if self.polling.carries:
            return Status.HTTP_POLLING
        return Status.RECONNECTED if self._record.reconnections else Status.CONNECTED

    # Opening a WebSocket.

    def start(self, now: int) -> None:
        self._troubled_since = now
        self._turn(ClientInput.START, now)
        self._connect(now)
        self.overdue(now)

    def due(self, now: int) -> None:
        """The next attempt or the next probe is due."""
        self._is_from_probe = self.state is ClientState.POLLING
        self._turn(ClientInput.DUE, now)
        self._connect(now)

    def opened(self, now: int) -> None:
        self._turn(ClientInput.OPENED, now)
        self._timers.set(Timer.CONNECT, now + ns(self._context.config.connect_timeout_s))  # 7.20

    def hello(self, epoch: str | None, last: int) -> Hello:
        """The first frame on a newly opened WebSocket (4.2)."""
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
        # 7.29: publishes under way over polling may or may not arrive; from now on this connection carries the session.
        self._publishing.connection_lost()

    def proven(self, now: int) -> None:
        """A ping was answered: the WebSocket is useful and polling ends (7.29)."""
        self._turn(ClientInput.PROVEN, now)
        self._stop_polling()
        self._timers.set(Timer.STEADY, now + ns(self._context.config.steady_after_s))

    def steady(self) -> None:
        """The connection has been useful for long enough (7.21)."""
        self._is_from_probe = False
        self.reconnector.steady()
        self._probes.forget_failures()

    def network_returned(self, now: int) -> None:
        """This machine's network is back: end the current wait, unless the server asked for it (7.44)."""
        at = self.reconnector.hurry(now, self._random_source.uniform("network_returned", self._returns))
        self._returns += 1
        for timer in (Timer.RETRY, Timer.PROBE, Timer.POLL):
            deadline = self._timers.deadline_of(timer)
            if at is not None and deadline is not None and deadline > at:
                self._timers.set(timer, at)

    # Losing a WebSocket.

    def leave(self, code: int | None, message: str, now: int, *, is_failure: bool = True) -> None:
        """Abandon the WebSocket by our own decision; the session goes on (6.4, 6.6)."""
        assert self.websocket is not None, "there is a connection to leave"
        self._context.actions.append(Close((self.websocket,), code, message))
        self.lost(None, message, now, is_failure=is_failure, by_silence=code == CloseCode.HEARTBEAT_LOST)

    def leave_for_gap(self, message: str, now: int) -> None:
        """Leave because an event is missing; only a resume can supply it."""
        self._context.client_report.gaps += 1
        self.leave(CloseCode.GOING_AWAY, message, now)

    def sent_away(self, goaway: Goaway, now: int) -> None:
        self.asked_to_wait(now, goaway.retry_after_ms, goaway.spread_ms)
        # 6.5: we obey and close with 1000
        self.leave(1000, "asked to go away", now, is_failure=False)
        self._report_error(goaway.code, "the server asked this client to reconnect later")

    def asked_to_wait(self, now: int, retry_after_ms: int, spread_ms: int | None) -> None:
        """The server asked to be left alone for a time, on every transport (7.23)."""
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
            self._probes.schedule(not_before, not_before)  # spread again: many clients were given the same time

    def lost(self, code: int | None, message: str, now: int, *, is_failure: bool = True, by_silence: bool = False) -> None:
        """The WebSocket is lost, for any reason."""
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
            if self._is_from_probe:  # a probe that was proven but lost before it was steady (7.28)
                self._probes.failed()
        reaction = self._reaction(code, is_newest)
        if reaction is Reaction.STOP:
            self.end(code, message, now)
        elif reaction is Reaction.NEW_TOKEN:
            self._tries_token = not self.state.has_websocket and not self._tries_token
            self.want_token(code, message, now)
        else:
            self._tries_token = False
            if reaction is Reaction.NEW_SESSION:
                self.session_id = None
            if self.state.is_polling:
                self._probe_lost(now, is_failure=is_failure)
            else:
                self._wait_or_fall_back(ClientInput.LOST, now)
        if is_failure:
            self._report_error(code, message)

    def _reaction(self, code: int | None, is_newest: bool) -> Reaction:
        """How to react to a close code (6.2, 6.3). If we have opened a newer connection, it was that one which superseded us
        (7.30)."""
        return Reaction.RESUME if code == CloseCode.SUPERSEDED and not is_newest else reaction_to(code)

    def _wait_or_fall_back(self, event: ClientInput, now: int, *, at_once: bool = False, probe_at: int | None = None) -> None:
        if self._falls_back(now):
            self._fall_back(now, now if at_once and self._is_from_probe else probe_at)
            return
        at = self.reconnector.earliest(now) if at_once else self.reconnector.next_attempt_at(now)
        if at is None:
            why = "" if self.last_error is None else f"; last error: {self.last_error.reason}"
            self.end(None, f"the reconnect policy gave up after {self.reconnector.failures} failed attempts{why}", now)
        else:
            self._turn(event, now)
            self._timers.set(Timer.RETRY, at)

    def overdue(self, now: int) -> None:
        """No transport has carried the session for some time: ask the fallback policy."""
        if not self._falls_back(now):
            return
        if self.state is ClientState.WAITING:
            self._timers.cancel(Timer.RETRY)
            self._fall_back(now)
        else:
            self.leave(None, "polling takes over", now)

    def _falls_back(self, now: int) -> bool:
        """Ask the fallback policy (7.25). If the answer is "not yet", set a timer for asking again."""
        since = max(self._troubled_since, self.reconnector.not_before)
        wait_s = self._fallback.wait_s(Disconnection(self.reconnector.failures, max(0, now - since) / NS_PER_S))
        if wait_s is None or ns(wait_s) <= 0:
            self._timers.cancel(Timer.FALLBACK)
            return wait_s is not None
        self._timers.set(Timer.FALLBACK, max(now, self.reconnector.not_before) + ns(wait_s))
        return False

    def _fall_back(self, now: int, probe_at: int | None = None) -> None:
        """Polling takes over. `probe_at`: when the first probe is due; None: a whole wait from now on (7.28)."""
        earliest = self.reconnector.earliest(now)
        first_poll_at = self.polling.first_poll_at(earliest)
        if first_poll_at is None:
            self.end(None, "the reconnect policy gave up on polling", now)
            return
        self._turn(ClientInput.EXHAUSTED, now)
        self.polling.open(self._new_connection_id(), self._new_generation(), self.token, first_poll_at)
        if probe_at is None:
            self._probes.schedule(now, earliest)
        else:
            self._timers.set(Timer.PROBE, max(probe_at, earliest))

    def _probe_lost(self, now: int, *, is_failure: bool) -> None:
        self._turn(ClientInput.LOST, now)
        if is_failure:
            self._probes.failed()
        # 7.30: the server may have taken the probe for the newest connection; make polling the newest again.
        self.polling.generation = self._new_generation()
        self._probes.schedule(now, self.reconnector.earliest(now))

    # Polling.

    def restart_polling(self, first_poll_at: int, now: int) -> None:
        """Abandon the requests under way, and poll on a new connection.

        While there is a probe, polling keeps its generation: a probe that the server has welcomed is the newer of the two.
        """
        generation = self._new_generation() if self.websocket is None else self.polling.generation
        self._close_polling()
        self.polling.open(self._new_connection_id(), generation, self.token, first_poll_at)
        if not self.state.has_websocket:
            self._publishing.connection_lost()
        self._look_whether_carried(now)

    def poll_with_new_token(self, now: int) -> None:
        """Poll on a new connection with the new token, which ends no wait (7.37)."""
        resend_at = self._timers.deadline_of(Timer.RESEND)
        self.restart_polling(self.polling.next_poll_at(now), now)
        if resend_at is not None:
            self._publishing.wait_until(resend_at)

    def abandon_polling(self, reason: str, now: int) -> None:
        """A request was not answered in time, or not with an answer of the protocol: poll on a new connection (7.27)."""
        _, at = self.polling.failed("poll", None, now)
        if at is None:
            self.end(None, "the reconnect policy gave up on polling", now)
        else:
            self.restart_polling(at, now)
            self._report_error(None, reason)

    def poll_answered(self, has_more: bool, now: int) -> bool:
        """A poll was answered: polling carries the session. Returns False if no poll was under way."""
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

    # Tokens, and the end of the session.

    def want_token(self, code: int | None, message: str, now: int) -> None:
        """The server no longer accepts this token (7.40)."""
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
        """The server warns that this token expires soon (4.18, 7.36)."""
        self._expires_at = now + in_ms * NS_PER_MS
        self.ask_for_token()

    def ask_for_token(self) -> None:
        if self._context.config.refreshes_token:
            self._context.actions.append(RefreshToken())

    def token_is_the_same(self, now: int) -> None:
        """The application has no newer token yet: ask again after half of the remaining time (7.36)."""
        left = 0 if self._expires_at is None else self._expires_at - now
        if self.state.has_websocket and left > 0:
            self._timers.set(Timer.REFRESH, now + max(left // 2, ns(_ASK_AGAIN_S_MIN)))

    def token_given(self, now: int, *, is_new: bool) -> None:
        """The application has supplied a requested token (7.40). A wait might outlast the token, so if an attempt failed because
        the token had expired, the next attempt is made at once; but never twice in a row."""
        self._timers.cancel(Timer.TOKEN)
        self._expires_at = None
        at_once = self._tries_token and is_new
        self._wait_or_fall_back(ClientInput.TOKEN_GIVEN, now, at_once=at_once, probe_at=self._probe_at)

    def end(self, code: int | None, message: str, now: int) -> None:
        """The session is over; every unanswered publish is reported as failed (7.39)."""
        self._drop_transports()
        self._publishing.give_up(f"the session ended: {message}")
        for timer in Timer:
            self._timers.cancel(timer)
        self.ended = SessionEnded(code, message)
        self._turn(ClientInput.END, now)
        self._context.outcomes.append(self.ended)

    # Helpers.

    def _report_error(self, code: int | None, reason: str) -> None:
        """An attempt failed, or a connection was lost. While no transport carries the session, the application is notified of
        each reason once (7.43)."""
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
        """Detect whether `is_carried` has changed, and report it to the application, the server and health alike (7.42)."""
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
        """Generations up to this one were used before the program restarted (2.6)."""
        self._generation = generation

    def _forget_websocket(self) -> None:
        self._stop_reading(self.websocket)
        self.websocket = None
        for timer in (Timer.CONNECT, Timer.STEADY, Timer.REFRESH):
            self._timers.cancel(timer)
        self._keepalive.stopped()
        self._delivery.disconnected()

    def _stop_reading(self, connection_id: int | None) -> None:
        if self._delivery.flow is not None and connection_id is not None:
            self._delivery.flow.forget(connection_id)

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
