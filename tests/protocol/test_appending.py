"""When batches go to the store, and when a run asks to leave memory."""

from reference.protocol import frames
from reference.protocol.actions import Retire
from reference.protocol.config import ServerConfig
from reference.protocol.server.connection import Identity
from reference.protocol.server.run import Run
from reference.protocol.states import Transport

from .machines import go_live, seconds, stored_run


def publish(run: Run, number: int, now: int = 0) -> None:
    run.receive_frame(1, frames.Publish(client_sequence=number, event_type="CHAT", data={}), now)


def run_with_a_reader(**settings: float) -> Run:
    run = Run(stored_run(), config=ServerConfig(**settings), now=0)  # type: ignore[arg-type] # numbers, as the fields want them
    go_live(run, 1, "client-1", "ann")
    run.take_actions()
    return run


def numbers(run: Run) -> list[int] | None:
    append = run.events_to_append()
    return None if append is None else [entry.sequence_number for entry in append.entries]


def test_one_batch_is_with_the_store_at_a_time() -> None:
    run = run_with_a_reader()
    publish(run, 1)
    first = run.events_to_append()
    assert first is not None
    publish(run, 2)
    publish(run, 3)
    assert numbers(run) is None
    assert run.events_in_flight == 1
    run.handle_appended(first, 0)
    assert numbers(run) == [2, 3], "what came meanwhile is the next"


def test_a_run_without_clients_asks_to_be_unloaded_once() -> None:
    run = Run(stored_run(), config=ServerConfig(run_idle_s=60), now=0)
    run.handle_timeout(seconds(59.9))
    assert run.take_actions() == []
    run.handle_timeout(seconds(60))
    assert run.take_actions() == [Retire()]
    run.handle_timeout(seconds(600))
    assert Retire() not in run.take_actions()


def test_a_run_in_use_stays() -> None:
    run = run_with_a_reader(run_idle_s=60, presence_grace_s=30)
    assert run.idle_since is None
    run.connection_lost(1, seconds(1))
    run.handle_timeout(seconds(31))  # the grace is over
    assert run.idle_since == seconds(31)
    run.touch(seconds(50))
    run.handle_timeout(seconds(109))
    assert Retire() not in run.take_actions()
    run.connection_opened(2, Transport.WEBSOCKET, None, "session-2", seconds(109.5))
    run.handle_timeout(seconds(111))
    assert Retire() not in run.take_actions()
    assert run.idle_since is None


def test_a_run_whose_last_client_says_bye_is_idle_at_once() -> None:
    run = run_with_a_reader(presence_grace_s=30)
    run.receive_frame(1, frames.Bye(), seconds(5))
    assert run.idle_since == seconds(5)


def test_a_silent_or_malformed_connection_does_not_keep_a_run() -> None:
    run = Run(stored_run(), config=ServerConfig(run_idle_s=60, hello_timeout_s=10), now=0)
    run.connection_opened(1, Transport.WEBSOCKET, None, "session-1", 0)
    run.handle_timeout(seconds(10))
    assert run.idle_since == seconds(10)
    run.connection_opened(2, Transport.WEBSOCKET, Identity("ann"), "session-2", seconds(11))
    run.receive_frame(2, frames.Ack(0), seconds(12))
    assert run.idle_since == seconds(12)


def test_events_that_are_not_durable_keep_a_run() -> None:
    run = run_with_a_reader(presence_grace_s=0)
    publish(run, 1)
    append = run.events_to_append()
    assert append is not None
    run.receive_frame(1, frames.Bye(), 0)
    assert run.idle_since is None
    run.handle_appended(append, seconds(1))
    assert run.idle_since == seconds(1)
