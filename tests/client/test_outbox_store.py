"""An outbox on disk: nothing is lost or published twice, wherever the program ends."""

import errno
import os
import stat
import subprocess
import sys
import uuid
from collections import deque
from pathlib import Path

import msgspec
import pytest
import trio

from reference.client import Client, FileOutboxStore, OutboxStoreFailed, connect, create_run
from reference.client.mailbox import Delivery
from reference.client.outbox_store import JOURNAL_BYTES_MIN
from reference.client.without_trio.blocking import _reading
from reference.protocol import frames
from reference.protocol.actions import Save
from reference.protocol.client.outcomes import PublishFailed, SessionEnded
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig
from reference.protocol.errors import ConfigError
from reference.protocol.events import Event
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.saved_session import (
    Change,
    GenerationSaved,
    NumberSaved,
    PositionSaved,
    PublishForgotten,
    PublishSaved,
    SavedSession,
)
from reference.protocol.states import ClientState
from reference.server.app import open_server
from reference.server.settings import ServerSettings
from tests.client.conftest import Connect
from tests.client.harness import RUN_ID, URL, Server
from tests.protocol.machines import EXAMPLES, Always, come_back
from tests.protocol.machines import Client as DrivenSession


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ada.outbox"


def save_positions(store: FileOutboxStore, count: int) -> None:
    """1 KB each: much in the journal, and little in its contents."""
    for last in range(count):
        store.save(PositionSaved("x" * 1000, last))


