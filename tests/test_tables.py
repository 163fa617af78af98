"""Every reader of tables written by hand reports the place, the unknown word, and the valid words."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reference.client import ClientSettings
from reference.protocol.errors import ConfigError
from reference.server.settings import load_settings
from simulation import load_scenario, parse_scenario
from simulation.adversary.case import parse_case
from simulation.processes.fidelity.costs import load_costs
from simulation.studies.study import parse_study

SCENARIO = 'version = 1\nname = "x"\ngroups = [{ name = "office" }]\n'
STUDY = 'version = 1\nname = "x"\nscenario = "elevator"\n'
CASE = 'version = 1\nname = "x"\nschedule = []\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("horizon = 3", "there is no key 'horizon'; did you mean 'horizon_s'?"),
        (
            "client = { config = { ping_intervall_s = 3 } }",
            "client.config: there is no key 'ping_intervall_s'; did you mean",
        ),
        (
            "client = { policy = { preset = 'socketio-js' } }",
            "client.policy: no preset is called 'socketio-js'; did you mean",
        ),
        ("client = { policy = { kind = 'fulljitter' } }", "client.policy: there is no kind 'fulljitter'; did you mean 'full"),
        ("client = { policy = { caps = 3 } }", "client.policy: there is no key 'caps'; did you mean 'cap_s'?"),
        ("client = { fallback = { failures = 3 } }", "client.fallback: needs `kind`, one of after_failures, after_seconds, "),
        (
            "faults = [{ kind = 'reset', at_s = 1 }, { kind = 'outrage', at_s = 1 }]",
            "faults[1]: there is no kind 'outrage'",
        ),
        (
            "faults = [{ kind = 'half_open', at_s = 1, direction = 'dwn' }]",
            "faults[0].direction: 'dwn' is not a valid value",
        ),
        ("faults = [{ kind = 'reset', at_s = 1, clients = ['ofice'] }]", "no client and no group; did you mean 'office'?"),
        ("faults = [{ kind = 'reset', at_s = -1 }]", "faults[0].at_s: Expected `float` >= 0"),
        ("faults = [{ kind = 'stall', at_s = 1 }]", "faults[0]: Object missing required field `duration_s`"),
        (
            "server = { commit_time = { distribution = 'constant', value = 1 } }",
            "server.commit_time: needs `kind`, one of ",
        ),
        ("record = 'histogram'", "record: 'histogram' is not a valid value; did you mean 'histograms'?"),
        ("server = { commit_time_s = inf }", "server.commit_time_s: inf is not a finite number"),
    ],
)
def test_scenario(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_scenario(f"{SCENARIO}{text}\n")
    assert says in str(caught.value)


def test_a_path_into_a_scenario() -> None:
    scenario = load_scenario("first_look")
    for path, says in (
        ("clients.policy.cap_s", "there is no 'clients'; did you mean 'client'?"),
        ("client.policy.caps", "client.policy: there is no key 'caps'; did you mean 'cap_s'?"),
        ("groups.mobil.clients", "no item 'mobil' in a list of 3; did you mean 'mobile'?"),
    ):
        with pytest.raises(ConfigError) as caught:
            scenario.replace({path: 1})
        assert says in str(caught.value)


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (
            parse_study,
            f"{STUDY}design = {{ kind = 'sobool' }}",
            "design.kind: 'sobool' is not a valid value; did you mean 'sobol",
        ),
        (
            parse_study,
            f"{STUDY}until = {{ figre = 'x', half_width = 1 }}",
            "until: there is no key 'figre'; did you mean 'figure",
        ),
        (
            parse_study,
            f"{STUDY}tune = {{ objectives = [{{ figur = 'x' }}] }}",
            "tune.objectives[0]: there is no key 'figur'; did",
        ),
        (parse_case, f"{CASE}foundby = 'me'", "there is no key 'foundby'; did you mean 'found_by'?"),
        (parse_case, f"{CASE}setup = {{ server = {{ hello_s = 2.0 }} }}", "setup.server: there is no key 'hello_s'"),
        (
            parse_case,
            CASE.replace("[]", '["waitt ms=1"]'),
            "schedule[0] 'waitt ms=1': there is no step 'waitt'; did you mean",
        ),
    ],
)
def test_study_and_case(parse: Callable[[str], object], text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("load", "text", "says"),
    [
        (
            ClientSettings.load,
            "[config]\noutbox_policy = 'reject'",
            "config.outbox_policy: 'reject' is not a valid value",
        ),
        (ClientSettings.load, "[policy]\nkind = 'none'", "policy: there is no kind 'none'; there are full"),
        (ClientSettings.load, "[polcy]\n", "there is no key 'polcy' at the top of the file; did you mean 'policy'?"),
        (load_settings, "hosst = 'x'", "there is no key 'hosst'; did you mean 'host'?"),
        (
            load_settings,
            "[protocol]\nframe_bytes = 1",
            "protocol: there is no key 'frame_bytes'; did you mean 'frame_",
        ),
        (load_costs, "hopp = 1", "there is no key 'hopp'; did you mean 'hop'?"),
    ],
)
def test_files(load: Callable[[Path], object], text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
