"""The benchmark's verdicts and its command. Tests do not judge the speed itself."""

import signal
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from reference.protocol.errors import ConfigError
from simulation.cli.bench import bench_command
from tests.benchmarks.load import Load, Reader
from tests.benchmarks.machine import publishes, seconds_of
from tests.benchmarks.profiled import Samples
from tests.benchmarks.server import BEGIN, END, UNITS, WORKS, Row, markdown, rows_of, write_into
from tests.benchmarks.simulation import FULL, QUICK, Figure, Size, figures_of, idle, measure_storm, steady, storm, table

GOOD = (
    {"bare": 500_000.0, "rate": 60_000.0, "messages": 1000.0, "rate_of_ten": 55_000.0, "messages_of_ten": 10_000.0},
    {
        "seconds": 100.0,
        "cpu": 100.0,
        "mib": 1500.0,
        "messages": 2e6,
        "bare": 500_000.0,
        "returned": 99_999,
        "replayed": 1e6,
        "whole": 100_000,
    },
    {"bytes": 8000.0},
)


def missed(part: int, **changes: float) -> list[str]:
    measured = [dict(each) for each in GOOD]
    measured[part] |= changes
    rates, storms, idles = measured
    return [figure.name for figure in figures_of(rates, storms, idles, FULL) if figure.met is False]


def test_targets_that_are_met() -> None:
    assert missed(0) == []


@pytest.mark.parametrize(
    ("part", "changes", "name"),
    [
        (0, {"rate": 49_000.0, "rate_of_ten": 49_000.0}, "protocol messages"),
        (0, {"rate_of_ten": 46_000.0}, "cost of a message"),
        (0, {"rate_of_ten": 90_000.0}, "cost of a message"),
        (1, {"seconds": 121.0}, "storm of"),
        (1, {"mib": 2049.0}, "peak memory"),
        (1, {"whole": 99_999}, "everyone is back"),
        (1, {"returned": 99_998}, "everyone is back"),
        (1, {"replayed": 0}, "everyone is back"),
        (2, {"bytes": 8192.0}, "memory of an idle client"),
    ],
)
def test_targets_that_are_missed(part: int, changes: dict[str, float], name: str) -> None:
    (only,) = missed(part, **changes)
    assert only.strip().startswith(name)


def test_a_quick_storm_claims_no_time_and_no_memory() -> None:
    rates, storms, idles = GOOD
    slow = storms | {"seconds": 1e6, "mib": 1e6, "whole": QUICK.storm, "returned": QUICK.storm - 1}
    assert all(figure.met is not False for figure in figures_of(rates, slow, idles, QUICK))


def test_a_storm_is_a_storm() -> None:
    measured = measure_storm(Size(clients=10, seconds=1.0, storm=30, idle=10, bare_events=100), seed=1)
    assert (measured["returned"], measured["whole"]) == (29, 30)
    assert 29 <= measured["replayed"] <= 290


def test_the_machine_answers_every_publish_that_is_measured() -> None:
    assert seconds_of(publishes(25), per_read=10) > 0


def test_the_worlds_can_be_written_down() -> None:
    for scenario in (steady(1000, 10.0, 1), storm(100_000, 1), idle(10_000, 1)):
        assert scenario.replace() == scenario


def test_the_table_shows_what_was_missed() -> None:
    text = table([Figure("slow", "1 s", 0.5, "<= 0.1 s", False), Figure("seen", "2", None)])
    assert text.splitlines()[1].endswith("NO")


def test_the_table_of_the_server_goes_into_its_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    (work,) = [work for work in WORKS if work.name == "2000 connections, KiB each"]
    ours, theirs = ("steadywire, memory", [10.0, 12.0, 14.0]), ("websockets", [40.0, 40.0, 20.0])
    results = {(work.arguments, name): [{work.measure: value} for value in values] for name, values in (ours, theirs)}
    (row,) = [row for row in rows_of(defaultdict(list, results)) if row.work is work]
    assert (row.ratio, row.is_met) == (0.3, True)
    write_into(page, markdown([row], 3))
    text = page.read_text()
    assert "old" not in text
    assert "| 2000 connections, KiB each | 0.30 (0.25 to 0.70) | - | <= 12 KiB | yes | KiB: steadywire, memory 12;" in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="needs the lines"):
        write_into(page, "")


def test_every_measure_has_a_unit_and_large_numbers_no_exponent() -> None:
    assert {work.measure for work in WORKS} == set(UNITS)
    work = WORKS[0]
    assert "deliveries/s: steadywire, memory 1,793,000 |" in markdown([Row(work, {work.subject: 1_793_412.0}, ())], 1)


def test_a_goal_for_both_is_not_met_by_one() -> None:
    (work,) = [work for work in WORKS if work.name == "fan-out, 100 readers, flat out"]
    values = {"steadywire, memory": 60.0, "websockets": 6.0, "Socket.IO": 20.0}
    results = {(work.arguments, name): [{work.measure: value}] for name, value in values.items()}
    (row,) = [row for row in rows_of(defaultdict(list, results)) if row.work is work]
    assert (row.ratios, row.also, row.is_met) == ((10.0,), (3.0,), False)


def test_the_load_counts_the_same_bytes_for_each_reader() -> None:
    load, readers = Load("json", 1, "room"), [Reader("a"), Reader("b")]
    for reader in readers:
        load._count(reader, b'"n":0,"at":7,"n":1,"at":7,"n":2,"a')
        load._count(reader, reader.tail + b't":7,')
        assert (reader.delivered, reader.faults) == (3, 0)
    load._count(readers[0], b'"n":4,"at":7,')
    load._count(readers[1], b'"n":3,"at":7,')
    assert [reader.faults for reader in readers] == [1, 0]


def test_what_is_for_the_server_is_not_taken_without_it() -> None:
    with pytest.raises(ConfigError, match="are for --server"):
        bench_command(simulation=True, server=False, quick=True, seed=1, markdown=Path("page.md"))


def test_without_a_checkout_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[bench\]'"):
        bench_command(simulation=True, server=False, quick=True, seed=1, root=tmp_path)


def test_nothing_asked_for() -> None:
    with pytest.raises(ConfigError, match="--simulation"):
        bench_command(simulation=False, server=False, quick=False, seed=1)


def test_a_profile_shares_out_the_samples() -> None:
    samples = Samples()
    for _ in range(3):
        samples.take(signal.SIGPROF, sys._getframe())
    samples.take(signal.SIGPROF, None)
    modules, functions, callers = (part.splitlines() for part in samples.report().split("\n\n")[1:])
    assert modules == ["modules", "  75.0%  test_bench"]
    assert len(functions) == 2
    assert functions[1].endswith(" test_a_profile_shares_out_the_samples")
    assert functions[1].strip() in {line.strip() for line in callers}
