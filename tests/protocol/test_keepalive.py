"""When to ping and when to give up: the formulas, and a session that obeys them."""

import math
from collections.abc import Callable

import msgspec
import pytest

from reference.protocol import frames
from reference.protocol.actions import Close
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig, recovery_bound_s
from reference.protocol.errors import CloseCode, ConfigError
from reference.protocol.policies.keepalive import (
    AfterSilence,
    Due,
    EveryInterval,
    FreshnessPoints,
    HeartbeatPolicy,
    MissesInARow,
    NoPings,
    PhiAccrual,
    PhiExponential,
    Signs,
    deviations_at,
)
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.states import ClientState

from .machines import EXAMPLES, Always, seconds, sent


@pytest.mark.parametrize(
    ("policy", "signs", "due"),
    [
        (EveryInterval(10, 4), Signs(0, 0, 0), Due(10, 4)),
        (EveryInterval(10, 4), Signs(3, 1, None), Due(7, None)),
        (EveryInterval(10, 4), Signs(2, 9, 5), Due(8, -1)),
        (AfterSilence(10, 4, 30), Signs(0, 0, 0), Due(10, 4)),
        (AfterSilence(10, 4, 30), Signs(12, 1, None), Due(9, None)),
        (AfterSilence(10, 4, 30), Signs(28, 1, None), Due(2, None)),
        (AfterSilence(10, 4, 30), Signs(1, 11, 1), Due(9, 3)),
        (NoPings(35), Signs(100, 30, 100), Due(None, 5)),
        (MissesInARow(10, 3, 4), Signs(1, 1, None), Due(9, None)),
        (MissesInARow(10, 3, 4), Signs(1, 9, 5), Due(3, 7)),
        (MissesInARow(10, 3, 4), Signs(1, 17, 9), Due(None, 3)),
        (FreshnessPoints(10, 14), Signs(2, 0, None, 12), Due(8, 2)),
        (FreshnessPoints(10, 14), Signs(2, 9, 12, None), Due(8, None)),
        (PhiExponential(1.0, 1.0, 4), Signs(0.5, 0.25, 0.5, 0.5, (2.0, 4.0, 2.0, 4.0)), Due(0.5, 3 * math.log(10) - 0.25)),
        (PhiExponential(2.0, 1.0, 4), Signs(0.5, 0.25, 0.5, 0.5, ()), Due(1.5, 2 * math.log(10) - 0.25)),
    ],
)
def test_the_formulas(policy: HeartbeatPolicy, signs: Signs, due: Due) -> None:
    assert policy.due(signs) == due


def test_a_deviation_that_is_small_beside_the_mean_keeps_its_digits() -> None:
    policy = PhiAccrual(1.0, 8.0, 2, 86_400, 0.001, 0.0)
    due = policy.due(Signs(0, 0, None, None, (30_000.1, 30_000.2)))
    assert due.dead_s == pytest.approx(30_000.15 + 0.05 * deviations_at(8.0), rel=0, abs=1e-9)


