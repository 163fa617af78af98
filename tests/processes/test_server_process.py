"""The server as a process: it starts, is killed, restarts with its data, and an unexpected end is noticed."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest
import trio

from reference.client import connect
from simulation.processes.ports import free_ports
from simulation.processes.server_process import SERVER_COMMAND, ServerFailed, ServerPlace, open_server_process
from simulation.trace.trace import Record, SessionJoined

RUN_ID = "01234567-89ab-cdef-0123-456789abcdef"
PATIENCE_S = 30.0


def ignore(record: Record) -> None:
    pass


async def _start(place: ServerPlace, command: tuple[str, ...] = SERVER_COMMAND) -> None:
    async with open_server_process(place, command=command, on_record=ignore) as server:
        await server.start()


@pytest.fixture
def place(tmp_path: Path) -> ServerPlace:
    return ServerPlace(free_ports(1)[0], f"sqlite:///{tmp_path / 'log.sqlite3'}", RUN_ID, tmp_path / "server.log")


@pytest.mark.slow
async def test_it_comes_back_with_its_log_after_a_kill(place: ServerPlace) -> None:
    records: list[Record] = []
    with trio.fail_after(PATIENCE_S):
        async with open_server_process(place, on_record=records.append) as server:
            first = await server.start()
            async with connect(f"http://127.0.0.1:{place.port}", RUN_ID, token="dev:ada", client_id="ada") as client:
                assert await client.publish("FLAG", {"why": "first"}) == 1
                await server.prepare()
                await server.kill()
                second = await server.start()
                assert await client.publish("FLAG", {"why": "second"}) == 2
            await server.stop()
    assert (first.head, second.head) == (0, 1)
    assert first.epoch == second.epoch
    assert [record.client_id for record in records if isinstance(record, SessionJoined)] == ["ada", "ada"]


@pytest.mark.slow
async def test_an_end_that_nobody_asked_for_ends_the_block(place: ServerPlace) -> None:
    async def stop_it_behind_its_back() -> None:
        async with open_server_process(place, on_record=ignore) as server:
            await server.start()
            assert server.pid is not None
            os.kill(server.pid, signal.SIGTERM)
            await trio.sleep_forever()

    with trio.fail_after(PATIENCE_S), pytest.raises(ServerFailed, match="ended by itself, with exit code 0"):
        await stop_it_behind_its_back()


@pytest.mark.slow
async def test_a_port_in_use_is_reported_as_the_server_reports_it(place: ServerPlace) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", place.port))
        other.listen()
        with trio.fail_after(PATIENCE_S), pytest.raises(ServerFailed) as raised:
            await _start(place)
    assert "exit code 2" in str(raised.value)
    assert str(place.port) in str(raised.value)


async def test_what_is_no_record_is_not_taken(place: ServerPlace) -> None:
    command = (sys.executable, "-c", "print('Traceback (most recent call last):', flush=True)")
    with trio.fail_after(PATIENCE_S), pytest.raises(ServerFailed, match="a line that is no record"):
        await _start(place, command)


async def test_an_error_of_the_block_comes_out_as_it_is(place: ServerPlace) -> None:
    with pytest.raises(KeyError):
        async with open_server_process(place, on_record=ignore):
            raise KeyError("of the block")
