"""A portal: trio in a thread of its own, for code that does not run in trio. A notebook, a script, an interactive session.

    portal = TrioPortal()
    server = portal.enter(open_server(settings))         # an `async with` that stays open
    run_id = portal.call(create_run, server.url)         # an `await`
    cut = portal.start(line.outage, 4.0)                 # a task
    portal.close()                                       # ends everything, the last first

What is entered stays open from one cell of a notebook to the next, and goes on while a cell is busy or while nobody does
anything: its thread belongs to trio alone. What a call raises is raised where the call stands, and the portal goes on. A call
that is interrupted, or takes longer than its limit, is cancelled. Every wait has a limit, and closing has too, whatever is
going on inside; a program that forgets to close a portal ends all the same.

Everything that lives in trio is touched through the portal only: trio's objects know nothing of threads.
"""

import atexit
import contextlib
import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, TypeVarTuple, cast, overload

import trio

from reference.protocol.errors import LocalError

CALL_S_MAX = 30.0
"""How long a call may take, unless it says otherwise."""
CLOSE_S_MAX = 15.0
"""How long one thing may take to close, before it is cut."""
CUT_S_MAX = 2.0
"""And how long it may take to be cut, before it is left to itself."""
TASKS_MAX = 10_000
"""Calls, tasks and open contexts at the same time."""

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class PortalTimeout(LocalError, TimeoutError):
    """What was waited for took longer than its limit."""


class Running(Generic[T]):
    """Something that goes on in the portal's thread. Made by `TrioPortal.start`."""

    def __init__(self, what: str, portal: "TrioPortal") -> None:
        self._what = what
        self._portal = portal
        self._scope = trio.CancelScope()
        self.future: Future[T] = Future()
        """For the portal; others `wait`."""

    @property
    def is_done(self) -> bool:
        return self.future.done()

    def wait(self, timeout_s: float = CALL_S_MAX) -> T:
        """Its result, when there is one. Raises what it raised, PortalTimeout (it goes on), or CancelledError."""
        wait([self.future], timeout_s)
        if not self.future.done():
            raise PortalTimeout(f"{self._what} took longer than {timeout_s:g} s")
        return self.future.result()

    def cancel(self) -> None:
        """Ask it to end; returns at once."""
        with contextlib.suppress(LocalError):  # then the portal is closed, and it has ended
            self._portal.soon(self._scope.cancel)

    async def run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """For the portal: do it, and keep what comes of it."""
        try:
            with self._scope:
                result = function(*arguments)
                if inspect.isawaitable(result):
                    result = await result
                self.future.set_result(cast("T", result))
                return
            self.future.set_exception(CancelledError(f"{self._what} was cancelled"))
        except trio.Cancelled:
            self.future.set_exception(CancelledError(f"{self._what} was cut when its portal closed"))
            raise
        except BaseException as error:  # whatever it is, it is raised where the result is waited for
            self.future.set_exception(error)

    def __repr__(self) -> str:
        return f"<{self._what}: {'done' if self.is_done else 'running'}>"


class _Entered:
    """A context that is open, and the task that holds it."""

    def __init__(self, what: str, portal: "TrioPortal") -> None:
        self.what = what
        self.value: Future[Any] = Future()
        self.task: Running[None] = Running(what, portal)
        self._portal = portal
        self._leave = trio.Event()

    async def hold(self, manager: AbstractAsyncContextManager[Any]) -> None:
        async with manager as value:
            self.value.set_result(value)
            await self._leave.wait()

    def close(self) -> None:
        """Leave it and wait until it has closed. Raises what it raises."""
        try:
            self._portal.soon(self._leave.set)
            self.task.wait(CLOSE_S_MAX)
        except BaseException:
            self.task.cancel()
            wait([self.task.future], CUT_S_MAX)
            raise


