"""Every preset's first ten waits compared with a table made by hand from the systems' own formulas, and their moments."""

import statistics

import msgspec
import pytest

from reference.protocol.config import ClientConfig
from reference.protocol.errors import ConfigError
from reference.protocol.policies.catalogue import WAIT_CEILING_S, Fixed
from reference.protocol.policies.fallback import AfterFailures, Disconnection
from reference.protocol.policies.keepalive import Due, Heartbeat, Signs
from reference.protocol.policies.reconnect import AskedWait, Attempt, Reconnector
from reference.protocol.timers import NS_PER_S
from simulation import Frames, HalfOpen, Middlebox, Path, Reset, run, still_world
from simulation.random import RandomStreams
from simulation.scenario import presets
from simulation.scenario.presets import (
    FALLBACKS,
    HEARTBEATS,
    PRESETS,
    SHIPPED,
    PresetFallback,
    PresetHeartbeat,
    PresetPolicy,
    find,
    register,
    register_fallback,
    register_heartbeat,
)
from simulation.scenario.scenario import ClientPart, client_part, longest_wait_s, parse_scenario
from simulation.trace.trace import ConnectionLeft, StateTurned

STOP = None
Wait = tuple[float, float] | None


def doubled(low: float, high: float, cap: float = 1e9) -> list[Wait]:
    return [(low * min(cap, 2.0**k), high * min(cap, 2.0**k)) for k in range(10)]


def exact(*waits: float) -> list[Wait]:
    return [(wait, wait) for wait in waits]


FIRST_TEN: dict[str, list[Wait]] = {
    "brief-as-documented": exact(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    "brief-as-built": exact(5, 5, 5, 5, 5, 5, 5, 5, 5, 5),
    "socket.io-js": [(0.55, 1.5), (1.1, 3), (2.2, 5), (4.4, 5), *exact(5, 5, 5, 5, 5, 5)],
    "python-socketio": [(0.5, 1.5), (1.5, 2.5), (3.5, 4.5), *[(4.5, 5.5)] * 7],
    "centrifuge-js": [(0.5, 1), (0.5, 1.5), (0.5, 2.5), (0.5, 4.5), (0.5, 8.5), (0.5, 16.5), *[(0.5, 20.0)] * 4],
    "signalr": [*exact(0, 2, 10, 30), *[STOP] * 6],
    "phoenix": exact(0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 2, 5),
    "anycable-web": doubled(1.5, 9.0),
    "ably": [(0, 0), (12, 15), (16, 20), (20, 25), *[(24, 30)] * 6],
    "mattermost": [*[(3.0, 5.0)] * 7, (192, 194), (243, 245), (300, 302)],
    "nats": [(2.0, 2.1)] * 10,
    "sockudo-js": [*exact(0, 1, 4, 9, 16, 25), *[STOP] * 4],
    "y-websocket": exact(0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5, 2.5, 2.5, 2.5),
    "hocuspocus": [(1, 1), (1, 2), (1, 4), (1, 8), (1, 16), *[(1.0, 30.0)] * 5],
    "liveblocks": exact(0.25, 0.5, 1, 2, 4, 8, 10, 10, 10, 10),
    "graphql-ws": [(1.3, 4), (2.3, 5), (4.3, 7), (8.3, 11), (16.3, 19), *[STOP] * 5],
    "python-websockets": [
        (0, 5),
        *exact(3.1, 5.0158, 8.115564, 13.130983, 21.24593, 34.375914, 55.62023, 89.993531, 90),
    ],
    "reconnecting-websocket": [
        (1, 5),
        (1.3, 6.5),
        (1.69, 8.45),
        (2.197, 10),
        (2.8561, 10),
        (3.71293, 10),
        (4.826809, 10),
        (6.2748517, 10),
        (8.15730721, 10),
        (10, 10),
    ],
    "grpc": [
        (0.8, 1.2),
        (1.28, 1.92),
        (2.048, 3.072),
        (3.2768, 4.9152),
        (5.24288, 7.86432),
        (8.388608, 12.582912),
        (13.421773, 20.132659),
        (21.474836, 32.212255),
        (34.359738, 51.539608),
        (54.975581, 82.463372),
    ],
    "sip-outbound": doubled(15, 30, 60),
    "full-jitter": [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), *[(0.0, 30.0)] * 5],
    "equal-jitter": [(0.5, 1), (1, 2), (2, 4), (4, 8), (8, 16), *[(15.0, 30.0)] * 5],
    "decorrelated-jitter": [(1, 3), (1, 9), (1, 27), *[(1.0, 30.0)] * 7],
    "steadywire": [(0, 1), (0.25, 1.25), (0.25, 2.25), (0.25, 4.25), (0.25, 8.25), (0.25, 16.25), *[(0.25, 30.25)] * 4],
}
CAPS = {
    "grpc": 144.0,
    "sip-outbound": 1800.0,
    "mattermost": 302.0,
    "anycable-web": WAIT_CEILING_S,
    "brief-as-documented": WAIT_CEILING_S,
}
MEANS: list[tuple[str, int, float]] = [
    ("socket.io-js", 0, 1.025),  # sign and size hang on one draw: 1 + 0.05 * 0.5
    ("python-socketio", 1, 2.0),
    ("centrifuge-js", 3, 2.5),
    ("anycable-web", 2, 18.0),
    ("ably", 4, 27.0),
    ("mattermost", 0, 4.0),
    ("nats", 5, 2.05),
    ("hocuspocus", 3, 4.5),
    ("graphql-ws", 2, 5.65),
    ("python-websockets", 0, 2.5),
    ("grpc", 3, 4.096),
    ("sip-outbound", 1, 45.0),
    ("full-jitter", 4, 8.0),
    ("equal-jitter", 4, 12.0),
    ("decorrelated-jitter", 0, 2.0),
    ("steadywire", 3, 2.25),
]


