"""The output of a running demo: lines, and pictures for terminals of several sizes."""

import io

import pytest
from rich.console import Console

from reference.protocol.states import ClientState
from simulation.processes.demo.live import LiveWatcher, picture
from simulation.processes.demo.plain import PlainWatcher
from simulation.processes.progress import Phase, Row, RunView
from simulation.scenario.faults import (
    BlockUpgrade,
    Fault,
    HalfOpen,
    Outage,
    Path,
    Refuse,
    Reset,
    ServerRestart,
    Stall,
    describe,
    enumerate_names,
)


def row(name: str, state: ClientState | None = ClientState.LIVE, transport: str | None = "websocket") -> Row:
    return Row(name, Path(latency_s=0.03), state, transport, 118, 2, 61.4, 1)


def view(*faults: Fault, rows: tuple[Row, ...] = (), at_s: float = 7.0, server_is_up: bool = True) -> RunView:
    return RunView(Phase.WORK, at_s, 20.0, server_is_up, faults, 240, 230, 4000, 120, rows)


def shown(of: RunView, *, width: int = 120, height: int = 40) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, color_system=None)
    console.print(picture(of, [(6.5, "ada: fallen back to HTTP polling")], width=width, height=height))
    return file.getvalue()


def test_a_picture_shows_every_client_and_what_is_done_to_it() -> None:
    text = shown(
        view(
            BlockUpgrade(at_s=6, duration_s=4, clients=("ada",)),
            Reset(at_s=7),
            rows=(row("ada", ClientState.POLLING, "polling"), row("bela"), row("cleo", None)),
        )
    )
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "polling" in lines["ada"]
    assert "no WebSocket" in lines["ada"]
    assert "live" in lines["bela"]
    assert "61 ms" in lines["bela"]
    assert "later" in lines["cleo"]
    assert "reset" in lines["steadywire"]
    assert "server up" in lines["steadywire"]
    assert "1 on WebSocket, 1 polling, 1 not here yet" in lines["published"]


def test_a_server_that_is_down_is_seen() -> None:
    assert "SERVER KILLED" in shown(view(ServerRestart(at_s=6, duration_s=2), rows=(row("ada"),), server_is_up=False))


@pytest.mark.parametrize("state", list(ClientState))
def test_every_state_has_a_word(state: ClientState) -> None:
    assert "ada" in shown(view(rows=(row("ada", state),)))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 15), (200, 60)])
def test_a_picture_fits_its_screen(width: int, height: int) -> None:
    names = [f"user-{number}" for number in range(100)]
    text = shown(view(Outage(at_s=6, duration_s=4), rows=tuple(row(name) for name in names)), width=width, height=height)
    lines = text.splitlines()
    assert len(lines) < height
    assert all(len(line) <= width for line in lines)
    hidden = sum(name not in text.split() for name in names)
    assert f"and {hidden} more: {hidden} on WebSocket" in text
    assert "fallen back" in lines[-1]


def test_the_table_changes_in_place_and_the_last_one_stays() -> None:
    file = io.StringIO()
    console = Console(file=file, width=100, height=30, force_terminal=True, color_system=None)
    with LiveWatcher(console) as watcher:
        watcher.say(0.0, "starting a server")
        watcher.show(view(rows=(row("ada"),)))
        watcher.show(view(rows=(row("bela"),)))
    before, after = file.getvalue().rsplit("\x1b[1A", maxsplit=1)
    assert "ada" in before
    assert "bela" in after
    assert "starting a server" in after


def test_lines_tell_what_happens_and_now_and_then_how_it_stands() -> None:
    lines: list[str] = []
    watcher = PlainWatcher(lines.append)
    watcher.show(view(rows=(row("ada"),), at_s=0.0))
    watcher.show(view(rows=(row("ada"),), at_s=1.9))
    watcher.say(1.95, "everyone: every connection is reset")
    watcher.show(view(rows=(row("ada", ClientState.WAITING, None),), at_s=2.0, server_is_up=False))
    assert lines == [
        "  0.0 s  [working] 1 on WebSocket; published 240, accepted 230, delivered 4000",
        "  1.9 s  everyone: every connection is reset",
        "  2.0 s  [working] 1 without a connection; the server is down; published 240, accepted 230, delivered 4000",
    ]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Outage(at_s=1, duration_s=2.04, clients=("ada", "bela")), "ada, bela: the access link is down for 2.0 s"),
        (Stall(at_s=1, duration_s=2, clients=("ada",)), "ada: data from the server are held back for 2.0 s"),
        (Reset(at_s=1), "everyone: every connection is reset"),
        (HalfOpen(at_s=1, clients=("ada",)), "ada: every connection becomes silent for ever, without a notification"),
        (Refuse(at_s=1, duration_s=2, clients=("ada",)), "ada: new connections are refused for 2.0 s"),
        (BlockUpgrade(at_s=1, duration_s=2, clients=("ada",)), "ada: WebSocket is cut and forbidden for 2.0 s"),
        (ServerRestart(at_s=1, duration_s=2), "the server is killed (SIGKILL), to be started again after 2.0 s"),
    ],
)
def test_every_fault_has_words(fault: Fault, words: str) -> None:
    assert describe(fault) == words


def test_long_lists_of_names_are_cut() -> None:
    assert enumerate_names([f"n{number}" for number in range(6)]) == "n0, n1, n2, n3, n4, n5"
    assert enumerate_names([f"n{number}" for number in range(7)]) == "n0, n1, n2, n3, n4 and 2 more"
