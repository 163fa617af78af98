"""A server is killed fifty times while clients work: nothing accepted is lost or stored twice, no number is missing."""

import os
from functools import partial
from pathlib import Path

import pytest
import trio

from simulation.checks.checkers import check
from simulation.processes.ports import free_ports
from simulation.trace.publishes import publish_id_of

from .killed_servers import Played, crash

KILLS = int(os.environ.get("STEADYWIRE_TEST_KILLS", "50"))

ABOUT_TIME = ("G6", "G13")
"""What is judged by bounds in seconds, which a busy machine breaks; the demo and the simulator judge it."""

pytestmark = pytest.mark.slow


def test_one_server_on_each_database(tmp_path: Path, postgres_url: str) -> None:
    """Both at once: most of the time goes by while a server loads its code."""
    directories = [tmp_path / name for name in ("sqlite", "postgresql")]
    for directory in directories:
        directory.mkdir()
    stores = [f"sqlite:///{directories[0] / 'events.sqlite3'}", postgres_url]
    played: dict[str, Played] = {}

    async def play(store: str, directory: Path, port: int) -> None:
        played[directory.name] = await crash(store, directory, ports=[port], kills=KILLS, seed=20_251_125)

    async def play_both() -> None:
        async with trio.open_nursery() as nursery:
            for place in zip(stores, directories, free_ports(2), strict=True):
                nursery.start_soon(play, *place)

    trio.run(play_both)
    for name, one in played.items():
        judge(name, one)


def test_two_servers_on_one_database(tmp_path: Path, postgres_url: str) -> None:
    """Each is killed in turn, whether it serves the run or relays; the clients find the other."""
    judge(
        "two on postgresql", trio.run(partial(crash, postgres_url, tmp_path, ports=free_ports(2), kills=KILLS, seed=20_251_126))
    )


def judge(name: str, played: Played) -> None:
    verdicts = check(played.trace)
    gaps = sorted(played.gaps_s)
    print(f"{name}: {played.kills} kills, {played.accepted} accepted,", end=" ")
    print(f"all that waited accepted after {gaps[len(gaps) // 2]:.2f} s (median), {gaps[-1]:.2f} s (longest)")
    judged = {name: verdict for name, verdict in verdicts.items() if name not in ABOUT_TIME}
    violations = {name: verdict.violations for name, verdict in judged.items() if verdict.status == "violated"}
    assert violations == {}
    assert played.late == ()
    for exercised in ("G1", "G3", "G5", "G8", "G11"):
        assert verdicts[exercised].status == "held", exercised
    assert len(gaps) == KILLS
    assert played.accepted > 5 * KILLS
    assert verdicts["G11"].checked > played.accepted / 2  # it looks at what was accepted before the last kill
    assert [event.sequence_number for event in played.stored] == list(range(1, len(played.stored) + 1))
    publishes = [publish_id_of(event.data) for event in played.stored]
    assert len(set(publishes)) == len(publishes) >= played.accepted