class Fixpoint:
    """Chance that always says the same."""

    def __init__(self, value: float) -> None:
        self.value = value

    def uniform(self, purpose: str, index: int) -> float:
        return self.value


def attempt(failures: int, draw: float, previous_s: float = 0.0) -> Attempt:
    return Attempt(failures, previous_s, 1.0, failures, Fixpoint(draw))


def test_every_preset_is_in_the_table() -> None:
    assert set(FIRST_TEN) == set(SHIPPED)
    assert all(len(waits) == 10 for waits in FIRST_TEN.values())
    assert all(preset.source for preset in PRESETS.values())


@pytest.mark.parametrize("name", PRESETS)
def test_the_first_ten_waits_lie_exactly_in_their_ranges(name: str) -> None:
    policy, random_source = PRESETS[name].policy, RandomStreams(7)
    drawn: list[list[float]] = [[] for _ in range(10)]
    for client in range(400):
        own, previous_s = random_source.of(f"c{client}"), 0.0
        for k, expected in enumerate(FIRST_TEN[name]):
            wait = policy.wait_s(Attempt(k, previous_s, 1.0, k, own))
            assert (wait is None) == (expected is None), (k, wait)
            if wait is None or expected is None:
                break
            low, high = expected
            assert low * (1 - 1e-6) <= wait <= high * (1 + 1e-6), (k, wait, expected)
            drawn[k].append(wait)
            previous_s = wait
    for waits, expected in zip(drawn, FIRST_TEN[name], strict=True):
        if expected is not None and name not in ("decorrelated-jitter", "anycable-web"):  # whose ends are rarely reached
            low, high = expected
            slack = 0.05 * (high - low) + 1e-6 * high
            assert min(waits) <= low + slack
            assert max(waits) >= high - slack


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "steadywire"])
def test_what_a_policy_says_of_its_range_is_that_range(name: str) -> None:
    policy = PresetPolicy(preset=name)
    for k, expected in enumerate(FIRST_TEN[name]):
        assert policy.range_s(k) == (expected if expected is None else pytest.approx(expected, rel=1e-6)), k


