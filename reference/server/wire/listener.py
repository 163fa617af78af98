"""Listening: accepts connections on a host and port, also when the system runs out of resources.

An accept loop meets three kinds of failure. The peer's (it has disconnected already): ignore it and go on. The system's
(no file descriptors, no memory): wait a little, because connections that end release them, and log it; the kernel keeps
the other connections waiting. Ours (the socket is not one): raise it. Only the last may end the loop.

Several connections are accepted at once, because after an outage a whole fleet reconnects within a second.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import trio

from reference.protocol.errors import SteadywireError
from reference.server.wire.front_door import OnProblem, Problem, ignore_problem
from reference.server.wire.limits import ListenLimits
from reference.server.wire.memory_stream import MemoryPushStream, memory_pair
from reference.server.wire.push_stream import Address, PushStream, SocketPushStream

_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NOT_A_LISTENER = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP)
_PORT_TRIES_MAX = 8  # to find a free port that is free on every address of the host

Serve = Callable[[PushStream], Awaitable[None]]
"""Serves one connection and raises nothing but cancellation, as `FrontDoor.serve`."""


class ListenError(SteadywireError):
    """The address cannot be listened on; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Listening:
    """The addresses on which the server listens, with the actual port if 0 was given."""

    addresses: tuple[Address, ...]

    @property
    def port(self) -> int:
        """The port, the same on every address."""
        return self.addresses[0][1]


async def listen(
    host: str | None,
    port: int,
    serve: Serve,
    *,
    limits: ListenLimits | None = None,
    on_problem: OnProblem = ignore_problem,
    nursery: trio.Nursery | None = None,
    task_status: "trio.TaskStatus[Listening]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections on `host` (None: every address of this machine) and `port` (0: a free one) until
    cancelled.

    Each connection is served in a task of `nursery`; without it, in one that is cancelled together with this. With
    `Nursery.start` it returns the addresses once connections are accepted. Raises ListenError.
    """
    limits = limits or ListenLimits()
    sockets = await open_sockets(host, port, limits)
    listening = Listening(tuple(listener.getsockname()[:2] for listener in sockets))
    async with trio.open_nursery() as own:
        for listener in sockets:
            own.start_soon(_accept_all, listener, serve, nursery or own, limits, on_problem)
        task_status.started(listening)


def connect_in_memory(nursery: trio.Nursery, serve: Serve, *, capacity_bytes: int | None = None) -> MemoryPushStream:
    """A client's end of a connection without a socket, whose other end is being served: for virtual time."""
    ours, theirs = memory_pair(capacity_bytes)
    nursery.start_soon(serve, ours)
    return theirs


async def open_sockets(host: str | None, port: int, limits: ListenLimits) -> list[socket.socket]:
    """Listening, non-blocking sockets for every address of `host`; raises ListenError."""
    where = f"{host or 'every address'}:{port}"
    if not 0 <= port <= 65535:
        raise ListenError(f"cannot listen on {where}: choose a port from 0 to 65535 (0 finds a free one)")
    try:
        found = await trio.socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise ListenError(f"cannot listen on {where}: {error}. Give a host name or an address of this machine") from error
    # Name services may repeat an address; the order is theirs.
    addresses = list(dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found))
    for tries_left in reversed(range(_PORT_TRIES_MAX)):
        try:
            return _bind_all(addresses, port, limits)
        except OSError as error:
            if port == 0 and error.errno == errno.EADDRINUSE and tries_left:
                continue  # the port that was free on one address is used on another
            raise ListenError(f"cannot listen on {where}: {_what_to_do(error, port)}") from error
    raise AssertionError("the last try returns or raises")


def _bind_all(
    addresses: Sequence[tuple[socket.AddressFamily, tuple[object, ...]]], port: int, limits: ListenLimits
) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, sockaddr in addresses:
            try:
                listener = _bind(family, (sockaddr[0], port, *sockaddr[2:]), limits)
            except OSError as error:
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                missing = error  # a machine without IPv6 may still resolve names to it
                continue
            sockets.append(listener)
            port = listener.getsockname()[1]
    except OSError:
        for listener in sockets:
            listener.close()
        raise
    if not sockets:
        raise missing or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return sockets


def _bind(family: socket.AddressFamily, sockaddr: tuple[object, ...], limits: ListenLimits) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Otherwise a restarted server waits a minute until the connections of the last one are forgotten.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if limits.send_buffer_bytes is not None:
            # Accepted sockets inherit it. Linux doubles the number for its own bookkeeping.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer_bytes)
        listener.bind(sockaddr)
        listener.listen(limits.backlog_connections)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _what_to_do(error: OSError, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program listens there; stop it, or choose another port (0 finds a free one)"
        case errno.EACCES | errno.EPERM:
            return f"not permitted; port {port} needs privileges, choose one from 1024 to 65535"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; use 127.0.0.1 for itself, 0.0.0.0 for every network"
        case _:
            return f"{error.strerror or error}"


async def _accept_all(
    listener: socket.socket, serve: Serve, nursery: trio.Nursery, limits: ListenLimits, on_problem: OnProblem
) -> None:
    # Close as soon as we are cancelled, while connections are still ending: no new client may queue up.
    with listener:
        await _accept_until_cancelled(listener, serve, nursery, limits, on_problem)


async def _accept_until_cancelled(
    listener: socket.socket, serve: Serve, nursery: trio.Nursery, limits: ListenLimits, on_problem: OnProblem
) -> None:
    while True:
        await trio.lowlevel.wait_readable(listener)
        for _ in range(limits.accept_burst_max):
            try:
                accepted, _ = listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _NOT_A_LISTENER:
                    raise
                if error.errno in _NO_RESOURCES:
                    with contextlib.suppress(Exception):  # a log that fails must not end the loop
                        on_problem(Problem(f"no connection accepted for {limits.accept_pause_s} s", error))
                    await trio.sleep(limits.accept_pause_s)
                    break
                continue  # the connection was over before it was accepted; accept(2) lists a dozen ways
            nursery.start_soon(serve, SocketPushStream(accepted), name="connection")  # trio would make a name for each of its own
