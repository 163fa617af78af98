"""When polling takes over: the formulas, and a session that obeys them."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.protocol import frames
from reference.protocol.actions import Close
from reference.protocol.client.context import Timer
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode, ConfigError
from reference.protocol.policies.fallback import (
    AfterEither,
    AfterFailures,
    AfterSeconds,
    Disconnection,
    FallbackPolicy,
    NeverFallBack,
)
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.states import ClientState, Transport

from .machines import EXAMPLES, Always, client_in, seconds, sent

POLICIES = st.one_of(
    st.builds(AfterFailures, st.integers(1, 9)),
    st.builds(AfterSeconds, st.floats(0.1, 100)),
    st.builds(AfterEither, st.integers(1, 9), st.floats(0.1, 100)),
    st.just(NeverFallBack()),
)


@pytest.mark.parametrize(
    ("policy", "failures", "lasts_s", "wait_s"),
    [
        (AfterFailures(5), 4, 1e6, None),
        (AfterFailures(5), 5, 0.0, 0.0),
        (AfterSeconds(30), 1000, 0.0, 30.0),
        (AfterSeconds(30), 0, 12.5, 17.5),
        (AfterSeconds(30), 0, 30.0, 0.0),
        (AfterSeconds(30), 0, 31.0, 0.0),
        (AfterEither(5, 30), 4, 29.0, 1.0),
        (AfterEither(5, 30), 5, 0.0, 0.0),
        (AfterEither(5, 30), 0, 30.0, 0.0),
        (NeverFallBack(), 10**9, 1e9, None),
    ],
)
def test_the_formulas(policy: FallbackPolicy, failures: int, lasts_s: float, wait_s: float | None) -> None:
    assert policy.wait_s(Disconnection(failures, lasts_s)) == wait_s


@given(POLICIES, st.integers(0, 20), st.floats(0, 200), st.integers(0, 20), st.floats(0, 200))
def test_more_trouble_never_makes_it_later(
    policy: FallbackPolicy, failures: int, lasts_s: float, more_failures: int, more_s: float
) -> None:
    before = policy.wait_s(Disconnection(failures, lasts_s))
    after = policy.wait_s(Disconnection(failures + more_failures, lasts_s + more_s))
    assert before is None or (after is not None and after <= before)


@pytest.mark.parametrize(
    ("wrong", "needs"),
    [
        (lambda: AfterFailures(0), r"AfterFailures\(.*\): needs failures >= 1"),
        (lambda: AfterSeconds(0.0), r"AfterSeconds\(.*\): needs 0 < seconds <= 86400"),
        (lambda: AfterSeconds(float("nan")), r"AfterSeconds\(.*\): needs 0 < seconds <= 86400"),
        (lambda: AfterSeconds(86_400.5), r"AfterSeconds\(.*\): needs 0 < seconds <= 86400"),
        (lambda: AfterEither(0, 1.0), r"AfterEither\(.*\): needs failures >= 1 and 0 < seconds <= 86400"),
        (lambda: AfterEither(1, 0.0), r"AfterEither\(.*\): needs failures >= 1 and 0 < seconds <= 86400"),
        (lambda: AfterEither(1, 86_400.5), r"AfterEither\(.*\): needs failures >= 1 and 0 < seconds <= 86400"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Callable[[], FallbackPolicy], needs: str) -> None:
    with pytest.raises(ConfigError, match=f"^{needs}$"):
        wrong()


def test_what_is_just_possible_is_taken() -> None:
    assert AfterFailures(1).wait_s(Disconnection(1, 0.0)) == 0.0
    assert AfterSeconds(86_400).wait_s(Disconnection(0, 0.0)) == 86_400
    assert AfterEither(1, 86_400).wait_s(Disconnection(0, 0.0)) == 86_400


def test_the_config_speaks_for_a_session_without_a_policy() -> None:
    assert ClientConfig().fallback_policy == AfterFailures(5)
    assert ClientConfig(fallback_after_failures=None).fallback_policy == NeverFallBack()


class Life:
    """A session whose connections hang until the test says otherwise."""

    def __init__(self, policy: FallbackPolicy, **settings: float) -> None:
        config = ClientConfig(**({"connect_timeout_s": 10.0} | settings))
        self.session = ClientSession("client-1", config=config, policy=FullJitter(), random_source=Always(0.5), fallback=policy)
        self.now = 0
        self.polls = 0
        self.session.start(0)

    def pass_until(self, at_s: float) -> None:
        """Let time go by; nobody answers."""
        while (deadline := self.session.next_deadline()) is not None and deadline <= seconds(at_s):
            self.now = max(self.now, deadline)
            self.session.handle_timeout(self.now)
        self.now = seconds(at_s)

    @property
    def websocket(self) -> int:
        return max(a.connection_id for a in self.actions if getattr(a, "transport", None) is Transport.WEBSOCKET)

    @property
    def actions(self) -> list[object]:
        self._actions = [*getattr(self, "_actions", []), *self.session.take_actions()]
        return self._actions

    def go_live(self) -> None:
        number = self.websocket
        self.session.connection_opened(number, self.now)
        self.session.receive_frame(number, EXAMPLES[frames.Welcome], self.now)
        self.session.receive_frame(number, EXAMPLES[frames.SnapshotFrame], self.now)
        (*_, ping) = (f for f in sent(self.actions, number) if isinstance(f, frames.Ping))  # type: ignore[arg-type] # only what is sent
        self.session.receive_frame(number, frames.Pong(ping.nonce, server_time=0), self.now)
        assert self.session.state is ClientState.LIVE

    def lose(self) -> None:
        self.session.connection_lost(self.websocket, None, self.now)


def test_an_attempt_that_hangs_is_given_up_at_the_very_second() -> None:
    life = Life(AfterSeconds(3.0))
    life.pass_until(2.999)
    assert life.session.state is ClientState.CONNECTING
    life.pass_until(3.0)
    assert life.session.state is ClientState.POLLING
    assert Close((1,), None, "polling takes over") in life.actions


def test_a_wait_for_the_next_attempt_is_cut_short() -> None:
    life = Life(AfterSeconds(11.0))
    life.pass_until(10.0)  # the attempt has failed
    assert life.session.state is ClientState.WAITING
    life.pass_until(10.7)
    assert life.session.state is ClientState.WAITING
    life.pass_until(10.75)
    assert life.session.state is ClientState.CONNECTING, "0.25 s + half of a second"
    life.pass_until(11.0)
    assert life.session.state is ClientState.POLLING
    waits = Life(AfterSeconds(10.5))
    waits.pass_until(10.5)
    assert waits.session.state is ClientState.POLLING
    waits.pass_until(12.0)
    assert waits.session.state is ClientState.POLLING, "and nothing is left of the attempt that was due"


def test_failures_and_seconds_whichever_comes_first() -> None:
    by_failures, by_seconds = Life(AfterEither(1, 100.0)), Life(AfterEither(9, 4.0))
    by_failures.pass_until(10.0)
    by_seconds.pass_until(4.0)
    assert by_failures.session.state is by_seconds.session.state is ClientState.POLLING
    by_failures.pass_until(120.0)
    assert by_failures.session.state.is_polling, "and the seconds are of no matter any more"


def test_a_connection_that_is_welcomed_stops_the_count_but_only_a_steady_one_begins_it_anew() -> None:
    life = Life(AfterSeconds(5.0))
    life.go_live()
    life.pass_until(7.0)
    assert life.session.state is ClientState.LIVE, "nobody takes over from a connection that works"
    life.lose()  # as a proxy does that kills WebSockets
    assert life.session.state is ClientState.POLLING
    steady = Life(AfterSeconds(5.0))
    steady.go_live()
    for second in range(1, 12):  # the server answers pings, so it stays
        steady.pass_until(float(second))
        steady.session.receive_frame(steady.websocket, frames.Heartbeat(0), steady.now)
    steady.lose()
    assert steady.session.state is ClientState.WAITING
    steady.pass_until(15.9)
    assert not steady.session.state.is_polling
    steady.pass_until(16.0)
    assert steady.session.state is ClientState.POLLING


def test_the_time_that_the_server_asked_for_does_not_count() -> None:
    life = Life(AfterSeconds(5.0))
    life.go_live()
    goaway = frames.Goaway(code=CloseCode.GOING_AWAY, retry_after_ms=60_000, spread_ms=0)
    life.session.receive_frame(life.websocket, goaway, life.now)
    life.pass_until(64.9)
    assert not life.session.state.is_polling
    life.pass_until(65.0)
    assert life.session.state is ClientState.POLLING


def test_a_policy_gets_each_disconnection() -> None:
    class Remembers:
        def __init__(self) -> None:
            self.reported: list[Disconnection] = []

        def wait_s(self, trouble: Disconnection) -> None:
            self.reported.append(trouble)

    policy = Remembers()
    life = Life(policy, connect_timeout_s=10.0)
    life.pass_until(10.0)
    assert policy.reported == [Disconnection(0, 0.0), Disconnection(1, 10.0)]


@pytest.mark.parametrize(("wait_s", "state"), [(0.0, ClientState.POLLING), (1e-9, ClientState.CONNECTING)])
def test_a_policy_that_wants_polling_from_the_start_gets_it(wait_s: float, state: ClientState) -> None:
    class Waits:
        def wait_s(self, trouble: Disconnection) -> float:
            return wait_s

    assert Life(Waits()).session.state is state


def test_without_a_fallback_there_is_none() -> None:
    life = Life(NeverFallBack())
    life.pass_until(1000.0)
    assert life.session.state in (ClientState.CONNECTING, ClientState.WAITING)


@given(POLICIES)
def test_polling_is_never_overdue(policy: FallbackPolicy) -> None:
    """Whatever the policy, a session that nothing carries polls at the moment that the policy names."""
    life = Life(policy, connect_timeout_s=2.0)
    for _ in range(40):
        deadline = life.session.next_deadline()
        assert deadline is not None
        life.pass_until(deadline / 1e9)
        if life.session.state.is_polling:
            break
    limits = msgspec.json.decode(msgspec.json.encode(policy))
    at_s = life.now / 1e9
    if "seconds" in limits:
        assert at_s <= limits["seconds"] + 1e-6 or not life.session.state.is_polling
    if isinstance(policy, NeverFallBack):
        assert not life.session.state.is_polling


def test_a_goaway_on_a_probe_is_no_failure_and_holds_for_polls_too() -> None:
    settings = {"probe_interval_s": 10.0, "probe_jitter": 0.0, "poll_interval_s": 1.0}
    client = client_in(ClientState.PROBE_PROVING, **settings)
    session = client.session
    session.take_actions()
    goaway = frames.Goaway(code=CloseCode.GOING_AWAY, retry_after_ms=4000, spread_ms=2000)
    session.receive_frame(client.websocket, goaway, client.now)
    assert session.state is ClientState.POLLING
    assert session._timers.deadline_of(Timer.PROBE) == client.now + seconds(10), "n is still 0"
    poll_at = session._timers.deadline_of(Timer.POLL)
    assert poll_at is None or poll_at >= client.now + seconds(4)
    assert session.statistics().failures == 1, "that of the WebSocket before polling"