@pytest.mark.parametrize("name", PRESETS)
def test_no_wait_is_longer_than_the_cap(name: str) -> None:
    last = next((k for k in range(9, -1, -1) if FIRST_TEN[name][k] is not None), 9)
    cap = CAPS.get(name, (FIRST_TEN[name][last] or (0, 0))[1])
    for failures in (10, 50, 59, 5000):
        wait = PRESETS[name].policy.wait_s(attempt(failures, 0.999999, 1e6))
        assert wait is None or wait <= cap * (1 + 1e-9)
        if wait is not None and failures == 5000:
            assert wait >= 0.8 * cap


def test_those_that_stop_stop() -> None:
    stops = {
        name: next((k for k in range(200) if PRESETS[name].policy.wait_s(attempt(k, 0.5)) is None), None) for name in PRESETS
    }
    assert {name: k for name, k in stops.items() if k is not None} == {"signalr": 4, "nats": 60, "sockudo-js": 6, "graphql-ws": 5}


@pytest.mark.parametrize(("name", "k", "mean"), MEANS)
def test_the_mean_of_a_wait_is_that_of_its_formula(name: str, k: int, mean: float) -> None:
    random_source = RandomStreams(11)
    waits = [
        PRESETS[name].policy.wait_s(Attempt(k, 0.0, 1.0, k, random_source.of(f"c{client}"))) or 0.0 for client in range(4000)
    ]
    error = statistics.stdev(waits) / 4000**0.5
    assert abs(statistics.fmean(waits) - mean) <= 3.3 * error


def test_reconnecting_websocket_draws_its_base_once_in_a_life() -> None:
    policy, own = PRESETS["reconnecting-websocket"].policy, RandomStreams(3).of("c")
    first, second = (policy.wait_s(Attempt(k, 0.0, 1.0, 17 + k, own)) or 0.0 for k in (0, 1))
    assert second == pytest.approx(min(10, 1.3 * first))


def test_decorrelated_jitter_remembers_the_wait_before() -> None:
    policy = PRESETS["decorrelated-jitter"].policy
    assert policy.wait_s(attempt(3, 0.999999, previous_s=2.0)) == pytest.approx(6.0, rel=1e-4)


def test_a_scenario_names_a_preset_or_a_formula() -> None:
    head = "version = 1\nname = 'a'\ngroups = [{ name = 'q' }]\n[client]\n"
    named = parse_scenario(f"{head}policy = {{ preset = 'socket.io-js' }}")
    assert named.client.policy == PresetPolicy(preset="socket.io-js")
    formula = parse_scenario(f"{head}policy = {{ kind = 'fixed', seconds = 2.0, spread_s = 0.1, attempts_max = 60 }}")
    assert formula.client.policy == PRESETS["nats"].policy
    for scenario in (named, formula):
        assert parse_scenario(scenario.to_toml()) == parse_scenario(scenario.to_json()) == scenario
    with pytest.raises(ConfigError, match=r"client.policy: no preset is called 'socket.io'; did you mean 'socket.io-js'"):
        parse_scenario(f"{head}policy = {{ preset = 'socket.io' }}")


def test_the_brief_comes_with_its_fallback_and_forgets_failures_when_a_socket_opens() -> None:
    for name in ("brief-as-documented", "brief-as-built"):
        part = client_part(name, ClientConfig(poll_interval_s=1.0))
        assert part.fallback == AfterFailures(5)
        assert part.config.steady_after_s == 0.001
        assert part.config.poll_interval_s == 1.0
    assert client_part("nats").fallback is None
    assert client_part("nats").config == ClientConfig()