def lowest_free_descriptor() -> int:
    """The number that the next file gets. A file that stays open raises it."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


async def numbers_until(client: Client, last: int) -> list[int]:
    numbers: list[int] = []
    async for outcome in client:
        if isinstance(outcome, Event) and outcome.sequence_number is not None:
            numbers.append(outcome.sequence_number)
            if numbers[-1] == last:
                break
    return numbers


async def test_what_was_queued_is_sent_by_the_next_life(join: Connect, server: Server, path: Path) -> None:
    server.is_down = True
    async with join(outbox_store=FileOutboxStore(path), drain_s=0) as client:
        tickets = [client.publish_soon("CHAT", {"n": n}) for n in range(3)]
        name = client.client_id
    assert all(isinstance(ticket.result, PublishFailed) for ticket in tickets)
    server.is_down = False
    async with join(outbox_store=FileOutboxStore(path)) as client:
        assert client.client_id == name
        assert [await ticket.accepted() for ticket in client.restored] == [1, 2, 3]
        assert await client.publish("CHAT", {"n": 3}) == 4
    async with join(outbox_store=FileOutboxStore(path)) as client:
        assert client.restored == ()
        assert await client.publish("CHAT", {"n": 4}) == 5


async def test_what_was_sent_and_not_answered_is_in_the_log_once(join: Connect, nursery: trio.Nursery, path: Path) -> None:
    server = Server(nursery, append_s=1.0)
    with trio.move_on_after(0.5):
        async with join(outbox_store=FileOutboxStore(path), open_stream=server.open_stream) as client:
            await client.wait_until(ClientState.LIVE)
            client.publish_soon("CHAT", {"n": 1})
            await trio.sleep(5)  # it is cancelled here, while the store commits
    await trio.sleep(2)
    assert server.run.head == 1
    async with join(outbox_store=FileOutboxStore(path), open_stream=server.open_stream) as client:
        (ticket,) = client.restored
        assert await ticket.accepted() == 1
        assert await client.publish("CHAT", {"n": 2}) == 2


async def test_the_application_goes_on_behind_what_it_has_handled(join: Connect, server: Server, path: Path) -> None:
    await server.publish(10)
    async with join(outbox_store=FileOutboxStore(path), config=ClientConfig(start="oldest")) as client:
        assert await numbers_until(client, 6) == [1, 2, 3, 4, 5, 6]

    async def fail() -> None:
        async with join(outbox_store=FileOutboxStore(path)) as client:
            assert await numbers_until(client, 8) == [7, 8]
            raise RuntimeError("while it handles event 8")

    with pytest.raises(RuntimeError):
        await fail()
    async with join(outbox_store=FileOutboxStore(path)) as client:
        assert await numbers_until(client, 10) == [8, 9, 10]


async def test_an_event_is_handled_when_the_next_is_asked_for_and_not_when_it_comes(
    join: Connect, server: Server, path: Path
) -> None:
    """A program that was killed while it waited for the next event got the last one twice."""
    await server.publish(6)
    with trio.move_on_after(60):
        async with join(outbox_store=FileOutboxStore(path), config=ClientConfig(start="oldest")) as client:
            await numbers_until(client, 7)
    await server.publish(1)
    async with join(outbox_store=FileOutboxStore(path)) as client:
        assert await numbers_until(client, 7) == [7]


async def test_an_event_is_handled_in_the_history_in_which_it_came(join: Connect, nursery: trio.Nursery, path: Path) -> None:
    """Events wait to be read while the server loses its history. A program that was killed then would have gone on in the new
    history, behind events that it had never seen."""
    old, new = Server(nursery), Server(nursery, epoch="f" * 32)
    servers = [old]

    async def open_stream(host: str, port: int, tls: bool) -> trio.abc.Stream:
        return await servers[-1].open_stream(host, port, tls)

    await old.publish(3)
    config = ClientConfig(start="oldest")
    async with join(outbox_store=FileOutboxStore(path), open_stream=open_stream, config=config) as client:
        assert await numbers_until(client, 3) == [1, 2, 3]
    await old.publish(3)
    await new.publish(9)
    with trio.CancelScope() as life:
        async with join(outbox_store=FileOutboxStore(path), open_stream=open_stream) as client:
            await client.wait_until(lambda client: client.position == (old.run.epoch, 6))
            servers.append(new)
            old.wires[-1].cut()
            await client.wait_until(lambda client: client.position[0] == new.run.epoch)
            assert await numbers_until(client, 5) == [4, 5]
            life.cancel()
            await trio.sleep_forever()
    store = FileOutboxStore(path)
    saved = store.load(RUN_ID, "another")
    store.close()
    assert (saved.epoch, saved.last) == (old.run.epoch, 4)


async def test_a_disk_that_is_full_ends_the_block(join: Connect, path: Path) -> None:
    class Full(FileOutboxStore):
        def save(self, change: Change) -> None:
            if isinstance(change, PublishSaved):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().save(change)

    async def use() -> None:
        async with join(outbox_store=Full(path)) as client:
            client.publish_soon("CHAT", {})
            await trio.sleep_forever()

    with pytest.raises(OutboxStoreFailed, match="No space left on device"):
        await use()


async def test_a_store_that_is_given_to_two_clients_stays_with_the_first(join: Connect, path: Path) -> None:
    store = FileOutboxStore(path)
    before = lowest_free_descriptor()
    async with join(outbox_store=store) as client:
        with pytest.raises(ConfigError, match="is used by another client"):
            await join(outbox_store=store).__aenter__()
        assert await client.publish("CHAT", {}) == 1
    assert lowest_free_descriptor() == before
    async with join(outbox_store=store) as client:
        assert await client.publish("CHAT", {}) == 2


async def test_one_file_is_for_one_client_and_one_run(join: Connect, path: Path) -> None:
    async with join(outbox_store=FileOutboxStore(path)):
        with pytest.raises(ConfigError, match="is used by another client"):
            await join(outbox_store=FileOutboxStore(path)).__aenter__()
    with pytest.raises(ConfigError, match=f"is the outbox of run {RUN_ID}; name another file"):
        FileOutboxStore(path).load("another-run", "c")
    with pytest.raises(ConfigError, match="leave client_id out"):
        await join(outbox_store=FileOutboxStore(path), client_id="other").__aenter__()


def test_a_line_that_is_cut_off_was_being_written(path: Path) -> None:
    store = FileOutboxStore(path)
    store.load("r", "c")
    for change in (PublishSaved(1, "CHAT", {"n": 1}), NumberSaved(1, 1), PublishSaved(2, "CHAT", {"n": 2})):
        store.save(change)
    store.close()
    path.write_bytes(path.read_bytes()[:-5])
    saved = FileOutboxStore(path).load("r", "other")
    assert saved.client_id == "c"
    assert [(each.ticket, each.client_sequence) for each in saved.publishes] == [(1, 1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"garbage\n", "line 1 of the outbox .* is damaged"),
        (b'{"change":"generation","generation":1}\n', "is no outbox"),
        (b'{"change":"outbox","runId":"r","clientId":"c","format_version":9,"formatVersion":9}\n', "format version 9"),
    ],
)
def test_a_file_that_is_no_outbox(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        FileOutboxStore(path).load("r", "c")
    assert path.read_bytes() == content, "it is left as it was"
    with pytest.raises(ConfigError, match="cannot be used"):
        FileOutboxStore(path / "below").load("r", "c")


def test_the_journal_is_rewritten_when_it_has_grown(path: Path) -> None:
    store = FileOutboxStore(path, sync=False)
    store.load("r", "c")
    for ticket in range(1, 3000):
        store.save(PublishSaved(ticket, "CHAT", {"text": "x" * 200}))
        store.save(NumberSaved(ticket, ticket))
        store.save(PublishForgotten(ticket))
        store.save(GenerationSaved(ticket))
        store.save(PositionSaved("e", ticket))
    assert path.stat().st_size < JOURNAL_BYTES_MIN + 1000
    store.close()
    saved = FileOutboxStore(path).load("r", "c")
    assert saved == SavedSession(client_id="c", generation=2999, next_sequence=3000, epoch="e", last=2999)
    assert msgspec.json.encode(saved)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device on which every write fails as on a full disk")
def test_a_journal_that_cannot_be_rewritten_is_used_as_before(path: Path) -> None:
    new = Path(f"{path}.new")
    store = FileOutboxStore(path)
    store.load("r", "c")
    before = lowest_free_descriptor()
    new.symlink_to("/dev/full")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        save_positions(store, 1000)
    assert lowest_free_descriptor() == before, "the new file is closed"
    assert not new.is_symlink(), "and removed"
    store.save(GenerationSaved(7))  # now the disk has room
    store.save(PositionSaved("e", 5))
    assert path.stat().st_size < JOURNAL_BYTES_MIN
    store.close()
    assert FileOutboxStore(path).load("r", "c") == SavedSession(client_id="c", generation=7, next_sequence=1, epoch="e", last=5)


FULL_DISK = """
import resource, sys
from pathlib import Path
from reference.client import FileOutboxStore
from reference.protocol.saved_session import PublishSaved
path = Path(sys.argv[1])
store = FileOutboxStore(path)
store.load("r", "c")
size = path.stat().st_size
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, most))
try:
    store.save(PublishSaved(1, "CHAT", {"text": "x" * 1000}))
