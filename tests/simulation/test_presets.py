"""Every preset's first ten waits against a table that was written by hand from the systems' own formulas, and their moments."""

import statistics

import pytest

from reference.protocol.config import ClientConfig
from reference.protocol.errors import ConfigError
from reference.protocol.policies.catalogue import WAIT_CEILING_S
from reference.protocol.policies.fallback import AfterFailures
from reference.protocol.policies.reconnect import AskedWait, Attempt, Reconnector
from simulation.random import RandomStreams
from simulation.scenario.presets import HEARTBEATS, PRESETS, PresetPolicy, find, register
from simulation.scenario.scenario import ClientPart, client_part, longest_wait_s, parse_scenario

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
    assert set(FIRST_TEN) == set(PRESETS)
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
    with pytest.raises(ConfigError, match=r"no preset is called 'socket.io'.*socket.io-js.*at `\$.client.policy`"):
        parse_scenario(f"{head}policy = {{ preset = 'socket.io' }}")


def test_the_brief_comes_with_its_fallback_and_forgets_failures_when_a_socket_opens() -> None:
    for name in ("brief-as-documented", "brief-as-built"):
        part = client_part(name, ClientConfig(poll_interval_s=1.0))
        assert part.fallback == AfterFailures(5)
        assert part.config.steady_after_s == 0.001
        assert part.config.poll_interval_s == 1.0
    assert client_part("nats").fallback is None
    assert client_part("nats").config == ClientConfig()


def test_heartbeats_stand_in_a_scenario() -> None:
    for heartbeat in HEARTBEATS.values():
        part = ClientPart(heartbeat=heartbeat)
        assert part.heartbeat_policy.notice_max_s > 0


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
