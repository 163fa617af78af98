"""Recordings: the values read, and errors in a file, reported with the line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reference.protocol.errors import ConfigError
from simulation.scenario.network_traces import read_latencies, read_mahimahi, read_outages
from simulation.scenario.scenario import load_scenario, parse_scenario

SCENARIO = """version = 1
name = "recorded"
[[groups]]
name = "a"
[groups.path]
recorded_latency = { file = "lat.csv" }
deliveries_ms = { file = "link.txt" }
[groups.availability]
kind = "recorded"
outages = { file = "outages.csv" }
"""
OUTAGES = "from_s,until_s\n# a tunnel\n1,2.5\n\n4,5\n"
LATENCIES = "at_s, latency_s\n100,0.02\n101,0.05\n"


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_what_is_read(tmp_path: Path) -> None:
    assert read_outages(write(tmp_path, "o.csv", OUTAGES)) == ((1.0, 2.5), (4.0, 5.0))
    assert read_latencies(write(tmp_path, "l.csv", LATENCIES)) == ((0.0, 0.02), (1.0, 0.05))
    assert read_mahimahi(write(tmp_path, "m", "0\n5\n5\n12\n")) == (0, 5, 5, 12)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_outages, "1,2\n", r"x, line 1: needs the head line `from_s,until_s`, this one is '1,2'; write it first"),
        (read_outages, "", "line 1: needs the head line"),
        (read_outages, "from_s,until_s\n", "line 1: no outage follows; add one"),
        (read_outages, "from_s,until_s\n1,2\n\n2,3\n", r"line 4: begins at 2 s, but the one before ends at 2 s; sort and merge"),
        (read_outages, "from_s,until_s\n3,2\n", r"line 2: ends at 2 s, not after it begins at 3 s"),
        (read_outages, "from_s,until_s\n3\n", r"line 2: has 1 fields; write two, from_s,until_s"),
        (read_outages, "from_s,until_s\n3,4 s\n", r"line 2: '4 s' is not a number of seconds from 0 to 1000000"),
        (read_outages, "from_s,until_s\nnan,4\n", r"line 2: 'nan' is not a number"),
        (read_latencies, "at_s,latency_s\n1,2\n1,3\n", r"line 3: is at 1 s, not after the one before; sort"),
        (read_latencies, "at_s,latency_s\n1,-2\n", r"line 2: '-2' is not a number of seconds"),
        (read_latencies, "at_s,latency_s\n", "no latency follows"),
        (read_mahimahi, "1\n2.5\n", r"line 2: '2.5' is not a whole number of ms, 0 or more"),
        (read_mahimahi, "3\n2\n", r"line 2: 2 ms comes after 3 ms; sort"),
        (read_mahimahi, "0\n0\n", r"no delivery above 0 ms; the last time is the recording's length"),
    ],
)
def test_what_is_wrong_is_named(read: Callable[[Path], object], text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(write(tmp_path, "x", text))
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the recording .*none: No such file"):
        read_outages(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_outages(tmp_path / "latin")


def test_files_named_in_a_scenario_become_part_of_it(tmp_path: Path) -> None:
    write(tmp_path, "lat.csv", LATENCIES)
    write(tmp_path, "link.txt", "0\n5\n12\n")
    write(tmp_path, "outages.csv", OUTAGES)
    scenario = load_scenario(write(tmp_path, "recorded.toml", SCENARIO))
    assert scenario.groups[0].path.recorded_latency == ((0.0, 0.02), (1.0, 0.05))
    assert scenario.groups[0].path.deliveries_ms == (0, 5, 12)
    assert parse_scenario(scenario.to_toml()) == scenario
    digest = scenario.digest()
    write(tmp_path, "lat.csv", LATENCIES.replace("0.05", "0.06"))
    assert load_scenario(tmp_path / "recorded.toml").digest() != digest


def test_a_file_that_is_missing_is_named_with_the_scenario(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recorded.toml: cannot read the recording .*lat.csv"):
        load_scenario(write(tmp_path, "recorded.toml", SCENARIO))


def test_a_scenario_that_is_no_file_names_none() -> None:
    with pytest.raises(ConfigError, match=r"^groups\[0\]\.path\.recorded_latency: only a scenario that is a file"):
        parse_scenario(SCENARIO)
