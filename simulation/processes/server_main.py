"""The server's process: the ordinary server with one run; it reports to its parent process.

    python -m simulation.processes.server_main --port 20007 --store sqlite:////tmp/events.sqlite3 --run 01234567-...

It loads its code and waits for `START` on standard input before it opens store and port. On standard output it writes JSON lines:
first `ListeningLine`, once connections are accepted, then the observations of its runs, as records of a trace whose `at` is by
this machine's monotonic clock. Logs go to standard error.

It ends gracefully on SIGTERM, and as soon as standard input ends: the parent holds the other end, so this process never outlives
its parent.
"""

import argparse
import os
import signal
import sys
import tempfile
import time

import msgspec
import structlog
import trio

from reference.protocol.config import ServerConfig
from reference.protocol.errors import ConfigError, SteadywireError
from reference.protocol.server.observations import Observation
from reference.server.app import Server, open_server
from reference.server.settings import ServerSettings
from reference.store import StoreUnavailable, hide_password, open_store
from simulation.trace.trace import QueueSampled, Trace
from simulation.trace.writer import record_observations

START = b"start\n"
CANNOT_START = 2
STOP_TIMEOUT_S = 3.0
SAMPLE_INTERVAL_S = 1.0


class ListeningLine(msgspec.Struct, frozen=True, tag_field="record", tag="listening"):
    """Connections are accepted; the run exists, with this history."""

    epoch: str
    head: int


def main(arguments: list[str] | None = None) -> int:
    """Serve until asked to stop; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation.processes.server_main", description="The server process of a run of real processes."
    )
    parser.add_argument("--port", type=int, required=True, help="to listen on, at 127.0.0.1")
    parser.add_argument("--store", required=True, help="URL of the store")
    parser.add_argument("--run", required=True, help="id of the run to create")
    parser.add_argument("--config", default="{}", help="the ServerConfig, as JSON")
    options = parser.parse_args(arguments)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        config = read_config(options.config)
        trio.run(_serve, options.port, options.store, options.run, config, restrict_keyboard_interrupt_to_checkpoints=True)
    except SteadywireError as error:
        print(error, file=sys.stderr)
        return CANNOT_START
    return 0


def read_config(text: str) -> ServerConfig:
    """Raises ConfigError."""
    try:
        return msgspec.json.decode(text, type=ServerConfig)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"--config: {error}") from None


async def _serve(port: int, store_url: str, run_id: str, config: ServerConfig) -> None:
    settings = ServerSettings(port=port, store=store_url, protocol=config, stop_timeout_s=STOP_TIMEOUT_S)
    await _load_all_code()
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as parent:
        if not await parent.receive_some():
            return  # the parent does not need this process any more
        async with open_store(store_url) as store, open_server(settings, store=store, observe=_report) as server:
            with trio.open_signal_receiver(signal.SIGTERM) as signals:
                await server.create_run(run_id)
                stored = await store.load_run(run_id)
                if stored is None:
                    raise StoreUnavailable(f"the run {run_id} was made and is not in the store {hide_password(store_url)}")
                _write(msgspec.json.encode(ListeningLine(stored.epoch, stored.head)) + b"\n")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_wait_for_end, parent, nursery.cancel_scope)
                    nursery.start_soon(_sample, server)
                    await anext(signals)
                    nursery.cancel_scope.cancel()


async def _sample(server: Server) -> None:
    """Report the sizes of the server's queues from time to time."""
    while True:
        now, holds = time.monotonic_ns(), server.statistics()
        for queue, length, limit in (
            ("connections", holds.connections, server.settings.door.connections_max),
            ("runs in memory", holds.runs_loaded, server.settings.loaded_runs_max),
        ):
            _write(Trace([QueueSampled(at=now, place="server", queue=queue, length=length, limit=limit)]).to_bytes())
        await trio.sleep(SAMPLE_INTERVAL_S)


async def _load_all_code() -> None:
    """Use a store once: database and migrations load their code only then, which takes longer than the rest of the start."""
    with tempfile.TemporaryDirectory(prefix="steadywire-") as directory:
        async with open_store(f"sqlite:///{directory}/unused.sqlite3"):
            pass


def _report(observation: Observation) -> None:
    trace = Trace()
    record_observations(trace, [observation], time.monotonic_ns())
    if len(trace):
        _write(trace.to_bytes())


def _write(line: bytes) -> None:
    """Write at once and completely, so that nothing is lost when this process is killed."""
    os.write(sys.stdout.fileno(), line)


async def _wait_for_end(parent: trio.abc.ReceiveStream, serving: trio.CancelScope) -> None:
    while await parent.receive_some():
        pass
    serving.cancel()


if __name__ == "__main__":
    sys.exit(main())
