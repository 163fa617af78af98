"""Statistics of what the machines hold: correct, frozen, and each with its limit."""

from reference.protocol import frames
from reference.protocol.actions import Deliver
from reference.protocol.config import ServerConfig
from reference.protocol.server.connection import Identity
from reference.protocol.server.event_log import TRIM_AT
from reference.protocol.states import ConnectionState, Transport
from reference.protocol.statistics import Held, beyond
from reference.protocol.timers import ENTRIES_LEFT_MAX

from .machines import BYSTANDER, EPOCH, server_in


def held(account: object, what: str) -> Held:
    (found,) = (each for each in account.held if each.what == what)  # type: ignore[attr-defined] # both accounts have it
    return found


def test_what_exceeds_its_limit() -> None:
    assert beyond([Held("a", 3, 3), Held("b", 4, 3), Held("c", 0, 0)]) == [Held("b", 4, 3)]


def test_a_run_tells_what_it_holds() -> None:
    run = server_in(ConnectionState.LIVE)
    run.receive_frame(1, frames.Publish(client_sequence=1, event_type="CHAT", data={}), 0)
    append = run.events_to_append()
    assert append is not None
    account = run.statistics()
    assert (account.head, account.connections, account.sessions, account.current, account.publishers) == (0, 2, 2, 2, 1)
    assert held(account, "events under way to the store").length == 1
    assert held(account, "events that are not durable").length == 1
    run.handle_appended(append, 0)
    (batch,) = (action for action in run.take_actions() if isinstance(action, Deliver))
    run.handle_refused(BYSTANDER, batch, 0)
    account = run.statistics()
    assert (account.head, account.current, account.lagging) == (1, 1, 1)
    assert held(account, "events in memory").length == 1
    assert held(account, "answers kept for one client").length == 1
    assert not beyond(account.held)


def test_everything_that_a_run_holds_has_its_limit() -> None:
    config = ServerConfig(
        connections_per_run_max=21,
        sessions_per_run_max=22,
        appends_pending_max=23,
        clients_per_run_max=24,
        unanswered_max=25,
        events_kept_max=100,
        snapshot_interval_events=10,
    )
    run = server_in(ConnectionState.LIVE, config)
    run.connection_opened(2, Transport.POLLING, Identity("cem"), "session-2", 0)
    run.receive_frame(2, frames.PollRequest(client_id="client-2", epoch=EPOCH, after_sequence=0, wait_ms=1000), 0)
    run.receive_frame(1, frames.Publish(client_sequence=1, event_type="CHAT", data={}), 0)
    account = run.statistics()
    held = {each.what: (each.length, each.limit) for each in account.held}
    timers = 3 + 2 + 1 + 1  # heartbeat, two gatherings; silence of two, a poll that waits, a user who polls
    in_memory_max = 100 + 10 + TRIM_AT + 23
    assert held == {
        "connections": (3, 21),
        "readers": (2, 3),
        "polls that wait": (1, 3),
        "sessions": (3, 22),
        "sessions that point to a connection which is gone": (0, 0),
        "events under way to the store": (0, 23),
        "events in memory": (0, in_memory_max),
        "timers": (held["timers"][0], 4 + 6 * 3 + 3),
        "entries of timers": (held["entries of timers"][0], 2 * (4 + 6 * 3 + 3) + ENTRIES_LEFT_MAX),
        "events that are not durable": (1, 23),
        "clients that published": (1, 24),
        "users whose clients published": (1, 24),
        "clients that the store is to forget": (0, 24),
        "answers kept for one client": (0, 64),
        "pending publishes of one client": (1, 25),
        "connections that wait for one answer": (1, 21),
    }
    assert 0 < held["timers"][0] <= timers
    assert held["timers"][0] <= held["entries of timers"][0]
    assert (account.epoch, account.head, account.oldest, account.snapshot_at) == (EPOCH, 0, 1, 0)
    assert (account.connections, account.sessions, account.current, account.lagging, account.publishers) == (3, 3, 2, 0, 1)


def test_a_session_whose_connection_is_gone_would_be_seen() -> None:
    run = server_in(ConnectionState.LIVE)
    del run._connections[1]  # a fault of ours
    (orphans, *_) = (each for each in beyond(run.statistics().held) if "gone" in each.what)
    assert orphans.length == 1