@pytest.mark.parametrize("name", HEARTBEATS)
def test_heartbeats_stand_in_a_scenario(name: str) -> None:
    head = "version = 1\nname = 'a'\ngroups = [{ name = 'q' }]\nserver.config.silence_max_s = 100\n[client]\n"
    scenario = parse_scenario(f"{head}heartbeat = {{ preset = '{name}' }}")
    named, policy = scenario.client.heartbeat_policy, HEARTBEATS[name].policy
    assert scenario.client.heartbeat == PresetHeartbeat(preset=name)
    assert (named.notice_max_s, named.quiet_max_s) == (policy.notice_max_s, policy.quiet_max_s)
    for signs in (Signs(0, 0, 0, 0), Signs(1, 0.5, None, None, (1.0, 2.0, 1.5))):
        assert named.due(signs) == policy.due(signs)
    assert parse_scenario(scenario.to_toml()) == parse_scenario(scenario.to_json()) == scenario
    assert isinstance(policy, Heartbeat)
    assert msgspec.structs.replace(scenario, client=ClientPart(heartbeat=policy)).recovery_bound_s == scenario.recovery_bound_s


@pytest.mark.parametrize("name", FALLBACKS)
def test_fallbacks_stand_in_a_scenario(name: str) -> None:
    head = "version = 1\nname = 'a'\ngroups = [{ name = 'q' }]\n[client]\n"
    scenario = parse_scenario(f"{head}fallback = {{ preset = '{name}' }}")
    assert scenario.client.fallback == PresetFallback(preset=name)
    for failures in range(8):
        trouble = Disconnection(failures, 3.0)
        assert PresetFallback(preset=name).wait_s(trouble) == FALLBACKS[name].policy.wait_s(trouble)
    assert parse_scenario(scenario.to_toml()) == scenario


def test_what_has_no_name_cannot_stand_in_a_scenario() -> None:
    with pytest.raises(ConfigError, match=r"heartbeat = .*has no name; register it with simulation.register_heartbeat"):
        ClientPart(heartbeat=Twice())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"fallback = .*simulation.register_fallback.*PresetFallback"):
        ClientPart(fallback=Twice())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"no heartbeat is called 'none'; there are steadywire, "):
        PresetHeartbeat(preset="none")
    with pytest.raises(ConfigError, match=r"no fallback is called 'none'; there are steadywire, "):
        PresetFallback(preset="none")


class Twice:
    """A heartbeat of somebody's own: as long as twice the mean interval between answers is a silence."""

    notice_max_s = 60.0
    quiet_max_s = 2.0
    intervals_max = 10

    def due(self, signs: Signs) -> Due:
        known = signs.intervals_s or (2.0,)
        return Due(2.0 - signs.pinged_s, min(60.0, 2 * sum(known) / len(known)) - signs.heard_s)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    for name in ("PRESETS", "HEARTBEATS", "FALLBACKS"):
        monkeypatch.setattr(f"simulation.scenario.presets.{name}", dict(getattr(presets, name)))


