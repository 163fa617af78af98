"""The simulated store: nothing is visible before it is durable, nothing durable is lost, and loaded data equals stored data."""

from reference.protocol.events import Event
from reference.protocol.records import Append, LogEntry, RunState, Snapshot
from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import Clock
from simulation.hosts.store import SimulatedStore
from simulation.random import RandomStreams


def batch(first: int, last: int, *, client: str = "a", snapshot: Snapshot | None = None, oldest: int = 1) -> Append:
    entries = tuple(
        LogEntry(Event("CHAT", client, 0, number, {"n": number}, False), client, number) for number in range(first, last + 1)
    )
    return Append("run", "epoch", entries, snapshot, oldest)


def store_of(seed: int = 1) -> tuple[Clock, SimulatedStore]:
    clock = Clock()
    return clock, SimulatedStore(clock, RandomStreams(seed).of("store"), "run", "epoch", ns(0.5))


def test_a_commit_takes_its_time() -> None:
    clock, store = store_of()
    reported: list[tuple[float, int]] = []
    store.commit(batch(1, 3), lambda append: reported.append((clock.now / NS_PER_S, len(append.entries))))
    clock.run(ns(0.4))
    assert store.load().head == 0
    clock.run(ns(1.0))
    assert reported == [(0.5, 3)]
    assert store.load().head == 3


def test_after_a_crash_it_is_unknown_what_the_disk_has_and_no_answer_is_sent() -> None:
    heads = set()
    for seed in range(20):
        clock, store = store_of(seed)
        reported: list[Append] = []
        store.commit(batch(1, 3), reported.append)
        clock.run(ns(0.4))
        store.crash()
        clock.run(ns(1.0))
        assert not reported
        heads.add(store.load().head)
    assert heads == {0, 3}


def test_what_comes_back() -> None:
    clock, store = store_of()
    snapshot = Snapshot(4, RunState(prunes=("s",)))
    store.commit(batch(1, 100), lambda _: None)
    clock.run(ns(1.0))
    store.commit(batch(101, 102, client="b", snapshot=snapshot, oldest=90), lambda _: None)
    clock.run(ns(2.0))
    stored = store.load()
    assert (stored.epoch, stored.head, stored.snapshot) == ("epoch", 102, snapshot)
    assert [event.sequence_number for event in stored.events] == list(range(5, 103))  # never beyond the snapshot
    a, b = stored.clients
    assert (a.client_id, a.user_id, a.last_client_sequence) == ("a", "a", 100)
    assert a.answers == tuple((number, number) for number in range(37, 101))  # the newest 64
    assert b.answers == ((101, 101), (102, 102))
    assert len(store.entries) == 102