except OSError as error:
    print(error.strerror)
assert path.stat().st_size == size, "no part of the line is left"
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
store.save(PublishSaved(2, "CHAT", {"text": "y" * 1000}))
"""


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a process has no limit for the size of a file")
def test_a_line_that_was_written_in_part_does_not_damage_the_next(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == os.strerror(errno.EFBIG)
    saved = FileOutboxStore(path).load("r", "c")
    assert [(each.ticket, each.data["text"][0]) for each in saved.publishes] == [(2, "y")]


async def test_a_blocking_client_receives_once_what_comes_while_it_closes(
    join: Connect, nursery: trio.Nursery, path: Path
) -> None:
    """It was received by that program and, since its position could not be saved any more, by the next one again."""
    server = Server(nursery, append_s=1.0)
    received: deque[Delivery] = deque()
    for last in (3, 6):
        store = FileOutboxStore(path)
        async with _reading(join(outbox_store=store, open_stream=server.open_stream), received, saves=True) as client:
            client.publish_soon("CHAT", {})
            await trio.sleep(0.5)  # it is being stored, so its event comes a second before the answers to the others
            client.publish_soon("CHAT", {})
            client.publish_soon("CHAT", {})
            if last == 6:
                await client.wait_until(lambda client: client.position[1] == 6)
                await trio.sleep(1)  # until all are read
    numbers = [each.sequence_number for each in received if isinstance(each, Event) and each.sequence_number is not None]
    assert numbers == [1, 2, 3, 4, 5, 6]
    assert isinstance(received[-1], SessionEnded)


def begin(store: FileOutboxStore) -> DrivenSession:
    """A program starts: a session that goes on from the file, on an open WebSocket."""
    session = ClientSession(
        "ada-1", config=ClientConfig(), policy=FullJitter(), random_source=Always(0.5), token="dev:ada", saves=True
    )
    session.restore(store.load(RUN_ID, "ada-1"), 0)
    session.start(0)
    session.connection_opened(1, 0)
    session.receive_frame(1, EXAMPLES[frames.Welcome], 0)
    return DrivenSession(session, 0, 1)


def save_changes(client: DrivenSession, store: FileOutboxStore) -> None:
    for action in client.session.take_actions():
        if isinstance(action, Save):
            store.save(action.change)


@pytest.mark.parametrize("rewrites", [False, True])
def test_what_may_stand_in_a_lost_history_may_have_arrived_after_a_restart_too(path: Path, rewrites: bool) -> None:
    """7.9: the application was told that such a publish had not arrived, if its program was killed after the loss."""
    store = FileOutboxStore(path)
    client = begin(store)
    client.session.publish("CHAT", {}, 0)
    client.session.connection_lost(1, None, 0)
    save_changes(client, store)
    come_back(client, outcome="reset", reason="epoch", epoch="epoch-2")
    save_changes(client, store)
    store.close()
    if rewrites:
        store.load(RUN_ID, "ada-1")
        store.close()
    session = begin(store).session
    session.receive_frame(1, frames.Rejected(client_sequence=1, code="invalid_event", message="no"), 0)
    assert PublishFailed(1, "invalid_event", "no", may_have_arrived=True) in session.take_outcomes()


async def test_a_run_is_the_same_in_upper_case(join: Connect, server: Server, path: Path) -> None:
    server.is_down = True
    async with join(outbox_store=FileOutboxStore(path), drain_s=0) as client:
        client.publish_soon("CHAT", {})
    async with connect(URL, RUN_ID.upper(), open_stream=server.open_stream, outbox_store=FileOutboxStore(path)) as client:
        assert len(client.restored) == 1
        assert client.run_id == RUN_ID


@pytest.mark.parametrize("loads", [1, 2], ids=["as it was written", "rewritten"])
def test_the_tries_of_a_publish_are_kept_and_a_file_from_before_has_none(path: Path, loads: int) -> None:
    lines = [
        {"change": "outbox", "runId": "r", "clientId": "c", "nextSequence": 1, "formatVersion": 1},
        {"change": "queued", "ticket": 1, "event_type": "CHAT", "data": {}, "at_ms": 1},
        {"change": "numbered", "ticket": 1, "client_sequence": 1},
        {"change": "queued", "ticket": 2, "event_type": "CHAT", "data": {}, "at_ms": 1},
        {"change": "numbered", "ticket": 2, "client_sequence": 2, "is_perhaps_lost": True},
        {"change": "queued", "ticket": 3, "event_type": "CHAT", "data": {}, "at_ms": 1},
    ]
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    store = FileOutboxStore(path)
    store.load("r", "c")
    store.save(NumberSaved(2, 2, is_perhaps_lost=True, tries=3))
    for _ in range(loads):
        store.close()
        saved = store.load("r", "c")
    kept = [(each.client_sequence, each.is_perhaps_lost, each.tries) for each in saved.publishes]
    assert kept == [(1, False, 0), (2, True, 3), (None, False, 0)]


PROGRAM = """
import os, sys, trio
from reference.client import FileOutboxStore, connect
async def main(url, run, path, life):
    async with connect(url, run, token="dev:ada", outbox_store=FileOutboxStore(path)) as client:
        for n in range(40):
            client.publish_soon("CHAT", {"life": life, "n": n})
            await trio.sleep(0.001)
            if n == 20 + life:
                os._exit(9)