def test_a_heartbeat_of_your_own_runs(own: None) -> None:
    register_heartbeat("twice", Twice(), source="a test")
    heartbeat = PresetHeartbeat(preset="twice")
    silence = (HalfOpen(at_s=21.3, clients=("c-0",)),)
    scenario = still_world("own", 1, Path(latency_s=0.05), faults=silence, horizon_s=60.0)
    result = run(scenario.replace(client=msgspec.structs.replace(scenario.client, heartbeat=heartbeat)))
    left = [record.at / NS_PER_S for record in result.trace if isinstance(record, ConnectionLeft)]
    connected = [record.at / NS_PER_S for record in result.trace if isinstance(record, StateTurned) and record.is_carried]
    pinged = connected[0]  # with the welcome, and every 2 s from then on
    last_answer = pinged + 2.0 * int((21.3 - pinged) / 2.0) + 0.1
    assert left[0] == pytest.approx(last_answer + 2 * 2.0)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"due": lambda self, signs: (1.0, 2.0)}, r"mine: due\(Signs.*\) is \(1.0, 2.0\); return Due\(ping_s, dead_s\)"),
        ({"due": lambda self, signs: Due(1.0, float("nan"))}, r"mine: dead_s of due\(.*\) is nan; it must be a finite number"),
        ({"due": lambda self, signs: Due(1.0, 5.0)}, r"mine: after notice_max_s = 60 without a byte it does not give up"),
        ({"due": lambda self, signs: Due(1.0, None)}, r"mine: after notice_max_s = 60 .* \(dead_s is None\)"),
        ({"due": lambda self, signs: 1 / 0}, r"mine: <lambda>\(Signs.*\) raised ZeroDivisionError"),
        ({"notice_max_s": None}, r"mine: notice_max_s is None; the bound on recovery \(G6\) needs"),
        ({"notice_max_s": float("inf")}, r"mine: notice_max_s is inf"),
        ({"quiet_max_s": 0.0}, r"mine: quiet_max_s is 0.0; it must be a finite number of seconds above 0, or None"),
    ],
)
def test_a_bad_heartbeat_is_refused_when_it_is_registered(own: None, parts: dict[str, object], message: str) -> None:
    policy = type("Broken", (Twice,), parts)()
    with pytest.raises(ConfigError, match=message):
        register_heartbeat("mine", policy, source="a test")
    assert "mine" not in presets.HEARTBEATS


def test_a_class_or_something_else_is_no_policy(own: None) -> None:
    with pytest.raises(ConfigError, match=r"mine: Twice is a class; give an object of it, as in Twice\(\)"):
        register_heartbeat("mine", Twice, source="a test")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"mine: 7 has no due and no notice_max_s and no quiet_max_s; a heartbeat needs due, "):
        register_heartbeat("mine", 7, source="a test")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"a heartbeat is called 'akka' already"):
        register_heartbeat("akka", Twice(), source="a test")
    with pytest.raises(ConfigError, match=r"mine: 7 has no wait_s; a fallback needs wait_s"):
        register_fallback("mine", 7, source="a test")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"mine: 7 has no wait_s; a preset needs wait_s"):
        register("mine", 7, source="a test", wait_max_s=1.0)  # type: ignore[arg-type]


def test_a_fallback_that_trouble_makes_later_is_refused(own: None) -> None:
    class Later:
        def wait_s(self, trouble: Disconnection) -> float:
            return float(trouble.failures)

    with pytest.raises(ConfigError, match=r"mine: wait_s\(.*failures=1, .*\) is 1.0, later than after fewer failures"):
        register_fallback("mine", Later(), source="a test")


def test_a_fallback_of_your_own_runs(own: None) -> None:
    class AtSecond:
        def wait_s(self, trouble: Disconnection) -> float | None:
            return 0.0 if trouble.failures >= 2 else None

    register_fallback("at the second", AtSecond(), source="a test")
    blocked = Path(middlebox=Middlebox(upgrades="block"))
    scenario = still_world("own", 1, blocked, horizon_s=30.0)
    part = ClientPart(policy=Fixed(seconds=1.0), fallback=PresetFallback(preset="at the second"))
    attempts = Frames(run(scenario.replace(client=part)).trace_index)["attempts"]
    assert list(attempts["transport"][:3]) == ["websocket", "websocket", "polling"]


# The server's first spread, with any jitter.


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "steadywire"])
def test_any_policy_can_leave_its_first_wait_to_the_server(name: str) -> None:
    plain, spread = PRESETS[name].policy, PresetPolicy(preset=name, first_spread=True)
    first = Attempt(0, 0.0, 7.0, 0, Fixpoint(0.5))
    assert spread.wait_s(first) == 3.5
    assert spread.range_s(0) == (0.0, 0.0)
    for failures in range(3):
        after = Attempt(failures + 1, 2.0, 7.0, 4, Fixpoint(0.25))
        assert spread.wait_s(after) == plain.wait_s(msgspec.structs.replace(after, failures=failures))
        assert spread.range_s(failures + 1) == plain.range_s(failures)
    limit = getattr(plain, "attempts_max", None)
    if limit is not None:
        assert spread.wait_s(Attempt(limit, 0.0, 7.0, 0, Fixpoint(0.5))) is None
        assert spread.wait_s(Attempt(limit - 1, 0.0, 7.0, 0, Fixpoint(0.5))) is not None


