"""Scenarios: a written file reads back the same, and errors are reported with their place."""

from pathlib import Path

import pytest
from hypothesis import given

from reference.protocol.config import ClientConfig
from reference.protocol.errors import ConfigError
from reference.protocol.policies.reconnect import FullJitter
from simulation.scenario.faults import Outage, Reset
from simulation.scenario.presets import PresetPolicy
from simulation.scenario.scenario import Capacity, ClientPart, Group, Scenario, load_scenario, parse_scenario
from simulation.testing.scenarios import scenarios
from tests.simulation.worlds import everything

SMALLEST = "version = 1\nname = 'a'\ngroups = [{ name = 'q' }]\n"


@given(scenario=scenarios())
def test_toml_and_back(scenario: Scenario) -> None:
    text = scenario.to_toml()
    assert parse_scenario(text) == scenario
    assert parse_scenario(text).to_toml() == text


def test_a_parameter_that_is_none_has_a_word() -> None:
    scenario = Scenario(name="x", groups=(Group(name="g"),), client=ClientPart(config=ClientConfig(fallback_after_failures=None)))
    assert 'fallback_after_failures = "never"' in scenario.to_toml()
    assert parse_scenario(scenario.to_toml()).client.config.fallback_after_failures is None


def test_odd_text_survives() -> None:
    scenario = Scenario(name="x", about='tab\t "quotes" \\ new\nline \x7f \x01 é 漢', groups=(Group(name="g"),))
    assert parse_scenario(scenario.to_toml()).about == scenario.about


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = 1\n[[", "invalid TOML"),
        ("name = 'a'", "needs `version = 1`"),
        ("version = 2", "this one has 2"),
        ("version = 1\nname = 'a'", "missing required field `groups`"),
        ("version = 1\nname = 'a'\ngroups = []", "^groups: .*length >= 1"),
        (
            "version = 1\nname = 'a'\ngroups = [{ name = 'q', clint = 3 }]",
            r"^groups\[0\]: there is no key 'clint'; did you",
        ),
        ("version = 1\nname = 'a b'\ngroups = [{ name = 'q' }]", "^name: "),
        ("version = 1\nname = 'a'\ngroups = [{ name = 'q' }, { name = 'q' }]", "two clients the same name"),
        (
            "version = 1\nname = 'a'\ngroups = [{ name = 'q', clients = 999999 }, { name = 'r', clients = 9999 }]",
            "limit is 1000000",
        ),
        ("version = 1\nname = 'a'\ngroups = [{ name = 'q', path = { latency_s = -1 } }]", r"groups\[0\].path.latency_s"),
        ("version = 1\nname = 'a'\ngroups = [{ name = 'q', path = { latency_s = nan } }]", "nan is not a finite number"),
        ("version = 1\nname = 'a'\ngroups = [{ name = 'q', path = { jitter_s = inf } }]", "inf is not a finite number"),
        (f"{SMALLEST}seed = -1", "^seed: "),
        (f"{SMALLEST}horizon_s = 0", "^horizon_s: "),
        (f"{SMALLEST}client = 3", "^client: "),
        (f"{SMALLEST}[workload]\ngraft_per_s = -1", r"^workload\.graft_per_s: "),
        (f"{SMALLEST}[workload]\ngrafts = 1", "^workload: there is no key 'grafts'; did you mean 'graft'"),
        (f"{SMALLEST}[client.config]\nping_interval_s = 0", r"^client\.config\.ping_interval_s: "),
        (f"{SMALLEST}[client.policy]\ncap_s = 0.1", "needs base_s > 0, cap_s >= base_s"),
        (f"{SMALLEST}[client.policy]\nkind = 'no_such'", r"^client\.policy: there is no kind 'no_such'; there are "),
        (f"{SMALLEST}[server.config]\nsnapshot_interval_events = 5000", r"^server\.config: .*exceeds events_kept_max"),
        (f"{SMALLEST}[server]\nsend_buffer_bytes = 0", r"^server\.send_buffer_bytes: "),
        (f"{SMALLEST}[[faults]]\nkind = 'outag'\nat_s = 1", r"^faults\[0\]: there is no kind 'outag'; did you mean 'outage'"),
        (f"{SMALLEST}[[faults]]\nkind = 'outage'\nat_s = 1", "missing required field `duration_s`"),
        (f"{SMALLEST}[[faults]]\nkind = 'reset'\nat_s = 1\nclients = ['z']", r"faults\[0\].clients names 'z'"),
        (f"{SMALLEST}[[faults]]\nkind = 'server_restart'\nat_s = 1\nduration_s = 1\nclients = ['q']", "hits everyone"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_scenario(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*No such file"):
        load_scenario(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        load_scenario(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_scenario(tmp_path / "latin.toml")
    (tmp_path / "bad.toml").write_text("version = 1\n[[")
    with pytest.raises(ConfigError, match=r"bad\.toml: invalid TOML"):
        load_scenario(tmp_path / "bad.toml")


def test_a_variation_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"^horizon_s: "):
        everything(horizon_s=-1.0)


def test_a_fault_may_name_a_group() -> None:
    scenario = Scenario(
        name="x",
        groups=(Group(name="g", clients=2), Group(name="h")),
        faults=(Outage(at_s=5, duration_s=1, clients=("g-1", "g")), Reset(at_s=2, clients=("h",))),
    )
    reset, outage = scenario.resolved_faults
    assert reset.clients == ("h-0",)
    assert outage.clients == ("g-1", "g-0")


def test_equal_scenarios_have_one_digest() -> None:
    assert everything().digest() == everything(seed=1).digest()
    assert everything().digest() != everything(seed=2).digest()


def test_anything_inside_is_replaced_by_its_path() -> None:
    scenario = everything()
    changed = scenario.replace(
        {
            "client.policy.cap_s": 10,
            "groups.b.path.latency_s": 0.3,
            "groups.0.clients": 7,
            "faults.2.duration_s": 9,
            "server.capacity.processors": 3,
            "groups.a.client": {"policy": {"preset": "nats"}},
        },
        seed=5,
    )
    assert changed.client.policy == FullJitter(cap_s=10.0)
    assert changed.groups[1].path.latency_s == 0.3
    assert changed.groups[0].clients == 7
    assert changed.faults[2].end_s == 29
    assert changed.server.capacity == Capacity(processors=3)
    assert changed.groups[0].client == ClientPart(policy=PresetPolicy(preset="nats"))
    assert changed.seed == 5
    assert changed.replace({"server.capacity": None, "groups.0.client": None}).groups[0].client is None
    assert scenario == everything()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("client.polcy.cap_s", 1, "there is no 'polcy'; did you mean 'policy'"),
        ("client.policy.cap", 1, "client.policy: there is no key 'cap'; did you mean 'cap_s'"),
        ("groups.z.clients", 1, "no item 'z' in a list of 2"),
        ("groups.9.clients", 1, "no item '9' in a list of 2"),
        ("seed.x", 1, "seed is 1 and has no parts"),
        ("horizon_s", -1, "^horizon_s: "),
        ("horizon_s", float("inf"), "not a finite number"),
        ("client.config.ping_interval_s", 35, "may say nothing for 35 s, and the server gives a client up after .* = 35"),
        ("server.config.silence_max_s", 4, "the clients of group .* let them ping more often, or raise that"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(path: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        everything().replace({path: value})


def test_json_says_the_same_as_toml() -> None:
    scenario = everything()
    assert parse_scenario(scenario.to_json()) == scenario
    assert parse_scenario(scenario.to_json()).digest() == scenario.digest()
    with pytest.raises(ConfigError, match="invalid JSON"):
        parse_scenario('{"version": 1,')
    with pytest.raises(ConfigError, match=r"needs `version = 1`.*has 3"):
        parse_scenario('{"version": 3}')
