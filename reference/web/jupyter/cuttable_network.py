"""A network that one client's user can cut: what the button "Cut my network" does.

A client opens its streams with it (`connect(open_stream=...)`), so both transports use it. When it is cut, every stream ends as
if the connection had been reset, and no new one can be opened until it is restored.
"""

from collections.abc import Callable

import trio

from reference.client import open_tcp_stream


class CuttableNetwork:
    """Belongs to one trio run; `open_stream` is for `connect`."""

    def __init__(self) -> None:
        self._streams: set[_Stream] = set()
        self._is_cut = False

    @property
    def is_cut(self) -> bool:
        return self._is_cut

    def cut(self) -> None:
        """End every stream and refuse new ones."""
        self._is_cut = True
        for stream in tuple(self._streams):
            stream.cut()

    def restore(self) -> None:
        self._is_cut = False

    async def open_stream(self, host: str, port: int, tls: bool) -> trio.abc.Stream:
        """As OpenStream."""
        if self._is_cut:
            await trio.lowlevel.checkpoint()
            raise OSError("the network was cut here")
        opened = await open_tcp_stream(host, port, tls)
        stream = _Stream(opened, self._streams.discard)
        self._streams.add(stream)
        if self._is_cut:
            stream.cut()
        return stream


class _Stream(trio.abc.Stream):
    def __init__(self, inner: trio.abc.Stream, forget: Callable[["_Stream"], None]) -> None:
        self._inner = inner
        self._forget = forget
        self._is_cut = False
        self._waits: set[trio.CancelScope] = set()

    def cut(self) -> None:
        self._is_cut = True
        for scope in tuple(self._waits):
            scope.cancel()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._unless_cut():
            return await self._inner.send_all(data)
        raise self._broken()

    async def wait_send_all_might_not_block(self) -> None:
        with self._unless_cut():
            return await self._inner.wait_send_all_might_not_block()
        raise self._broken()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        with self._unless_cut():
            return await self._inner.receive_some(max_bytes)
        raise self._broken()

    async def aclose(self) -> None:
        self._forget(self)
        if self._is_cut:
            await trio.aclose_forcefully(self._inner)
        else:
            await self._inner.aclose()

    def _unless_cut(self) -> "_Wait":
        return _Wait(self._waits, self._is_cut)

    def _broken(self) -> trio.BrokenResourceError:
        return trio.BrokenResourceError("the network was cut here")


class _Wait:
    """A cancel scope that can be cancelled before it is entered; then it is cancelled from the beginning."""

    def __init__(self, waits: set[trio.CancelScope], is_too_late: bool) -> None:
        self._waits = waits
        self._scope = trio.CancelScope()
        if is_too_late:
            self._scope.cancel()

    def __enter__(self) -> None:
        self._waits.add(self._scope)
        self._scope.__enter__()

    def __exit__(self, *exception: object) -> bool:
        self._waits.discard(self._scope)
        return bool(self._scope.__exit__(*exception))  # type: ignore[arg-type]  # what `with` passes