def test_a_policy_of_your_own_can_leave_its_first_wait_to_the_server(own: None) -> None:
    class Counted:
        def wait_s(self, attempt: Attempt) -> float:
            return 10.0 + attempt.failures

    register("counted", Counted(), source="a test", wait_max_s=20.0)
    spread = PresetPolicy(preset="counted", first_spread=True)
    waits = [spread.wait_s(Attempt(failures, 0.0, 4.0, 0, Fixpoint(0.5))) for failures in range(3)]
    assert waits == [2.0, 10.0, 11.0]
    assert spread.range_s(0) == (0.0, 0.0)
    assert spread.range_s(1) == (0.0, 20.0)


def test_the_first_spread_that_a_server_asks_for_reaches_clients_with_another_jitter() -> None:
    """All connections are reset at once. With equal jitter alone, nobody is back within half a second; with the spread of 10 s,
    a tenth of them are back per second."""
    scenario = still_world("spread", 80, faults=(Reset(at_s=15.0),), horizon_s=40.0)
    scenario = scenario.replace({"server.config.first_spread_s": 10.0})
    back = {}
    for first_spread in (False, True):
        policy = PresetPolicy(preset="equal-jitter", first_spread=first_spread)
        part = msgspec.structs.replace(scenario.client, policy=policy)
        attempted = Frames(run(scenario.replace(client=part)).trace_index)["attempts"]["attempted_s"]
        back[first_spread] = attempted[attempted > 15.0] - 15.0
    assert 0.5 <= back[False].min() <= back[False].max() <= 1.0
    assert 12 <= (back[True] < 2.5).sum() <= 28
    assert 8.0 < back[True].max() <= 10.0


def test_one_of_your_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class EveryMinute:
        def wait_s(self, attempt: Attempt) -> float:
            return 60.0

    monkeypatch.setattr("simulation.scenario.presets.PRESETS", dict(PRESETS))
    with pytest.raises(ConfigError, match="give wait_max_s"):
        register("minute", EveryMinute(), source="a test")
    register("minute", EveryMinute(), source="a test", wait_max_s=60.0)
    with pytest.raises(ConfigError, match="called 'minute' already"):
        register("minute", EveryMinute(), source="a test", wait_max_s=60.0)
    policy = PresetPolicy(preset="minute")
    assert policy.wait_s(attempt(1, 0.5)) == longest_wait_s(policy, 100.0) == 60.0
    assert find("minute").source == "a test"


def test_the_longest_wait_that_trouble_can_leave_behind() -> None:
    documented = PresetPolicy(preset="brief-as-documented")
    assert longest_wait_s(documented, 30.0) == 16.0  # it begins at 1 + 2 + 4 + 8 = 15, the next one at 31
    assert longest_wait_s(documented, 31.0) == 32.0
    assert longest_wait_s(PresetPolicy(preset="grpc"), 100_000.0) == pytest.approx(144.0)
    assert longest_wait_s(PresetPolicy(preset="signalr"), 100_000.0) == 30.0


def test_a_policy_that_stops_makes_no_fifth_attempt() -> None:
    reconnector = Reconnector(PresetPolicy(preset="signalr"), RandomStreams(1).of("c"), 1.0, AskedWait())
    for _ in range(4):
        assert reconnector.next_attempt_at(0) is not None
        reconnector.failed()
    assert reconnector.next_attempt_at(0) is None
