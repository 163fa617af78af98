"""Fan-out: whatever sockets take or refuse, each reader gets every event after its position, in order, once."""

from hypothesis import given, settings
from hypothesis import strategies as st

from reference.protocol.actions import Deliver
from reference.protocol.config import ServerConfig
from reference.protocol.records import LogEntry, RunState, Snapshot
from reference.protocol.server.event_log import EventLog, FanOut

from .machines import EPOCH, chat

SMALL = ServerConfig(batch_events_max=3)
READERS = (1, 2)


def grow(log: EventLog, count: int, *, snapshot: bool = False) -> None:
    entries = [LogEntry(chat(number), "client-1", number) for number in range(log.head + 1, log.head + 1 + count)]
    log.append(entries, Snapshot(log.head + count, RunState()) if snapshot else None)


class Sockets:
    """Takes batches like a driver: a reader's socket takes a batch, takes it and blocks, or refuses it and all after it."""

    def __init__(self, fan_out: FanOut) -> None:
        self.fan_out = fan_out
        self.given: dict[int, list[int]] = {}
        self.mood: dict[int, str] = {}

    def deliver(self, batches: list[Deliver]) -> None:
        for batch in batches:
            numbers = [event.sequence_number or 0 for event in batch.frame.events]
            assert (numbers[0], numbers[-1]) == (batch.first, batch.last)
            for reader in batch.connection_ids:
                if self.mood[reader] == "refuses":
                    self.fan_out.took_nothing_of(reader, batch, 0)
                    continue
                self.given[reader] += numbers
                if self.mood[reader] == "blocks":
                    self.mood[reader] = "refuses"
                    self.fan_out.took_no_more_than(reader, batch, 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.integers(1, 8), st.just("")),
        st.tuples(st.just("pull"), st.sampled_from(READERS), st.just("")),
        st.tuples(st.just("mood"), st.sampled_from(READERS), st.sampled_from(("takes", "blocks", "refuses"))),
        st.tuples(st.just("join"), st.sampled_from(READERS), st.just("")),
        st.tuples(st.just("leave"), st.sampled_from(READERS), st.just("")),
    ),
    min_size=10,
    max_size=40,
)


@settings(max_examples=40)
@given(STEPS)
def test_each_reader_is_given_everything_in_order_once(steps: list[tuple[str, int, str]]) -> None:
    log = EventLog(EPOCH, 0, Snapshot(0, RunState()), (), 1000)
    fan_out = FanOut(log, SMALL)
    sockets = Sockets(fan_out)
    began: dict[int, int] = {}

    def join(reader: int) -> None:
        began[reader] = log.head // 2
        sockets.given[reader], sockets.mood[reader] = [], "takes"
        fan_out.add(reader, began[reader], 0)

    for reader in READERS:  # all are current at first
        join(reader)
        fan_out.catch_up(reader)
    for step, number, mood in steps:
        if step == "grow":
            grow(log, number)
            sockets.deliver(fan_out.grow())
        elif step == "join" and number not in began:
            join(number)
        elif step == "leave" and began.pop(number, None) is not None:
            fan_out.remove(number)
        elif step == "mood" and number in began:
            sockets.mood[number] = mood
        elif step == "pull" and number in began and sockets.mood[number] == "takes":
            batch = fan_out.next_batch(number)
            if batch is None:
                fan_out.catch_up(number)
            else:
                assert len(batch.frame.events) <= SMALL.batch_events_max
                sockets.deliver([batch])
        for reader, after in began.items():
            given_to = sockets.given[reader]
            assert given_to == list(range(after + 1, after + 1 + len(given_to)))
            assert fan_out.lag_of(reader) == log.head - after - len(given_to)
            assert fan_out.is_lagging(reader) or not fan_out.lag_of(reader), "a current reader has everything"
        assert len(fan_out) == len(began)
    for reader in began:
        sockets.mood[reader] = "takes"
        while (batch := fan_out.next_batch(reader)) is not None:
            sockets.deliver([batch])
        fan_out.catch_up(reader)
        assert sockets.given[reader] == list(range(began[reader] + 1, log.head + 1))
    assert set(fan_out.current) == set(began)
    assert fan_out.behind == 0


def test_all_current_readers_share_one_batch() -> None:
    log = EventLog(EPOCH, 0, Snapshot(0, RunState()), (), 1000)
    fan_out = FanOut(log, SMALL)
    for reader in READERS:
        fan_out.add(reader, 0, 4)
        assert fan_out.next_batch(reader) is None
        assert fan_out.catch_up(reader) == 4
    grow(log, 4)
    assert [(batch.connection_ids, batch.first, batch.last) for batch in fan_out.grow()] == [(READERS, 1, 3), (READERS, 4, 4)]
    assert fan_out.grow() == []


def test_a_log_that_grows_without_readers_makes_no_batches() -> None:
    log = EventLog(EPOCH, 0, Snapshot(0, RunState()), (), 1000)
    fan_out = FanOut(log, SMALL)
    grow(log, 5)
    assert fan_out.grow() == []
    fan_out.add(1, 5, 0)
    assert fan_out.catch_up(1) == 0


def test_a_reader_whose_next_event_is_gone_has_fallen_out() -> None:
    log = EventLog(EPOCH, 0, Snapshot(0, RunState()), (), 2)
    fan_out = FanOut(log, SMALL)
    fan_out.add(1, 0, 0)
    grow(log, 3)
    assert fan_out.fallen_out() == [], "without a snapshot nothing is trimmed"
    assert fan_out.catch_up(1) is None, "it has yet to read"
    assert fan_out.is_lagging(1)
    fan_out.add(2, 1, 0)
    grow(log, 0, snapshot=True)
    assert log.oldest == 2
    assert fan_out.fallen_out() == [1]
    fan_out.remove(1)
    assert fan_out.fallen_out() == []
