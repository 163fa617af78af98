"""`steadywire demo`: plans a demo, runs it, prints its progress and its summary, and judges it.

0    every guarantee that was exercised held, and none that should have been exercised was left out
1    one did not hold or was left out, or a client did not settle; the trace is kept, and a line says where
2    it could not be done as asked: one line says why
130  Ctrl-C: everything was ended, nothing is left behind
"""

import shutil
import signal
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import trio
from rich.console import Console

from reference.cli.files import check_writable, writing
from reference.cli.output import Output
from reference.protocol.errors import ConfigError, SteadywireError
from simulation.processes.demo.live import LiveWatcher
from simulation.processes.demo.plain import PlainWatcher
from simulation.processes.demo.report import report_on
from simulation.processes.demo.schedule import plan_demo
from simulation.processes.demo.summary import print_beginning, print_line, print_summary
from simulation.processes.progress import Watcher
from simulation.processes.real_run import Played, play
from simulation.processes.run_plan import Plan
from simulation.processes.server_process import SERVER_COMMAND

PASSED, FAILED, CANNOT, INTERRUPTED = 0, 1, 2, 130
SECONDS, SECONDS_WITH_WEB = 20.0, 60.0
"""How long the clients work by default."""


def demo_command(
    *,
    clients: int,
    seconds: float | None,
    seed: int,
    report: Path | None,
    faults: bool,
    trace: Path | None = None,
    web: bool = False,
    opens_browser: bool = True,
) -> int:
    """Plan and run a demo; returns the exit code. `seconds` None: the default. `faults`: whether the network fails."""
    if seconds is None:
        seconds = SECONDS_WITH_WEB if web else SECONDS
    try:
        plan = plan_demo(clients=clients, seconds=seconds, seed=seed, faults=faults)
    except ConfigError as error:
        return _cannot(error)
    return run_demo(plan, report=report, trace=trace, web=web, opens_browser=opens_browser)


def run_demo(
    plan: Plan,
    *,
    report: Path | None = None,
    trace: Path | None = None,
    console: Console | None = None,
    server_command: Sequence[str] = SERVER_COMMAND,
    web: bool = False,
    opens_browser: bool = True,
) -> int:
    """As `demo_command`, for any plan. `console`: where to print (None: stdout). `server_command`: another server's process."""
    console = console or Output()
    directory = Path(tempfile.mkdtemp(prefix="steadywire-demo-"))
    keep = False
    try:
        check_writable(report, trace)
        print_beginning(plan, console)
        on_server = partial(show_page, console, opens_browser=opens_browser) if web else None
        played = _play(plan, directory, console, server_command, on_server)
        if played is None:
            print_line(console, "interrupted; the server and the clients have ended")
            return INTERRUPTED
        judged = report_on(played)
        print_summary(judged, console)
        keep = not judged.passed
        if keep:
            _keep(played, directory, console)
        if trace is not None:
            with writing(trace):
                played.trace.write(trace)
        if report is not None:
            with writing(report):
                judged.write(report)
    except SteadywireError as error:
        return _cannot(error)
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    return PASSED if judged.passed else FAILED


def _cannot(error: SteadywireError) -> int:
    print(f"steadywire demo: {error}", file=sys.stderr)
    return CANNOT


def show_page(console: Console, url: str, *, opens_browser: bool) -> None:
    """Print the address of the server's admin view, and open it in a browser, without waiting for the browser."""
    print_line(console, f"the admin view, live: {url}/admin", "bold")
    if opens_browser:
        threading.Thread(target=webbrowser.open, args=(f"{url}/admin",), daemon=True).start()


def _play(
    plan: Plan,
    directory: Path,
    console: Console,
    server_command: Sequence[str],
    on_server: Callable[[str], None] | None,
) -> Played | None:
    """The run; None if it was interrupted."""
    if console.is_terminal and not console.is_dumb_terminal:
        live = LiveWatcher(console)
        showing: AbstractContextManager[object] = live
        watcher: Watcher = live
    else:
        showing, watcher = nullcontext(), PlainWatcher(lambda line: print_line(console, line))
    with showing:
        return trio.run(
            _play_unless_interrupted,
            plan,
            watcher,
            directory,
            server_command,
            on_server,
            restrict_keyboard_interrupt_to_checkpoints=True,
        )


async def _play_unless_interrupted(
    plan: Plan, watcher: Watcher, directory: Path, server_command: Sequence[str], on_server: Callable[[str], None] | None
) -> Played | None:
    played: Played | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def wait_for_signal() -> None:
                await anext(signals)
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_for_signal)
            failure: SteadywireError | None = None
            try:
                played = await play(plan, watcher, directory, server_command=server_command, on_server=on_server)
            except SteadywireError as error:
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return played


def _keep(played: Played, directory: Path, console: Console) -> None:
    trace = directory / "trace.jsonl"
    played.trace.write(trace)
    print_line(console, f"kept for inspection: {trace}; the server's log and store are beside it")
