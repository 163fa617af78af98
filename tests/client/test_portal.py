"""Trio in a thread: the results of calls, the state after an error or an interruption, and the end."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio

from reference.client.without_trio import portal as portal_module
from reference.client.without_trio.portal import PortalTimeout, TrioPortal
from reference.protocol.errors import LocalError

WAIT_S_MAX = 10.0


@pytest.fixture
def portal() -> Iterator[TrioPortal]:
    with TrioPortal() as portal:
        yield portal
    assert "trio portal" not in [thread.name for thread in threading.enumerate()]


class Diary:
    """What happened to a few contexts and tasks, in order; `happened` tells a waiting test of the newest."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()

    def note(self, line: str) -> None:
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    def wait_for(self, line: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: line in self.lines, WAIT_S_MAX), f"never {line}: {self.lines}"

    @asynccontextmanager
    async def context(self, name: str, error: Exception | None = None) -> AsyncIterator[str]:
        self.note(f"{name} opens")
        try:
            yield name
            await trio.lowlevel.checkpoint()
            if error is not None:
                raise error
        finally:
            self.note(f"{name} closes")

    async def task(self, name: str) -> None:
        self.note(f"{name} starts")
        try:
            await trio.sleep_forever()
        finally:
            self.note(f"{name} ends")


def test_calls_give_results_and_errors_and_the_portal_goes_on(portal: TrioPortal) -> None:
    async def halve(number: int) -> int:
        await trio.lowlevel.checkpoint()
        if number % 2:
            raise ValueError(f"{number} is odd")
        return number // 2

    assert portal.call(halve, 6) == 3
    assert portal.call(threading.current_thread) is not threading.main_thread()
    with pytest.raises(ValueError, match="7 is odd"):
        portal.call(halve, 7)
    with pytest.raises(SystemExit):
        portal.call(sys.exit, 3)
    assert portal.call(halve, 8) == 4


def test_tasks_go_on_between_calls(portal: TrioPortal) -> None:
    diary = Diary()
    task = portal.start(diary.task, "task")
    diary.wait_for("task starts")
    assert not task.is_done
    assert portal.call(lambda: "something else") == "something else"
    task.cancel()
    with pytest.raises(portal_module.CancelledError):
        task.wait(WAIT_S_MAX)
    assert diary.lines == ["task starts", "task ends"]


def test_a_call_that_takes_too_long_is_cancelled(portal: TrioPortal) -> None:
    diary = Diary()
    with pytest.raises(PortalTimeout, match=r"took longer than 0.05 s"):
        portal.call(diary.task, "task", timeout_s=0.05)
    diary.wait_for("task ends")
    with pytest.raises(PortalTimeout, match=r"took longer than 0.05 s"):
        portal.start(diary.task, "task that may go on").wait(0.05)
    assert "task that may go on ends" not in diary.lines


def test_an_interrupted_call_is_cancelled(portal: TrioPortal) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        interrupt_a_call(portal)
    finally:
        signal.signal(signal.SIGINT, before)


def interrupt_a_call(portal: TrioPortal) -> None:
    diary = Diary()

    def interrupt() -> None:
        diary.wait_for("task starts")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # as the keyboard does, and a kernel's manager

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        portal.call(diary.task, "task")
    thread.join()
    diary.wait_for("task ends")
    assert portal.call(lambda: 1) == 1


def test_contexts_stay_open_and_close_the_last_first() -> None:
    diary = Diary()
    with TrioPortal() as portal:
        assert portal.enter(diary.context("server")) == "server"
        portal.enter(diary.context("client"))
        portal.start(diary.task, "task")
        diary.wait_for("task starts")
    assert diary.lines == ["server opens", "client opens", "task starts", "task ends", "client closes", "server closes"]
    assert portal.is_closed
    portal.close()


def test_a_context_can_be_left_alone(portal: TrioPortal) -> None:
    diary = Diary()
    portal.enter(diary.context("server"))
    portal.enter(diary.context("client"))
    portal.leave("server")
    assert diary.lines[-1] == "server closes"
    with pytest.raises(LocalError, match="left already"):
        portal.leave("server")


def test_a_context_that_cannot_be_entered(portal: TrioPortal) -> None:
    @asynccontextmanager
    async def broken(error: Exception | None) -> AsyncIterator[None]:
        if error is not None:
            raise error
        await trio.sleep_forever()
        yield

    with pytest.raises(OSError, match="port in use"):
        portal.enter(broken(OSError("port in use")))
    with pytest.raises(PortalTimeout, match=r"opening .*broken took longer than 0\.05 s"):
        portal.enter(broken(None), timeout_s=0.05)


def test_errors_at_the_end_do_not_keep_others_open() -> None:
    diary = Diary()
    portal = TrioPortal()
    portal.enter(diary.context("server"))
    portal.enter(diary.context("client", OSError("first")))
    portal.enter(diary.context("other", OSError("second")))
    with pytest.raises(OSError, match="second"):
        portal.close()
    assert diary.lines[-3:] == ["other closes", "client closes", "server closes"]


def test_an_error_in_the_block_comes_out_as_it_is() -> None:
    diary = Diary()
    portal = TrioPortal()
    portal.enter(diary.context("client", OSError("while closing")))
    with pytest.raises(ZeroDivisionError) as caught, portal:
        _ = 1 / 0
    assert diary.lines == ["client opens", "client closes"]
    assert caught.value.__notes__ == ["and closing the portal: OSError('while closing')"]


def test_closing_is_bounded_whatever_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal_module, "CLOSE_S_MAX", 0.05)
    monkeypatch.setattr(portal_module, "CUT_S_MAX", 0.05)
    is_over = threading.Event()

    @asynccontextmanager
    async def stubborn() -> AsyncIterator[None]:
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(is_over.wait)

    portal = TrioPortal()
    portal.enter(stubborn())
    with pytest.raises(PortalTimeout, match="stubborn took longer"):
        portal.close()
    is_over.set()

    portal, is_over = TrioPortal(), threading.Event()
    with pytest.raises(PortalTimeout):
        portal.call(is_over.wait, timeout_s=0.05)  # trio's own thread is stuck, so nothing can be cancelled
    begun = time.monotonic()
    portal.close()
    assert time.monotonic() - begun < 5
    is_over.set()


def test_mistakes(portal: TrioPortal, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LocalError, match="own thread"):
        portal.call(portal.call, len, "")
    monkeypatch.setattr(portal_module, "TASKS_MAX", 2)
    tasks = [portal.start(trio.sleep_forever) for _ in range(2)]
    with pytest.raises(LocalError, match="2 tasks are running"):
        portal.start(trio.sleep_forever)
    for task in tasks:
        task.cancel()
        with contextlib.suppress(portal_module.CancelledError):
            task.wait(WAIT_S_MAX)
    assert portal.call(len, "ab") == 2
    closed = TrioPortal()
    closed.close()
    with pytest.raises(LocalError, match="closed"):
        closed.call(len, "")


def test_a_program_that_forgets_to_close() -> None:
    program = """
import contextlib, trio
from reference.client.without_trio.portal import TrioPortal

@contextlib.asynccontextmanager
async def server():
    yield
    print("closed")

TrioPortal().enter(server())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "closed\n", "")