trio.run(main, *sys.argv[1:4], int(sys.argv[4]))
"""


@pytest.mark.trio(run=trio.run)
async def test_a_program_that_is_killed_again_and_again_loses_and_doubles_nothing(path: Path) -> None:
    with trio.fail_after(60):
        async with open_server(ServerSettings(port=0, store="memory:")) as server:
            run_id = str(uuid.uuid4())
            await create_run(server.url, run_id, "dev:ada")
            for life in range(3):
                command = [sys.executable, "-c", PROGRAM, server.url, run_id, str(path), str(life)]
                done = await trio.run_process(command, check=False, capture_stderr=True)
                assert done.returncode == 9, done.stderr.decode()
            async with connect(server.url, run_id, token="dev:ada", outbox_store=FileOutboxStore(path)) as client:
                for ticket in client.restored:
                    await ticket.accepted()
            wanted = [(life, n) for life in range(3) for n in range(21 + life)]
            config = ClientConfig(start="oldest")
            async with connect(server.url, run_id, token="dev:bob", config=config) as reader:
                events: list[tuple[int, int]] = []
                async for event in reader.events():
                    if event.sequence_number is not None:
                        events.append((event.data["life"], event.data["n"]))
                        if len(events) == len(wanted):
                            break
                assert events == wanted


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a folder cannot be opened")
@pytest.mark.parametrize("sync", [True, False])
def test_with_sync_the_name_of_a_new_journal_is_forced_to_the_disk(
    sync: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, folders = os.fsync, []

    def note(descriptor: int) -> None:
        folders.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    store = FileOutboxStore(path, sync=sync)
    store.load(RUN_ID, "ada")
    store.close()
    assert folders[-1] is sync
