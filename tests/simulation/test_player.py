"""The player's picture of a trace: its contents, and its size limits."""

import itertools
from pathlib import Path as FilePath

import pytest
import traitlets

from reference.protocol.errors import ConfigError
from simulation.results.player import CLIENTS_MAX, Player, picture_of
from simulation.scenario import library
from simulation.scenario.faults import Outage, Reset, ServerRestart
from simulation.scenario.paths import Path
from simulation.scenario.scenario import Group, Scenario
from simulation.trace.trace import Trace
from simulation.world import run

SCENARIO = Scenario(
    name="player",
    seed=3,
    horizon_s=30,
    groups=(Group(name="walker", clients=3, path=Path(latency_s=0.1)),),
    faults=(
        Outage(at_s=5, duration_s=4, clients=("walker-1",)),
        ServerRestart(at_s=15, duration_s=2),
        Reset(at_s=25),
    ),
)


@pytest.fixture(scope="module")
def result() -> object:
    return run(SCENARIO)


def test_the_picture_is_that_of_the_trace(result: object) -> None:
    picture = picture_of(result.trace)  # type: ignore[attr-defined]
    assert [client.name for client in picture.clients] == ["walker-0", "walker-1", "walker-2"]
    assert picture.clients[0].faults == []
    assert picture.clients[1].faults == [(5, 9, "outage")]
    assert picture.everybody == [(25, 25, "reset")]
    assert [(round(start), round(end)) for start, end, _ in picture.down] == [(15, 17)]
    for client in picture.clients:
        words = [word for _, word in client.states]
        assert words[:2] == ["down", "live"]
        assert words.count("down") >= 3, "lost with the server, and with the reset"
        assert all(first != second for first, second in itertools.pairwise(words))
        assert client.queue[-1][1] == 0
    assert max(length for _, length in picture.clients[1].queue) > 1, "its publishes waited for the outage to end"
    assert picture.note == ""


def test_every_message_has_its_way(result: object) -> None:
    picture = picture_of(result.trace)  # type: ignore[attr-defined]
    counts = result.counts  # type: ignore[attr-defined]
    assert len(picture.messages) == counts.published
    for message in picture.messages:
        assert message.accepted_s is not None
        assert message.failed_s is None
        assert sorted(client for client, _ in message.delivered) == [0, 1, 2]
        times = [at for _, at in message.delivered]
        assert times == sorted(times)
        assert message.published_s + 0.1 <= message.accepted_s + 1e-9
        assert message.accepted_s + 0.1 <= min(times) + 1e-9


def test_the_player_is_steered_within_its_run(result: object, tmp_path: FilePath) -> None:
    player = Player(result)  # type: ignore[arg-type]
    player.time_s = 1e9
    assert player.time_s == player.picture["duration"]
    player.time_s = -1
    assert player.time_s == 0
    player.speed = 5
    with pytest.raises(traitlets.TraitError, match="choose one of"):
        player.speed = 3
    file = tmp_path / "trace.jsonl"
    result.trace.write(file)  # type: ignore[attr-defined]
    assert Player(file).picture == Player(str(file)).picture == Player(Trace.read(file)).picture == player.picture


def test_a_large_run_is_shown_in_part_and_says_so() -> None:
    group = Group(name="crowd", clients=CLIENTS_MAX + 5, path=Path(latency_s=0.02))
    picture = picture_of(run(SCENARIO.replace(groups=(group,), faults=(), horizon_s=20)).trace)
    assert len(picture.clients) == CLIENTS_MAX
    assert f"{CLIENTS_MAX} of {CLIENTS_MAX + 5} clients are shown" in picture.note
    assert all(message.sender < CLIENTS_MAX for message in picture.messages)


def test_what_cannot_be_played() -> None:
    with pytest.raises(ConfigError, match="no trace"):
        picture_of(Trace())
    with pytest.raises(ConfigError, match="keeps sums"):
        picture_of(run(library.load("flash_crowd").replace(groups=(Group(name="few", clients=3),), faults=())).trace)
