"""A server process that gets SIGTERM under load: all clients are closed with spread reconnect times, accepted events are
stored, and it ends."""

import contextlib
import itertools
import time
from pathlib import Path

import pytest
import trio
import trio_websocket

from reference.store import open_store

from .processes import serving
from .running_server import RUN, FrameClient, frame_client_on
from .test_kill import ask

CLIENTS = 20
STOP_TIMEOUT_S = 3


async def publish_until_sent_away(port: int, name: str, accepted: list[int], goaways: list[dict[str, int]]) -> None:
    async with frame_client_on(await trio.open_tcp_stream("127.0.0.1", port)) as client:
        await client.hello(name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_publish, client)
            code, _ = await client.closed()
            nursery.cancel_scope.cancel()
        assert code == 4001
        accepted += [frame["sequenceNumber"] for frame in client.received if frame["type"] == "accepted"]
        goaways += [frame for frame in client.received if frame["type"] == "goaway"]


async def _publish(client: FrameClient) -> None:
    with contextlib.suppress(trio_websocket.ConnectionClosed):
        for number in itertools.count(1):
            await client.send("publish", clientSequence=number, eventType="CHAT", data={})
            await trio.sleep(0.02)


async def sit_still(port: int, task_status: "trio.TaskStatus[None]") -> None:
    """A client that never closes, whatever it is asked."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with frame_client_on(stream) as client:
        await client.hello("still")
        task_status.started()
        await trio.sleep_forever()


@pytest.mark.slow
async def test_sigterm_under_load(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/events.sqlite3"
    settings = tmp_path / "server.toml"
    settings.write_text(f"accepts_per_s = 2\ngo_away_retry_after_s = 1.5\nstop_timeout_s = {STOP_TIMEOUT_S}\n")
    accepted: list[int] = []
    goaways: list[dict[str, int]] = []
    with serving("--config", str(settings), "--store", store) as server:
        port = int(server.url.rpartition(":")[2])
        assert (await ask(port, "PUT", f"/api/runs/{RUN}")).status == 201
        async with trio.open_nursery() as others:
            await others.start(sit_still, port)
            async with trio.open_nursery() as nursery:
                for index in range(CLIENTS):
                    nursery.start_soon(publish_until_sent_away, port, f"client-{index}", accepted, goaways)
                await trio.sleep(1)
                started = time.monotonic()
                assert await trio.to_thread.run_sync(server.stop) == 0
                assert time.monotonic() - started < STOP_TIMEOUT_S + 5
            others.cancel_scope.cancel()
    assert len(goaways) == CLIENTS
    for goaway in goaways:
        assert goaway["retryAfterMs"] == 1500
        assert goaway["spreadMs"] == pytest.approx(1000 * (CLIENTS + 1) / 2, abs=1000), "as many as it can take in a second"
    assert len(accepted) > CLIENTS
    assert len(set(accepted)) == len(accepted)
    async with open_store(store) as events:
        stored = await events.load_run(RUN)
    assert stored is not None
    assert stored.head >= max(accepted)