class TrioPortal:
    """See the module. It is open from the beginning; a `with` block closes it, and so does the end of the program."""

    def __init__(self) -> None:
        self._entered: list[_Entered] = []
        self._running: dict[Running[Any], None] = {}
        self._is_closed = False
        ready: Future[tuple[trio.lowlevel.TrioToken, trio.Nursery]] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="trio portal", daemon=True)
        self._thread.start()
        self._token, self._nursery = ready.result(CALL_S_MAX)
        atexit.register(self.close)

    # ---- calling ----

    @overload
    def call(
        self, function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments, timeout_s: float = CALL_S_MAX
    ) -> T: ...
    @overload
    def call(self, function: Callable[[*Arguments], T], *arguments: *Arguments, timeout_s: float = CALL_S_MAX) -> T: ...
    def call(
        self, function: Callable[[*Arguments], Awaitable[T] | T], *arguments: *Arguments, timeout_s: float = CALL_S_MAX
    ) -> T:
        """Call a function in the portal's thread, await what it returns if that can be awaited, and return the result.

        Raises what it raises, and PortalTimeout; then, or when this thread is interrupted, it is cancelled.
        """
        task: Running[T] = Running(_name_of(function), self)
        try:
            self._start(task, function, arguments)
            return task.wait(timeout_s)
        except BaseException:
            task.cancel()
            raise

    @overload
    def start(self, function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> Running[T]: ...
    @overload
    def start(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> Running[T]: ...
    def start(self, function: Callable[[*Arguments], Awaitable[T] | T], *arguments: *Arguments) -> Running[T]:
        """The same without waiting for it. What is still running when the portal closes is cancelled."""
        task: Running[T] = Running(_name_of(function), self)
        self._start(task, function, arguments)
        return task

    # ---- contexts ----

    def enter(self, manager: AbstractAsyncContextManager[T], *, timeout_s: float = CALL_S_MAX) -> T:
        """Enter an asynchronous context and return its value; it stays open until `leave`, or until the portal closes.

        Raises what entering it raises, and PortalTimeout; then it is not open.
        """
        entered = _Entered(_name_of(getattr(manager, "func", type(manager))), self)
        self._start(entered.task, entered.hold, (manager,))
        try:
            wait([entered.value, entered.task.future], timeout_s, return_when=FIRST_COMPLETED)
            if not entered.value.done():
                if not entered.task.is_done:
                    raise PortalTimeout(f"opening {entered.what} took longer than {timeout_s:g} s")
                entered.task.wait(0)
            self._entered.append(entered)
        except BaseException:
            entered.task.cancel()
            raise
        return cast("T", entered.value.result())

    def leave(self, value: object) -> None:
        """Close the context that gave `value`. Raises what closing it raises, and LocalError if it is not open."""
        for entered in reversed(self._entered):
            if entered.value.result() is value:
                self._entered.remove(entered)
                entered.close()
                return
        raise LocalError(f"{value!r} was not entered through this portal, or is left already")

    # ---- the end ----

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        """Cancel what is running, close what is open, the last first, and end the thread. A second time does nothing.

        Everything is closed whatever happens; then the first error is raised.
        """
        if self._is_closed or threading.current_thread() is self._thread:
            return
        errors: list[Exception] = []
        held = {entered.task for entered in self._entered}
        for task in [task for task in tuple(self._running) if task not in held]:
            task.cancel()
        while self._entered:
            try:
                self._entered.pop().close()
            except Exception as error:
                errors.append(error)
        self._is_closed = True
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._nursery.cancel_scope.cancel)
        self._thread.join(CUT_S_MAX)
        atexit.unregister(self.close)
        if errors:
            raise errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.close()
        except Exception as closing:
            if error is None:
                raise
            error.add_note(f"and closing the portal: {closing!r}")

    # ---- inside ----

    def soon(self, function: Callable[[*Arguments], object], *arguments: *Arguments) -> None:
        """Call a function in the portal's thread that neither waits nor raises. Raises LocalError if the portal is closed."""
        if threading.current_thread() is self._thread:
            raise LocalError("this is the portal's own thread: what runs in trio awaits, and does not call through the portal")
        if self._is_closed:
            raise LocalError("this portal is closed; open another one")
        try:
            self._token.run_sync_soon(function, *arguments)
        except trio.RunFinishedError:
            raise LocalError("this portal has ended; open another one") from None

    def _start(self, task: Running[Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if len(self._running) >= TASKS_MAX:
            raise LocalError(f"{TASKS_MAX} tasks are running in this portal; wait for some, or cancel them")
        self.soon(self._spawn, task, function, arguments)
        self._running[task] = None
        task.future.add_done_callback(lambda _: self._running.pop(task, None))

    def _spawn(self, task: Running[Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            self._nursery.start_soon(task.run, function, arguments)
        except RuntimeError:  # the nursery has just closed
            task.future.set_exception(CancelledError("the portal was closed in this moment"))

    def _run(self, ready: "Future[tuple[trio.lowlevel.TrioToken, trio.Nursery]]") -> None:
        async def main() -> None:
            async with trio.open_nursery() as nursery:
                ready.set_result((trio.lowlevel.current_trio_token(), nursery))
                await trio.sleep_forever()

        trio.run(main)


def _name_of(function: object) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
