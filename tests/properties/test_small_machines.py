"""Each part alone, compared with an obvious model: waits, round trips, health, frames, polling, stores."""

import itertools
import statistics

import msgspec
import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from reference.protocol import frames
from reference.protocol.client.health import HealthRecord, Status
from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.policies.reconnect import AskedWait, FullJitter, Reconnector
from reference.protocol.records import Append, LogEntry, RunState, Snapshot, StoredRun
from reference.protocol.server.event_log import EventLog, ReadPosition
from reference.protocol.timers import NS_PER_MS, NS_PER_S
from reference.store import MemoryStore
from reference.store.kept import parsed
from simulation.adversary import steps
from simulation.adversary.ground import Setup
from simulation.adversary.model import StoreModel
from simulation.adversary.world import AdversarialWorld
from simulation.testing import event_lists, frames_of
from simulation.testing.frames import CLIENT_FRAMES
from simulation.trace.index import index_of

SPREAD_DRAWS = 64
RUN_ID = "01234567-89ab-cdef-0123-456789abcdef"


class Uniform:
    """Chance that runs evenly through [0, 1)."""

    def uniform(self, purpose: str, index: int) -> float:
        return index % SPREAD_DRAWS / SPREAD_DRAWS


@given(base_s=st.sampled_from([0.5, 1.0, 5.0]), cap_s=st.sampled_from([5.0, 30.0]), failures=st.integers(1, 12))
def test_g10_manners_no_two_clients_come_back_together(base_s: float, cap_s: float, failures: int) -> None:
    """The waits after the same failures fill their range evenly, and the range is min(cap, base * 2**k) above the floor."""
    reconnector = Reconnector(FullJitter(base_s, 2.0, cap_s, 0.25), Uniform(), 1.0, AskedWait())
    for _ in range(failures):
        reconnector.failed()
    found = [reconnector.next_attempt_at(0) for _ in range(SPREAD_DRAWS)]
    waits = sorted(at / NS_PER_S for at in found if at is not None)
    width = min(cap_s, base_s * 2.0 ** (failures - 1))
    assert waits == pytest.approx([0.25 + width * n / SPREAD_DRAWS for n in range(SPREAD_DRAWS)])


@given(way_ms=st.integers(1, 5), server_ahead_s=st.integers(-40, 40))
def test_round_trips_are_measured_by_one_clock(way_ms: int, server_ahead_s: int) -> None:
    """However far apart the clocks are, a round trip is what it is: a message takes a millisecond each way here."""
    world = AdversarialWorld(Setup(users=("ann",), client=ClientConfig(ping_interval_s=1.0)))
    steps.StepClock(server_ahead_s * 1000 + way_ms).do(world)
    world.calm(8.0)
    trips = world.hosts[0].session.health().round_trip
    assert trips.samples >= 3
    assert trips.mean_ms == pytest.approx(2.0, abs=1.1)


@given(
    trips_ms=st.lists(st.floats(0.01, 3000), min_size=1, max_size=100),
    accepted=st.integers(0, 50),
    failed=st.integers(0, 50),
    reconnections=st.integers(0, 15),
)
def test_health_is_what_the_brief_says(trips_ms: list[float], accepted: int, failed: int, reconnections: int) -> None:
    record = HealthRecord(100)
    for trip in trips_ms:
        record.round_trip(round(trip * NS_PER_MS))
    record.accepted, record.failed, record.reconnections = accepted, failed, reconnections
    health = record.report(Status.CONNECTED, "websocket", 0, is_carried=True)
    exact = [round(trip * NS_PER_MS) / NS_PER_MS for trip in trips_ms]
    mean = statistics.fmean(exact)
    rate = accepted / (accepted + failed) if accepted + failed else None
    latency = next((points for limit, points in ((50, 100), (100, 90), (200, 75), (500, 50), (1000, 25)) if mean <= limit), 10)
    stability = 100 if reconnections == 0 else 80 if reconnections == 1 else 60 if reconnections == 2 else 5
    stability = 40 if 3 <= reconnections <= 5 else 20 if 6 <= reconnections <= 10 else stability
    score = 0.4 * latency + 0.3 * stability + 30 * (1.0 if rate is None else rate)
    trips = health.round_trip
    assert [trips.p50_ms, trips.p95_ms, trips.p99_ms] == pytest.approx(np.percentile(exact, [50, 95, 99]).tolist())
    assert (trips.samples, health.delivery_rate) == (len(trips_ms), rate)
    assert health.quality_score == pytest.approx(score)
    assert health.quality.value == ("HEALTHY" if score >= 80 else "DEGRADED" if score >= 50 else "UNHEALTHY")


@given(frame=st.sampled_from(CLIENT_FRAMES).flatmap(frames_of), less=st.integers(0, 2), as_text=st.booleans())
def test_g7_bounds_a_frame_is_measured_in_bytes(frame: frames.Frame, less: int, as_text: bool) -> None:
    wire = frames.encode(frame)
    message = wire.decode() if as_text else wire
    if less == 0:
        assert frames.decode_client_frame(message, len(wire)) == frame
    else:
        with pytest.raises(RemoteError) as error:
            frames.decode_client_frame(message, len(wire) - less)
        assert error.value.code == CloseCode.TOO_BIG


