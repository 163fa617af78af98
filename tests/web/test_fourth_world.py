"""The browser client's machine behaves as the Python machines do, to the nanosecond and the last digit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings

from reference.protocol.config import ClientConfig
from reference.protocol.policies.keepalive import FreshnessPoints, Heartbeat, MissesInARow, PhiAccrual, PhiExponential
from simulation.adversary.case import load_case
from simulation.adversary.ground import Setup
from simulation.adversary.settling import play
from simulation.adversary.steps import Step
from simulation.scenario.faults import BlockUpgrade, HalfOpen, Outage, Refuse, Reset, ServerRestart, Stall
from simulation.scenario.scenario import Scenario
from simulation.testing import schedules, setups
from tests.parity import bare_world
from tests.parity.play import scenario_of
from tests.parity.test_drawn import scenarios
from tests.parity.test_scenarios import ONE_OF_EACH, POLLS_AT_ONCE, WITHOUT_CURSORS, name_of, rich

from .fourth_world import assert_same_in_node
from .recording import Recording, load, recorded
from .tools import NODE_IS_MISSING, WHY_NODE

pytestmark = pytest.mark.skipif(NODE_IS_MISSING, reason=WHY_NODE)
CASES = sorted((Path(__file__).parents[1] / "properties" / "cases").glob("*.toml"))
ROOT = Path(__file__).parents[2]
MAKES_SESSIONS = re.compile(r"\b(ClientSession|client_in|OpenPolling)\b")
THOROUGH = settings.default.max_examples > 50


def play_bare(scenario: Scenario) -> Recording:
    with recorded() as recording:
        bare_world.play(scenario, "01234567-89ab-cdef-0123-456789abcdef", "e1")
    return recording


def play_adversary(setup: Setup, schedule: list[Step]) -> Recording:
    with recorded() as recording:
        play(setup, schedule)
    return recording


def states_of(recording: Recording) -> set[str]:
    return {result["state"] for session in recording.sessions for result in session.results}


def outcomes_of(recording: Recording) -> list[dict[str, object]]:
    return [outcome for session in recording.sessions for result in session.results for outcome in result["outcomes"]]


def test_a_rich_scenario() -> None:
    """Drops that are noticed at once and late, a fallback with its return, a window that is outlived, a server killed twice."""
    recording = play_bare(rich())
    assert assert_same_in_node(recording) > 1500


@pytest.mark.slow
@pytest.mark.parallel
@pytest.mark.parametrize(
    "heartbeat",
    [
        MissesInARow(2.0, 3, 0.7),
        FreshnessPoints(0.5, 1.3),
        PhiAccrual(0.5, 3.7, 20, 20.0, 0.01, 0.3),
        PhiExponential(0.5, 2.3, 20, 20.0),
    ],
    ids=lambda heartbeat: type(heartbeat).__name__,
)
def test_a_rich_scenario_with_each_detector(heartbeat: Heartbeat) -> None:
    scenario = rich()
    recording = play_bare(scenario.replace(client=msgspec.structs.replace(scenario.client, heartbeat=heartbeat)))
    assert assert_same_in_node(recording) > 1500
    wanted = {"live", "waiting", "polling", "probe_connecting", "probe_greeting", "probe_proving"}
    assert wanted <= states_of(recording)
    assert {outcome["kind"] for outcome in outcomes_of(recording)} >= {"event", "snapshot", "accepted", "state"}


@pytest.mark.parametrize("fault", ONE_OF_EACH, ids=name_of)
def test_each_fault(fault: object) -> None:
    """On a WebSocket, and on a client that polls."""
    assert_same_in_node(play_bare(scenario_of(fault)))
    if not isinstance(fault, BlockUpgrade):
        blocked = BlockUpgrade(at_s=0.0, duration_s=18.0, clients=("ada",))
        polls = play_bare(scenario_of(blocked, fault, config=POLLS_AT_ONCE, workload=WITHOUT_CURSORS))
        assert "polling" in states_of(polls)
        assert_same_in_node(polls)


@pytest.mark.parametrize("policy", ["reject_new", "drop_oldest", "conflate"])
def test_limits_of_the_outbox(policy: str) -> None:
    """A small outbox and a short age during a long outage: refusals, drops and expiries are the same ones."""
    config = ClientConfig(outbox_policy=policy, outbox_messages_max=2, unanswered_max=1, outbox_age_max_s=2.9)
    scenario = scenario_of(Outage(at_s=3.0, duration_s=12.0), config=config, horizon_s=25.0)
    recording = play_bare(scenario)
    assert_same_in_node(recording)
    codes = {outcome["code"] for outcome in outcomes_of(recording) if outcome["kind"] == "failed"}
    refused = {result["raises"] for session in recording.sessions for result in session.results}
    assert "expired" in codes or policy == "drop_oldest"
    assert "dropped" in codes or policy != "drop_oldest"
    assert "OutboxFull" in refused or policy == "drop_oldest"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_each_kept_case(path: Path) -> None:
    """The schedules that once found a fault: lost histories, late answers, takeovers."""
    case = load_case(path)
    assert_same_in_node(play_adversary(case.setup, list(case.schedule)))


@pytest.mark.slow
@pytest.mark.parallel
def test_what_the_unit_tests_ask_of_the_python_session(tmp_path: Path) -> None:
    """Each rule has its directed tests in tests/protocol. Every session that they make is played here too."""
    path = tmp_path / "recording.json"
    files = [
        str(file) for file in (ROOT / "tests" / "protocol").glob("test_*.py") if MAKES_SESSIONS.search(file.read_text("utf-8"))
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.web.recording_plugin", "-p", "no:cacheprovider", *files]
    environment = {**os.environ, "STEADYWIRE_RECORDING": str(path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout
    recording = load(path.read_text("utf-8"))
    assert len(recording.sessions) > 200
    assert_same_in_node(recording)


@settings(max_examples=200 if THOROUGH else 8)
@given(setup=setups(), schedule=schedules())
def test_drawn_adversarial_worlds(setup: Setup, schedule: list[Step]) -> None:
    """Lost histories, takeovers, tokens that expire, rejections with and without a retry, an application that does not read."""
    assert_same_in_node(play_adversary(setup, schedule))


@settings(max_examples=50 if THOROUGH else 6)
@given(scenarios(Outage, Stall, Reset, HalfOpen, Refuse, BlockUpgrade, ServerRestart, polls=False))
def test_drawn_scenarios_on_websockets(scenario: Scenario) -> None:
    assert_same_in_node(play_bare(scenario))


@settings(max_examples=50 if THOROUGH else 6)
@given(scenarios(Reset, HalfOpen, Refuse, BlockUpgrade, ServerRestart, polls=True))
def test_drawn_scenarios_with_polling(scenario: Scenario) -> None:
    assert_same_in_node(play_bare(scenario))


@pytest.mark.slow
@pytest.mark.parallel
@settings(max_examples=300)
@given(setup=setups(), schedule=schedules())
def test_many_drawn_adversarial_worlds(setup: Setup, schedule: list[Step]) -> None:
    assert_same_in_node(play_adversary(setup, schedule))


def test_a_difference_of_a_nanosecond_or_a_field_is_found() -> None:
    """The comparison sees what it is there to see."""
    recording = play_bare(scenario_of(Reset(at_s=4.0, clients=("ada",)), horizon_s=6.0, settle_s=4.0))
    assert_same_in_node(recording)
    session = recording.sessions[0]
    changed = next(result for result in session.results if result["deadline"] is not None)
    changed["deadline"] += 1
    with pytest.raises(AssertionError, match="deadline"):
        assert_same_in_node(recording)
    changed["deadline"] -= 1
    config = msgspec.structs.replace(ClientConfig(), ping_interval_s=9.0)
    session.made["config"] = msgspec.to_builtins(config)
    with pytest.raises(AssertionError, match="JavaScript"):
        assert_same_in_node(recording)
