"""G7: everything that a machine keeps stays within its limit. Asked of every machine after every step."""

from collections.abc import Callable

from reference.protocol.client.session import ClientSession
from reference.protocol.server.run import Run
from reference.protocol.statistics import beyond

Note = Callable[[str, str], None]


def check(machine: ClientSession | Run, note: Note) -> None:
    """What one client session, or one run, keeps."""
    for held in beyond(machine.statistics().held):
        note("G7", f"{held.what}: {held.length}; the limit is {held.limit}")