@given(publishes=st.integers(1, 5), calm_s=st.sampled_from([3.0, 8.0]))
def test_g6_recovery_polling_carries_publishes_too(publishes: int, calm_s: float) -> None:
    """Who cannot have a WebSocket is not mute: what is published over HTTP is accepted, and comes back."""
    config = ClientConfig(fallback_after_failures=1, poll_interval_s=0.5, probe_interval_s=100.0, probe_interval_max_s=100.0)
    world = AdversarialWorld(Setup(users=("ann",), client=config))
    steps.Block(0, True).do(world)
    world.calm(calm_s)
    for _ in range(publishes):
        steps.PublishEvent(0, "CHAT", 0).do(world)
    world.calm(5.0)
    host = world.hosts[0]
    assert host.session.state.is_polling
    assert len(index_of(world.trace).clients[host.name].accepted) == publishes
    assert host.session.position[1] == publishes
    assert world.broken() == []
    steps.Block(0, False).do(world)
    world.calm(130.0)
    assert (host.session.state.value, host.polling) == ("live", None)


@given(history=event_lists(events_max=12), cuts=st.sets(st.integers(0, 12)), snapshot=st.integers(0, 12))
def test_g11_durability_a_store_gives_back_what_it_took(history: list, cuts: set[int], snapshot: int) -> None:
    """Compared with the naive model of a store, after every batch."""
    model, store = StoreModel(), MemoryStore()
    pieces = [history[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(history)], strict=True)]

    async def play() -> None:
        await store.create_run(RUN_ID, "E1")
        for piece in (piece for piece in pieces if piece):
            entries = tuple(LogEntry(event, f"of {event.user_id}", 3 * (event.sequence_number or 0)) for event in piece)
            last = entries[-1].sequence_number
            for entry in entries:
                model.now.add(entry)
            taken = model.now.snapshot(snapshot) if snapshot <= last else None
            batch = Append(RUN_ID, "E1", entries, taken, 1)
            assert await store.append([batch]) == [None]
            for after, sequence in ((2, 1), (1, 0)):  # a hole in the numbers; a number of its client that it has
                wrong = msgspec.structs.replace(piece[-1], sequence_number=last + after)
                entry = LogEntry(wrong, entries[-1].client_id, entries[-1].client_sequence + sequence)
                assert await store.append([Append(RUN_ID, "E1", (entry,), None, 1)]) != [None], "it does not follow"
            if taken is not None:
                model.snapshot = taken
            model.oldest = 1
            stored = await store.load_run(RUN_ID)
            expected = model.load()
            assert stored is not None
            assert parsed(stored) == StoredRun(
                RUN_ID, "E1", expected.head, expected.snapshot, expected.events, stored_clients(expected)
            )

    trio.run(play)


def stored_clients(expected: StoredRun) -> tuple:
    return tuple(sorted(expected.clients, key=lambda client: client.client_id))


@given(publishes=st.integers(60, 140), at_once=st.sampled_from([1, 5, 64]))
def test_g7_bounds_of_a_client_that_publishes_all_day(publishes: int, at_once: int) -> None:
    """More publishes than answers are remembered: the memory of each stays within its limit, and nothing is lost."""
    world = AdversarialWorld(Setup(users=("ann",)))
    world.calm(0.1)
    for number in range(publishes):
        steps.PublishEvent(0, "CHAT", 0).do(world)
        if number % at_once == 0:
            world.calm(0.01)
    world.calm(20.0)
    assert len(index_of(world.trace).clients["client0"].accepted) == publishes
    assert world.broken() == []


@given(
    history=event_lists(events_max=12),
    snapshot_at=st.integers(0, 12),
    kept_max=st.integers(1, 12),
)
def test_g2_no_silence_at_any_position_of_a_reader(history: list, snapshot_at: int, kept_max: int) -> None:
    """Whatever position it brings: what it is given begins right there, or with a snapshot and the reason for one."""
    snapshot_at = min(snapshot_at, len(history))
    log = EventLog("E1", len(history), Snapshot(snapshot_at, RunState()), history, kept_max)
    for epoch, after in itertools.product(("E1", "E2"), range(len(history) + 3)):
        is_kept = after >= max(0, min(len(history) - kept_max, snapshot_at))
        if epoch != "E1":
            expected = ReadPosition("reset", "epoch", snapshot_at, log.snapshot)
        elif after > len(history):
            expected = ReadPosition("reset", "ahead", snapshot_at, log.snapshot)
        elif not is_kept:
            expected = ReadPosition("snapshot", "expired", snapshot_at, log.snapshot)
        else:
            expected = ReadPosition("resumed", None, after, None)
        place = log.place(epoch, after, "snapshot")
        assert place == expected
        assert log.read(place.after, 1000, 2**20) == tuple(history[place.after :])
