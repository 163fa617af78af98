"""The contents of the clients' records."""

import time

import trio
from trio.testing import MockClock

from reference.client import LostConnection, ReceivedFrame
from reference.protocol.actions import Open, Send
from reference.protocol.client.outcomes import PublishAccepted, SnapshotReceived, StateChanged
from reference.protocol.frames import Accepted as AcceptedFrame
from reference.protocol.frames import Ping, Pong
from reference.protocol.records import RunState, Snapshot
from reference.protocol.states import ClientState, Transport
from reference.protocol.timers import NS_PER_MS, NS_PER_S
from simulation.processes.demo.parameters import PARAMETERS
from simulation.processes.recorder import Recorder
from simulation.trace.trace import (
    AcceptedRecord,
    AnswerGiven,
    AttemptMade,
    ConnectionLost,
    QueueSampled,
    Record,
    SessionJoined,
    StateTurned,
)


def now() -> int:
    return round(trio.current_time() * NS_PER_S)


def recorder_of_ada() -> Recorder:
    recorder = Recorder(seed=1, run_id="r", parameters=PARAMETERS)
    recorder.started("ada")
    return recorder


def records(recorder: Recorder, kind: type[Record]) -> list[Record]:
    return [record for record in recorder.trace if isinstance(record, kind)]


async def test_a_round_trip_is_from_a_ping_to_its_own_pong(autojump_clock: MockClock) -> None:
    recorder = recorder_of_ada()
    tap = recorder.tap_of("ada")
    tap(now(), Send((1,), Ping(nonce=1)))
    await trio.sleep(0.25)
    tap(now(), ReceivedFrame(1, Pong(nonce=2, server_time=0)))
    tap(now(), ReceivedFrame(2, Pong(nonce=1, server_time=0)))
    tap(now(), ReceivedFrame(1, Pong(nonce=1, server_time=0)))
    tap(now(), ReceivedFrame(1, Pong(nonce=1, server_time=0)))
    assert recorder.round_trips_ms == [250.0]


async def test_pings_without_an_answer_are_not_kept_for_ever(autojump_clock: MockClock) -> None:
    recorder = recorder_of_ada()
    tap = recorder.tap_of("ada")
    for nonce in range(100):
        tap(now(), Send((nonce,), Ping(nonce=nonce)))
    for nonce in range(100):
        tap(now(), ReceivedFrame(nonce, Pong(nonce=nonce, server_time=0)))
    assert len(recorder.round_trips_ms) == 8


async def test_what_a_session_does_and_says_is_recorded_with_its_time(autojump_clock: MockClock) -> None:
    recorder = recorder_of_ada()
    tap = recorder.tap_of("ada")
    await trio.sleep(1.5)
    tap(now(), Open(1, Transport.WEBSOCKET, None))
    tap(now(), StateChanged(ClientState.CONNECTING, False))
    tap(now(), LostConnection(1, 4001, "going away", 2000))
    assert [record.at for record in recorder.trace][2:] == [1500 * NS_PER_MS] * 4
    assert len(records(recorder, AttemptMade)) == len(records(recorder, StateTurned)) == 1
    assert records(recorder, ConnectionLost) == [
        ConnectionLost(at=1500 * NS_PER_MS, client="ada", connection_id=1, code=4001, message="going away")
    ]
    assert list(recorder.turns) == [("ada", ClientState.NEW, ClientState.CONNECTING)]


async def test_an_answer_before_the_application_has_read_its_snapshot_is_of_the_right_epoch(autojump_clock: MockClock) -> None:
    recorder = recorder_of_ada()
    tap = recorder.tap_of("ada")
    tap(now(), SnapshotReceived("epoch", Snapshot(0, RunState()), None))
    tap(now(), ReceivedFrame(1, AcceptedFrame(client_sequence=1, sequence_number=5)))
    tap(now(), PublishAccepted(0, 5, False))
    assert records(recorder, AcceptedRecord) == [AcceptedRecord(at=0, client="ada", ticket=0, epoch="epoch", sequence_number=5)]
    assert records(recorder, AnswerGiven) == [AnswerGiven(at=0, client_id="ada", client_sequence=1, sequence_number=5)]
    assert recorder.head == 5


async def test_the_servers_records_are_set_to_our_time() -> None:
    recorder = recorder_of_ada()
    recorder.begin()
    joined = SessionJoined(
        at=time.monotonic_ns() + NS_PER_S,
        client_id="ada",
        session_id="s",
        connection_id=1,
        outcome="fresh",
        replayed=0,
        is_return=False,
    )
    recorder.add_from_server(joined)
    (record,) = records(recorder, SessionJoined)
    assert NS_PER_S <= record.at < 2 * NS_PER_S


async def test_after_its_end_nothing_is_recorded(autojump_clock: MockClock) -> None:
    recorder = recorder_of_ada()
    before = len(recorder.trace)
    recorder.end()
    recorder.tap_of("ada")(now(), StateChanged(ClientState.CLOSED, False))
    recorder.add_from_server(QueueSampled(at=0, place="server", queue="connections", length=1, limit=2))
    recorder.add(lambda at: QueueSampled(at=at, place="ada", queue="outbox", length=1, limit=2))
    assert len(recorder.trace) == before
