"""A portal: trio in a background thread, for code that does not run in trio, such as a notebook or a script.

    portal = TrioPortal()
    server = portal.enter(open_server(settings))         # an `async with` that stays open
    run_id = portal.call(create_run, server.url)         # an `await`
    cut = portal.start(line.outage, 4.0)                 # a task
    portal.close()                                       # ends everything, in reverse order

An entered context stays open from one cell of a notebook to the next, and runs on while a cell is busy or the notebook is idle:
the thread belongs to trio alone. An exception in a call is raised by that call, and the portal goes on. A call that is
interrupted, or takes longer than its limit, is cancelled. Every wait has a limit, including closing; a program that does not
close a portal ends all the same.

Use trio's objects only through the portal: they are not thread-safe.
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
"""The default limit of a call."""
CLOSE_S_MAX = 15.0
"""How long one task or context may take to close, before it is cancelled."""
CUT_S_MAX = 2.0
"""How long it may take to end after that, before it is abandoned."""
TASKS_MAX = 10_000
"""The limit of calls, tasks and open contexts at the same time."""

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class PortalTimeout(LocalError, TimeoutError):
    """A wait took longer than its limit."""


class Running(Generic[T]):
    """A task in the portal's thread. Created by `TrioPortal.start`."""

    def __init__(self, what: str, portal: "TrioPortal") -> None:
        self._what = what
        self._portal = portal
        self._scope = trio.CancelScope()
        self.future: Future[T] = Future()
        """Set by the portal; callers use `wait`."""

    @property
    def is_done(self) -> bool:
        return self.future.done()

    def wait(self, timeout_s: float = CALL_S_MAX) -> T:
        """Wait for its result. Raises what the task raised, PortalTimeout (the task goes on), or CancelledError."""
        wait([self.future], timeout_s)
        if not self.future.done():
            raise PortalTimeout(f"{self._what} took longer than {timeout_s:g} s")
        return self.future.result()

    def cancel(self) -> None:
        """Cancel it; returns at once."""
        with contextlib.suppress(LocalError):  # the portal is closed, so the task has ended
            self._portal.soon(self._scope.cancel)

    async def run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Called by the portal: run the function, and keep its result."""
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
        except BaseException as error:  # any exception is raised where the result is awaited
            self.future.set_exception(error)

    def __repr__(self) -> str:
        return f"<{self._what}: {'done' if self.is_done else 'running'}>"


class _Entered:
    """An open context, and the task that holds it."""

    def __init__(self, what: str, portal: "TrioPortal", closing_s: float) -> None:
        self.what = what
        self._closing_s = closing_s
        self.value: Future[Any] = Future()
        self.task: Running[None] = Running(what, portal)
        self._portal = portal
        self._leave = trio.Event()

    async def hold(self, manager: AbstractAsyncContextManager[Any]) -> None:
        async with manager as value:
            self.value.set_result(value)
            await self._leave.wait()

    def close(self) -> None:
        """Leave the context and wait until it has closed. Raises what it raises."""
        try:
            self._portal.soon(self._leave.set)
            self.task.wait(CLOSE_S_MAX + self._closing_s)
        except BaseException:
            self.task.cancel()
            wait([self.task.future], CUT_S_MAX)
            raise


class TrioPortal:
    """See the module. A portal is open when it is created; a `with` block closes it, and so does the end of the program."""

    def __init__(self) -> None:
        self._entered: list[_Entered] = []
        self._running: dict[Running[Any], None] = {}
        self._is_closed = False
        ready: Future[tuple[trio.lowlevel.TrioToken, trio.Nursery]] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="trio portal", daemon=True)
        self._thread.start()
        self._token, self._nursery = ready.result(CALL_S_MAX)
        atexit.register(self.close)

    # ---- calls ----

    @overload
    def call(
        self, function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments, timeout_s: float = CALL_S_MAX
    ) -> T: ...
    @overload
    def call(self, function: Callable[[*Arguments], T], *arguments: *Arguments, timeout_s: float = CALL_S_MAX) -> T: ...
    def call(
        self, function: Callable[[*Arguments], Awaitable[T] | T], *arguments: *Arguments, timeout_s: float = CALL_S_MAX
    ) -> T:
        """Call a function in the portal's thread, await its result if it is awaitable, and return the result.

        Raises what the function raises, and PortalTimeout; after a timeout or an interrupt of this thread, it is cancelled.
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
        """The same without waiting. Tasks still running when the portal closes are cancelled."""
        task: Running[T] = Running(_name_of(function), self)
        self._start(task, function, arguments)
        return task

    # ---- contexts ----

    def enter(self, manager: AbstractAsyncContextManager[T], *, timeout_s: float = CALL_S_MAX, closing_s: float = 0.0) -> T:
        """Enter an asynchronous context and return its value; it stays open until `leave`, or until the portal closes.
        `closing_s`: how long it may wait when it is left, in addition to CLOSE_S_MAX.

        Raises what entering it raises, and PortalTimeout; in both cases it is not open.
        """
        entered = _Entered(_name_of(getattr(manager, "func", type(manager))), self, closing_s)
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
        """Close the context that returned `value`. Raises what closing it raises, and LocalError if it is not open."""
        for entered in reversed(self._entered):
            if entered.value.result() is value:
                self._entered.remove(entered)
                entered.close()
                return
        raise LocalError(f"{value!r} was not entered through this portal, or is left already")

    # ---- closing ----

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        """Cancel running tasks, close open contexts in reverse order, and end the thread. Calling it again does nothing.

        Everything is closed even after an error; then the first error is raised.
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

    # ---- internal ----

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
