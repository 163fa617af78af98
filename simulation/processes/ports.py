"""Ports for the server and the clients' access links that can be closed for a while and opened again.

A port chosen by the system is not suitable. While nothing listens on it, a connecting client may get the same number for its own
end, and is then connected to itself: the port is in use, and the server cannot come back. So these ports are below the range from
which systems choose.
"""

import os
import socket

from reference.protocol.errors import LocalError

FIRST, LAST = 20_000, 32_000
"""Linux chooses from 32768 on, others from 49152."""


class NoFreePort(LocalError):
    """Too few ports of this machine are free."""


def free_ports(count: int) -> list[int]:
    """`count` different ports on 127.0.0.1 on which nothing listens now. Raises NoFreePort."""
    first = os.getpid() * 211 % (LAST - FIRST)  # so that two runs do not look in the same place
    found: list[int] = []
    for step in range(LAST - FIRST):
        port = FIRST + (first + step) % (LAST - FIRST)
        if _is_free(port):
            found.append(port)
            if len(found) == count:
                return found
    raise NoFreePort(f"{count} free ports from {FIRST} to {LAST} are needed, {len(found)} were found; close what listens there")


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