@pytest.mark.parametrize(
    ("wrong", "needs"),
    [
        (lambda: EveryInterval(0, 1), r"EveryInterval\(.*\): needs 0 < interval_s <= 86400"),
        (lambda: EveryInterval(1, float("nan")), r"EveryInterval\(.*\): needs 0 < timeout_s <= 86400"),
        (lambda: EveryInterval(86_400.1, 1), r"EveryInterval\(.*\): needs 0 < interval_s <= 86400"),
        (lambda: AfterSilence(10, 10, 9), r"AfterSilence\(.*\): needs pause_max_s >= silence_s"),
        (lambda: AfterSilence(0, 10), r"AfterSilence\(.*\): needs 0 < silence_s <= 86400"),
        (lambda: AfterSilence(10, -1), r"AfterSilence\(.*\): needs 0 < timeout_s <= 86400"),
        (lambda: AfterSilence(10, 10, 86_401), r"AfterSilence\(.*\): needs 0 < pause_max_s <= 86400"),
        (lambda: MissesInARow(0, 3), r"MissesInARow\(.*\): needs 0 < interval_s <= 86400"),
        (lambda: MissesInARow(10, 3, 0), r"MissesInARow\(.*\): needs 0 < retry_s <= 86400"),
        (lambda: MissesInARow(10, 1001), r"MissesInARow\(.*\): needs 1 <= misses <= 1000"),
        (lambda: FreshnessPoints(0, 1), r"FreshnessPoints\(.*\): needs 0 < interval_s <= 86400"),
        (lambda: FreshnessPoints(10, 0), r"FreshnessPoints\(.*\): needs 0 < shift_s <= 86400"),
        (lambda: PhiExponential(0), r"PhiExponential\(.*\): needs 0 < interval_s <= 86400"),
        (lambda: PhiExponential(silence_max_s=86_401), r"PhiExponential\(.*\): needs 0 < silence_max_s <= 86400"),
        (lambda: PhiExponential(threshold=100.5), r"PhiExponential\(.*\): needs 0\.5 <= threshold <= 100"),
        (lambda: PhiExponential(samples_max=1001), r"PhiExponential\(.*\): needs 2 <= samples_max <= 1000"),
        (lambda: PhiAccrual(pause_s=86_400.5), r"PhiAccrual\(.*\): needs 0 <= pause_s <= 86400"),
        (lambda: MissesInARow(10, 0), r"MissesInARow\(.*\): needs 1 <= misses <= 1000"),
        (lambda: MissesInARow(4, 3, 5), r"MissesInARow\(.*\): needs retry_s <= interval_s"),
        (
            lambda: FreshnessPoints(1, 8.1),
            r"FreshnessPoints\(.*\): needs shift_s <= 8 \* interval_s; no .*",
        ),
        (lambda: PhiAccrual(threshold=0.4), r"PhiAccrual\(.*\): needs 0\.5 <= threshold <= 100"),
        (lambda: PhiAccrual(samples_max=1), r"PhiAccrual\(.*\): needs 2 <= samples_max <= 1000"),
        (lambda: PhiAccrual(std_min_s=0), r"PhiAccrual\(.*\): needs 0 < std_min_s <= 86400"),
        (lambda: PhiAccrual(pause_s=-1), r"PhiAccrual\(.*\): needs 0 <= pause_s <= 86400"),
        (lambda: PhiExponential(10, silence_max_s=10), r"PhiExponential\(.*\): needs silence_max_s > interval_s"),
        (lambda: NoPings(0), r"NoPings\(.*\): needs 0 < silence_max_s <= 86400"),
        (lambda: NoPings(float("inf")), r"NoPings\(.*\): needs 0 < silence_max_s <= 86400"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Callable[[], HeartbeatPolicy], needs: str) -> None:
    with pytest.raises(ConfigError, match=f"^{needs}$"):
        wrong()


def test_what_is_just_possible_is_taken() -> None:
    assert EveryInterval(86_400, 86_400).notice_max_s == 2 * 86_400
    assert AfterSilence(10, 10, 10).quiet_max_s == 10
    assert NoPings(86_400).notice_max_s == 86_400
    assert MissesInARow(10, 1, 10).notice_max_s == 20
    assert MissesInARow(10, 1000, 10).notice_max_s == 10_010
    assert FreshnessPoints(10, 80).notice_max_s == 90
    assert PhiAccrual(threshold=0.5, samples_max=1000, pause_s=86_400).notice_max_s == 60
    assert PhiExponential(threshold=100).notice_max_s == 60


def test_the_config_speaks_for_a_session_without_a_policy() -> None:
    assert ClientConfig(ping_interval_s=3, ping_timeout_s=2).heartbeat_policy == EveryInterval(3, 2)


def test_the_bound_of_recovery_knows_the_policy() -> None:
    config = ClientConfig()
    by_pings = recovery_bound_s(config, 30.25, 0.1)
    assert recovery_bound_s(config, 30.25, 0.1, heartbeat=EveryInterval(10, 10)) == by_pings
    assert recovery_bound_s(config, 30.25, 0.1, heartbeat=NoPings(60)) == pytest.approx(by_pings + 40)


class Life:
    """A live session at time 0. `hears` at those seconds; its pings are answered while `answers`.

    `answers_after`: by the second of a ping, after how many its answer comes; the others have none. `silence_ms`: what the server
    tells of how long it waits."""

    def __init__(
        self,
        policy: HeartbeatPolicy,
        hears: tuple[float, ...] = (),
        *,
        answers: bool = True,
        answers_after: dict[float, float] | None = None,
        silence_ms: int | None = None,
    ) -> None:
        self.session = ClientSession(
            "client-1", config=ClientConfig(), policy=FullJitter(), random_source=Always(0.5), heartbeat=policy
        )
        self.hears = list(hears)
        self.answers = answers
        self.answers_after = answers_after
        self.pongs: list[tuple[int, int]] = []
        self.pings: list[float] = []
        self.left: tuple[float, int | None, str] | None = None
        self.session.start(0)
        self.session.connection_opened(1, 0)
        welcome = EXAMPLES[frames.Welcome]
        assert isinstance(welcome, frames.Welcome)
        limits = msgspec.structs.replace(welcome.limits, silence_max_ms=silence_ms)
        self.session.receive_frame(1, msgspec.structs.replace(welcome, limits=limits), 0)
        self.session.receive_frame(1, EXAMPLES[frames.SnapshotFrame], 0)
        self.session.receive_frame(1, frames.Pong(0, server_time=0), 0)
        self.session.take_actions()
        assert self.session.state is ClientState.LIVE

    def pass_until(self, end_s: float) -> "Life":
        while self.left is None:
            deadline = self.session.next_deadline()
            pongs = [due for due, _ in self.pongs[:1]]
            at = min([seconds(end_s), *map(seconds, self.hears[:1]), *pongs, *([] if deadline is None else [deadline])])
            if pongs == [at]:
                self.session.receive_frame(1, frames.Pong(self.pongs.pop(0)[1], server_time=0), at)
            if self.hears and seconds(self.hears[0]) == at:
                self.hears.pop(0)
                self.session.bytes_received(1, at)
            self.session.handle_timeout(at)
            self._look(at)
            if at == seconds(end_s):
                break
        return self

    def _look(self, at: int) -> None:
        actions = self.session.take_actions()
        for frame in sent(actions, 1):
            if isinstance(frame, frames.Ping):
                self.pings.append(at / 1e9)
                if self.answers_after is not None:
                    if at / 1e9 in self.answers_after:
                        self.pongs.append((at + seconds(self.answers_after[at / 1e9]), frame.nonce))
                elif self.answers:
                    self.session.receive_frame(1, frames.Pong(frame.nonce, server_time=0), at)
        for action in actions:
            if isinstance(action, Close):
                self.left = at / 1e9, action.code, action.message


def test_a_policy_that_asks_for_a_nanosecond_more_gets_it() -> None:
    class Later:
        notice_max_s, quiet_max_s, interval_s = 60.0, None, 10.0

        def due(self, signs: Signs) -> Due:
            return Due(self.interval_s - signs.pinged_s, None)

    policy = Later()
    life = Life(policy)
    policy.interval_s += 1e-9
    assert life.pass_until(11).pings == [10 + 1e-9]


def test_every_interval_pings_whatever_is_heard() -> None:
    assert Life(EveryInterval(3, 2), hears=(1.0, 4.0, 7.0)).pass_until(10).pings == [3, 6, 9]


def test_a_ping_that_nothing_follows_ends_the_connection() -> None:
    life = Life(EveryInterval(3, 2), answers=False).pass_until(60)
    assert life.pings == [3]
    assert life.left == (5, CloseCode.HEARTBEAT_LOST, "no data received after a ping")


def test_pings_that_are_sent_while_one_is_unanswered_do_not_extend_its_time() -> None:
    life = Life(EveryInterval(1, 2.5), answers=False).pass_until(60)
    assert life.pings == [1, 2, 3]
    assert life.left is not None
    assert life.left[0] == 3.5


def test_a_byte_after_each_ping_is_enough() -> None:
    life = Life(EveryInterval(3, 2), hears=tuple(3.0 * k + 1.9 for k in range(1, 20)), answers=False).pass_until(55)
    assert life.left is None


def test_after_silence_a_busy_connection_is_spared_the_pings() -> None:
    busy = Life(AfterSilence(5, 2, 100), hears=tuple(map(float, range(1, 60)))).pass_until(60)
    assert busy.pings == []
    idle = Life(AfterSilence(5, 2, 100)).pass_until(21)
    assert idle.pings == [5, 10, 15, 20]
    mixed = Life(AfterSilence(5, 2, 100), hears=(3.0, 4.0)).pass_until(15)
    assert mixed.pings == [9, 14]


def test_after_silence_the_server_still_gets_pings() -> None:
    busy = Life(AfterSilence(5, 2, 20), hears=tuple(map(float, range(1, 60)))).pass_until(60)
    assert busy.pings == [20, 40, 60]


def test_after_silence_a_dead_connection_is_found_in_time() -> None:
    policy = AfterSilence(5, 2)
    life = Life(policy, hears=(1.0, 3.0), answers=False).pass_until(60)
    assert life.left is not None
    assert life.left[0] == 3 + policy.notice_max_s


def test_no_pings_trusts_the_servers_heartbeats() -> None:
    life = Life(NoPings(35), hears=tuple(map(float, range(15, 300, 15)))).pass_until(300)
    assert (life.pings, life.left) == ([], None)


def test_no_pings_finds_a_half_open_connection() -> None:
    life = Life(NoPings(35), hears=(15.0, 30.0)).pass_until(300)
    assert life.pings == []
    assert life.left is not None
    assert life.left[:2] == (65, CloseCode.HEARTBEAT_LOST)


@pytest.mark.parametrize(
    ("policy", "silence_ms", "pings"),
    [
        (EveryInterval(10, 4), 10_001, [10, 20, 30]),
        (EveryInterval(10, 4), 10_000, [5, 10, 15, 20, 25, 30]),
        (EveryInterval(60, 4), 20_000, [10, 20, 30]),
        (AfterSilence(25, 4, 60), 20_000, [10, 20, 30]),
        (AfterSilence(5, 4, 60), 20_000, [5, 10, 15, 20, 25, 30]),
        (NoPings(100), 30_000, [15, 30]),
        (NoPings(100), None, []),
        (EveryInterval(10, 4), 1, list(range(1, 31))),
    ],
)
def test_a_client_does_not_fall_silent_for_longer_than_its_server_allows(
    policy: HeartbeatPolicy, silence_ms: int | None, pings: list[float]
) -> None:
    assert Life(policy, silence_ms=silence_ms).pass_until(30).pings == pings


def test_pings_that_the_server_wants_find_a_dead_connection_too() -> None:
    life = Life(EveryInterval(60, 4), answers=False, silence_ms=20_000).pass_until(60)
    assert life.left is not None
    assert life.left[0] == 14


def test_misses_in_a_row_are_counted_and_a_byte_ends_the_count() -> None:
    silent = Life(MissesInARow(10, 3, 4), answers=False).pass_until(60)
    assert silent.pings == [10, 14, 18]
    assert silent.left == (22, CloseCode.HEARTBEAT_LOST, "no data received after a ping")
    heard = Life(MissesInARow(10, 3, 4), hears=(21.0,), answers=False).pass_until(60)
    assert heard.pings == [10, 14, 18, 28, 32, 36]
    assert heard.left is not None
    assert heard.left[0] == 40


def test_freshness_points_want_each_ping_answered_in_its_time() -> None:
    """Answers to earlier pings, and other bytes, prove nothing of this one."""
    late = Life(FreshnessPoints(2, 5), hears=(4.5, 6.5, 8.5, 10.5), answers_after={2.0: 4.9, 4.0: 4.9}).pass_until(60)
    assert late.left == (11, CloseCode.HEARTBEAT_LOST, "a ping was not answered in time")
    assert EveryInterval(2, 5).due(Signs(1, 0.5, None)).dead_s is None, "which a byte in between would have satisfied"
    assert Life(FreshnessPoints(2, 5), answers_after={2.0 * k: 4.9 for k in range(1, 30)}).pass_until(50).left is None


def test_the_answer_to_a_later_ping_proves_the_earlier_ones() -> None:
    life = Life(FreshnessPoints(2, 5), answers_after={6.0: 0.5}).pass_until(60)
    assert life.left is not None
    assert life.left[0] == 13, "5 s after the ping of 8 s"


def akkas_phi(silence_s: float, mean_s: float, std_s: float) -> float:
    """PhiAccrualFailureDetector.phi of Akka, for a silence above the mean."""
    y = (silence_s - mean_s) / std_s
    e = math.exp(-y * (1.5976 + 0.070566 * y * y))
    return -math.log10(e / (1.0 + e))


def test_phi_accrual_gives_up_where_akkas_phi_passes_the_threshold() -> None:
    """Before any interval is known, the guesses are 0.75 and 1.25 s: their mean is 1 s, their deviation 0.25 s."""
    fresh = Life(PhiAccrual(1.0, 8.0, 100, 60.0, 0.1, 3.0), answers=False).pass_until(60)
    assert fresh.left is not None
    assert akkas_phi(fresh.left[0], 1.0 + 3.0, 0.25) == pytest.approx(8.0)


def test_phi_accrual_learns_from_the_intervals_of_answers() -> None:
    """Answers come 0.5 and 0.1 s after their pings by turns: the intervals are 0.6 and 1.4 s, and two are kept."""
    delays = {float(k): 0.5 if k % 2 else 0.1 for k in range(1, 11)}
    life = Life(PhiAccrual(1.0, 3.0, 2, 60.0, 0.1, 0.0), answers_after=delays).pass_until(60)
    assert life.left is not None
    assert akkas_phi(life.left[0] - 10.1, 1.0, 0.4) == pytest.approx(3.0)


def test_phi_exponential_gives_up_after_so_many_mean_intervals() -> None:
    delays = {float(k): 0.5 if k % 2 else 0.1 for k in range(1, 11)}
    life = Life(PhiExponential(1.0, 1.0, 2), answers_after=delays).pass_until(60)
    assert life.left is not None
    assert life.left[0] - 10.1 == pytest.approx(math.log(10))
    assert 10 ** -((life.left[0] - 10.1) / 1.0 / math.log(10)) == pytest.approx(0.1), "an exponential interval is as long"


def test_no_phi_waits_for_longer_than_its_limit() -> None:
    assert Life(PhiAccrual(1.0, 8.0, 10, 2.0), answers=False).pass_until(60).left is not None
    for policy in (PhiAccrual(1.0, 8.0, 10, 2.0), PhiExponential(1.0, 8.0, 10, 2.0)):
        assert policy.due(Signs(0, 0, 0, 0, (9.0, 1.0))).dead_s == policy.notice_max_s == 2.0


def test_what_was_learnt_is_forgotten_with_the_connection() -> None:
    life = Life(PhiAccrual(1.0, 3.0, 2, 60.0, 0.1, 0.0), answers_after={float(k): 0.5 for k in range(1, 11)}).pass_until(10.9)
    keepalive = life.session._keepalive
    assert keepalive._intervals_s == (1.0, 1.0)
    life.session.connection_lost(1, None, seconds(10.95))
    assert keepalive._intervals_s == ()


def test_an_answered_first_ping_makes_the_connection_useful_under_every_policy() -> None:
    for policy in (EveryInterval(), AfterSilence(), NoPings(), MissesInARow(), FreshnessPoints(), PhiAccrual(), PhiExponential()):
        assert Life(policy).session.state is ClientState.LIVE
