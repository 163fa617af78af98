"""The contract of stores, tested on each of them: one suite for memory, for SQLite on a real file, and for
PostgreSQL.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from reference.protocol.errors import ConfigError, LocalError
from reference.protocol.events import Event, KeptData
from reference.protocol.records import Append, LogEntry, RunState, Snapshot, StoredClient, StoredRun
from reference.store import EventStore, StoreConflict, StoreUnavailable, open_store, parse_url

from .samples import EPOCH, OTHER_RUN, RUN, append, entry, load


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    match request.param:
        case "memory":
            return "memory:"
        case "sqlite":
            return f"sqlite:///{tmp_path / 'store'}"
        case _:
            return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def store(url: str) -> AsyncIterator[EventStore]:
    async with open_store(url) as opened:
        assert await opened.create_run(RUN, EPOCH)
        yield opened


async def test_a_new_run_is_empty(store: EventStore) -> None:
    assert await load(store) == StoredRun(RUN, EPOCH, 0, Snapshot(0, RunState()), (), ())


async def test_a_run_is_made_once_and_keeps_its_epoch(store: EventStore) -> None:
    assert not await store.create_run(RUN, "another epoch")
    assert (await load(store)).epoch == EPOCH


async def test_a_deleted_run_is_gone_with_all_that_was_kept(store: EventStore) -> None:
    assert await store.create_run(OTHER_RUN, EPOCH)
    assert await store.append([append(1), append(1, run_id=OTHER_RUN)]) == [None, None]
    assert await store.delete_run(RUN)
    assert await store.load_run(RUN) is None
    assert not await store.delete_run(RUN)
    assert not await store.delete_run("no uuid")
    (late,) = await store.append([append(2)])
    assert isinstance(late, StoreConflict)
    assert (await load(store, OTHER_RUN)).head == 1
    assert await store.create_run(RUN, "another epoch")
    assert await load(store) == StoredRun(RUN, "another epoch", 0, Snapshot(0, RunState()), (), ())


async def test_unknown_runs(store: EventStore) -> None:
    assert await store.load_run(OTHER_RUN) is None
    assert await store.load_run("no uuid") is None
    for run_id in (OTHER_RUN, "no uuid", RUN.replace("-", ""), RUN.upper()):
        (outcome,) = await store.append([append(1, run_id=run_id)])
        assert isinstance(outcome, StoreConflict)


@pytest.mark.parametrize("run_id", ["", "no uuid", RUN.upper(), RUN.replace("-", ""), f"{{{RUN}}}", f"{RUN}\n"])
async def test_a_run_id_has_one_spelling(store: EventStore, run_id: str) -> None:
    with pytest.raises(LocalError, match="not a UUID"):
        await store.create_run(run_id, EPOCH)


async def test_round_trip_of_every_field(store: EventStore) -> None:
    data = {
        "text": 'Grüße, 世界, 🎈, \u2028, "quoted", back\\slash',
        "ключ": [1, -1, 0.1, 1e-300, 2**63 - 1, -(2**63), True, False, None, [], {}],
        "deep": {"a": {"b": [{"c": ["d"]}]}},
        "like a number": "1e5",
    }
    events = tuple(
        Event("GRAFT", "Zoë 🎈", timestamp, number, data, is_critical=number != 2)
        for number, timestamp in enumerate((0, 1, 1_700_000_000_001, 1_700_000_000_999, 253_402_300_799_999), 1)
    )
    entries = tuple(LogEntry(event, "клиент", 2 * n) for n, event in enumerate(events, 1))
    state = RunState(grafts={"here": data, "": {}}, prunes=("a", "é"), flags=(data, {}, data))
    assert await store.append([Append(RUN, EPOCH, entries, Snapshot(3, state), 1)]) == [None]
    assert await load(store) == StoredRun(
        run_id=RUN,
        epoch=EPOCH,
        head=5,
        snapshot=Snapshot(3, state),
        events=events,
        clients=(StoredClient("клиент", "Zoë 🎈", 10, ((2, 1), (4, 2), (6, 3), (8, 4), (10, 5)), 253_402_300_799_999),),
    )


async def test_what_is_loaded_stays_bytes(store: EventStore) -> None:
    nested = {"position": "p", "list": [[{"x": n}] for n in range(1000)]}
    await store.append([Append(RUN, EPOCH, (entry(1, **nested),), Snapshot(1, RunState({"p": nested}, (), (nested,))), 1)])
    stored = await store.load_run(RUN)
    assert stored is not None
    text = msgspec.json.encode(nested)
    for data in (stored.events[0].data, stored.snapshot.state.grafts["p"], stored.snapshot.state.flags[0]):
        assert isinstance(data, KeptData)
        assert len(bytes(data)) == len(text)


async def test_what_is_stored_does_not_change_with_what_was_given(store: EventStore) -> None:
    data = {"position": "p", "list": [1]}
    given = Append(RUN, EPOCH, (entry(1, **data),), Snapshot(1, RunState(grafts={"p": data})), 1)
    await store.append([given])
    before = await load(store)
    given.entries[0].event.data["list"] = "changed"
    data["position"] = "changed"
    before.events[0].data["position"] = "changed too"
    after = await load(store)
    assert after.events[0].data == {"position": "p", "list": [1]}
    assert after.snapshot.state.grafts == {"p": {"position": "p", "list": [1]}}


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (append(3), "brings event 3 where 4 must follow"),
        (append(5), "brings event 5 where 4 must follow"),
        (append(4, epoch="another"), "of epoch another"),
        (Append(RUN, EPOCH, (entry(4), entry(6)), None, 1), "brings event 6 where 5 must follow"),
        (Append(RUN, EPOCH, (entry(4, client_sequence=3),), None, 1), "publish 3 of client client-1"),
        (Append(RUN, EPOCH, (entry(4, "new", 2), entry(5, "new", 2)), None, 1), "publish 2 of client new"),
        (append(4, 2, snapshot_at=6), "snapshot at 6 is ahead"),
    ],
)
async def test_a_batch_that_does_not_fit_leaves_nothing(store: EventStore, batch: Append, reason: str) -> None:
    await store.append([append(1, 3)])
    before = await load(store)
    (outcome,) = await store.append([batch])
    assert isinstance(outcome, StoreConflict)
    assert reason in str(outcome)
    assert await load(store) == before


async def test_one_client_id_in_two_runs_of_one_group_is_two_clients(store: EventStore) -> None:
    await store.create_run(OTHER_RUN, EPOCH)
    assert await store.append([append(1, 3), append(1, 2, run_id=OTHER_RUN), append(3, run_id=OTHER_RUN)]) == [None, None, None]
    first, second = await load(store), await load(store, OTHER_RUN)
    assert (first.head, second.head) == (3, 3)
    assert first.clients == second.clients
    # The number that one run has had may still come in the other, and each run refuses its own again.
    assert await store.append([append(4, 2), append(4, run_id=OTHER_RUN)]) == [None, None]
    again = Append(RUN, EPOCH, (entry(6, client_sequence=5),), None, 1)
    fits = Append(OTHER_RUN, EPOCH, (entry(5, client_sequence=5),), None, 1)
    outcomes = await store.append([again, fits])
    assert [type(outcome) for outcome in outcomes] == [StoreConflict, type(None)]
    first, second = await load(store), await load(store, OTHER_RUN)
    assert [client.last_client_sequence for run in (first, second) for client in run.clients] == [5, 5]


async def test_one_batch_of_a_group_that_does_not_fit_harms_no_other(store: EventStore) -> None:
    await store.create_run(OTHER_RUN, EPOCH)
    outcomes = await store.append(
        [
            append(1, 2),
            append(1, run_id=OTHER_RUN, client_id="other"),
            append(4),  # 3 is missing
            append(3, 2, client_id="client-2"),  # follows within the group
            append(2, run_id=OTHER_RUN, epoch="another"),
            append(2, run_id=OTHER_RUN, client_id="other"),
        ]
    )
    assert [type(outcome) for outcome in outcomes] == [
        *(type(None), type(None), StoreConflict),
        *(type(None), StoreConflict, type(None)),
    ]
    first, second = await load(store), await load(store, OTHER_RUN)
    assert (first.head, len(first.events), [client.client_id for client in first.clients]) == (
        4,
        4,
        ["client-1", "client-2"],
    )
    assert (second.head, second.clients[0].answers) == (2, ((1, 1), (2, 2)))


@pytest.mark.parametrize("bad", [{"text": "half a \ud83c pair"}, {"what": object()}], ids=["surrogate", "object"])
async def test_a_batch_that_cannot_be_stored_harms_no_other(store: EventStore, bad: dict[str, object]) -> None:
    await store.create_run(OTHER_RUN, EPOCH)
    poison = Append(RUN, EPOCH, (entry(1, **bad),), None, 1)
    outcomes = await store.append([append(1, run_id=OTHER_RUN), poison, append(2, run_id=OTHER_RUN)])
    assert [type(outcome) for outcome in outcomes] == [type(None), StoreUnavailable, type(None)]
    assert "\n" not in str(outcomes[1])
    assert ((await load(store)).head, (await load(store, OTHER_RUN)).head) == (0, 2)


async def test_an_empty_group_and_an_empty_batch(store: EventStore) -> None:
    assert await store.append([]) == []
    assert await store.append([append(1, 0), append(1), append(2, 0, snapshot_at=1)]) == [None] * 3
    stored = await load(store)
    assert (stored.head, stored.snapshot.sequence_number) == (1, 1)


async def test_the_window_moves_and_always_meets_the_snapshot(store: EventStore) -> None:
    await store.append([append(1, 250, oldest=200)])  # no snapshot yet: nothing may go
    assert (await load(store)).events[0].sequence_number == 1
    await store.append([append(251, 10, snapshot_at=150, oldest=240)])
    stored = await load(store)
    assert (stored.events[0].sequence_number, stored.head, stored.snapshot.sequence_number) == (151, 260, 150)
    await store.append([append(261, 1, snapshot_at=261, oldest=180)])
    assert (await load(store)).events[0].sequence_number == 180
    await store.append([append(262, 1, oldest=170)])  # never backwards
    assert (await load(store)).events[0].sequence_number == 180
    await store.append([append(263, 1, snapshot_at=263, oldest=999)])
    stored = await load(store)
    assert (stored.events, stored.head) == ((), 263)
    await store.append([append(264, 2)])
    assert [event.sequence_number for event in (await load(store)).events] == [264, 265]


async def test_a_snapshot_never_goes_back(store: EventStore) -> None:
    await store.append([append(1, 9, snapshot_at=9)])
    await store.append([append(10, 1, snapshot_at=5)])
    assert (await load(store)).snapshot == Snapshot(9, RunState(grafts={"at": {"n": 9}}))


async def test_the_newest_64_answers_of_each_client_are_kept(store: EventStore) -> None:
    rare = Append(RUN, EPOCH, (entry(1, "rare", 7),), None, 1)
    await store.append([rare, append(2, 3)])
    for first in range(5, 305, 30):
        await store.append([append(first, 30)])
    busy, quiet = (await load(store)).clients
    assert busy.answers == tuple((n, n) for n in range(241, 305))
    assert (busy.last_client_sequence, busy.user_id) == (304, "user of client-1")
    assert quiet == StoredClient("rare", "user of rare", 7, ((7, 1),), 1_700_000_000_001)


async def test_of_a_client_that_is_forgotten_nothing_is_left(store: EventStore) -> None:
    """In the tables to which a trim moves what it deletes, and in the events that are kept."""
    await store.append([Append(RUN, EPOCH, (entry(1, "old", 7), entry(2, "kept", 3)), None, 1)])
    await store.append([append(3, 250, snapshot_at=252, oldest=200)])
    await store.append([Append(RUN, EPOCH, (entry(253, "recent", 5),), None, 1)])
    forgets = Append(RUN, EPOCH, (entry(254, "old", 1),), None, 1, ("old", "recent", "never there"))
    too_low = Append(RUN, EPOCH, (entry(254, "old", 1),), None, 1)
    (conflict,) = await store.append([too_low])
    assert isinstance(conflict, StoreConflict)
    assert await store.append([forgets]) == [None]
    stored = await load(store)
    assert [(client.client_id, client.answers) for client in stored.clients if client.client_id != "client-1"] == [
        ("kept", ((3, 2),)),
        ("old", ((1, 254),)),
    ]
    assert len(stored.events) == 55
    following = [
        Append(RUN, EPOCH, (entry(255, "recent", 1),), None, 1),
        Append(RUN, EPOCH, (entry(256, "kept", 4),), None, 1, ("recent",)),
        Append(RUN, EPOCH, (entry(257, "recent", 1),), None, 1),
    ]
    assert await store.append(following) == [None] * 3
    assert {client.client_id: client.answers for client in (await load(store)).clients}["recent"] == ((1, 257),)


async def test_the_store_can_be_checked_and_closed_twice(store: EventStore) -> None:
    await store.check()
    await store.aclose()
    await store.aclose()
    assert [type(outcome) for outcome in await store.append([append(1), append(2)])] == [StoreUnavailable] * 2
    for call in (store.check, lambda: store.load_run(RUN), lambda: store.create_run(OTHER_RUN, EPOCH)):
        with pytest.raises(StoreUnavailable, match="closed"):
            await call()


async def test_closing_finishes_even_when_cancelled(store: EventStore) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.aclose()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.check()


async def test_many_readers_at_once(store: EventStore) -> None:
    await store.append([append(1, 20)])
    seen: list[StoredRun] = []

    async def read() -> None:
        seen.append(await load(store))

    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(read)
        for n in range(21, 30):
            assert await store.append([append(n)]) == [None]
    assert len(seen) == 12
    assert all(run.head == len(run.events) == run.clients[0].last_client_sequence for run in seen)


@pytest.mark.parametrize("text", ["", "mysql://host/x", "redis:", "events.txt", "sqlite://", "sqlite:/x", "memory"])
def test_an_unknown_url_says_what_is_known(text: str) -> None:
    with pytest.raises(ConfigError, match="memory:, sqlite:///path"):
        open_store(text)


@pytest.mark.parametrize("text", ["sqlite:///", "sqlite:///:memory:"])
def test_a_url_without_a_file(text: str) -> None:
    with pytest.raises(ConfigError, match="names no file"):
        open_store(text)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("postgresql://ada:secret@host", "names no database"),
        ("postgresql://ada:secret@host:port/x", "invalid store URL"),
        ("postgres://ada:secret@host:port/x", "invalid store URL"),
        ("mysql://ada:secret@host/x", "unknown kind of store"),
        ("mysql://ada@host/x?sslmode=require&password=secret", "unknown kind of store"),
        ("mysql://host/x?password=secret&user=ada", "unknown kind of store"),
    ],
)
def test_a_url_that_is_wrong_does_not_tell_its_password(text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        open_store(text)
    assert "secret" not in str(caught.value)
    assert "postgresql://user" in str(caught.value)


def test_the_short_name_of_postgresql_is_taken() -> None:
    parsed = parse_url("postgres://ada:secret@host/x")
    assert parsed == parse_url("postgresql://ada:secret@host/x")


@pytest.mark.parametrize("text", ["sqlite:///events.db?mode=ro", "sqlite:///events.sqlite3?timeout=30"])
def test_parameters_of_a_sqlite_url_are_refused_and_not_part_of_the_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"takes none here; write sqlite:///events\.\w+$"):
        open_store(text)
