"""Statistics of an emulator, as frozen values for reports, tests and notebooks.

While a port is shut, the kernel refuses connections, so they are not counted here.
"""

from collections import deque
from dataclasses import asdict, dataclass

import trio

from simulation.scenario.faults import Fault


@dataclass(frozen=True, slots=True)
class AppliedFault:
    """A fault on a link, `at_s` seconds after the emulator was opened. `kind`: the fault's tag."""

    at_s: float
    kind: str
    client: str


ENTRIES_MAX = 100_000
"""Faults that are remembered; above it the oldest is forgotten."""


class FaultJournal:
    """The last ENTRIES_MAX faults that have begun, in order, timed from the journal's creation. An emulator's links share one."""

    def __init__(self) -> None:
        self.opened_at = trio.current_time()
        """On trio's clock, in seconds."""
        self._entries: deque[AppliedFault] = deque(maxlen=ENTRIES_MAX)

    def note(self, fault: Fault, client: str) -> None:
        kind = str(type(fault).__struct_config__.tag)
        self._entries.append(AppliedFault(trio.current_time() - self.opened_at, kind, client))

    @property
    def entries(self) -> tuple[AppliedFault, ...]:
        return tuple(self._entries)


@dataclass(slots=True)
class Counters:
    """The running counts of one link; LinkStatistics has their meaning."""

    connections_opened: int = 0
    connections_established: int = 0
    connections_refused: int = 0
    connections_abandoned: int = 0
    connections_cut: int = 0
    connections_silenced: int = 0
    connections_reset: int = 0
    upgrades_refused: int = 0
    bytes_to_server: int = 0
    bytes_to_client: int = 0


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """One link since it was added.

    connections_opened: accepted from the client. connections_established: the server accepted it too.
    connections_refused: the server could not be reached, so the client's connection was reset.
    connections_abandoned: the client gave up before an outage let its connection through. connections_cut: by a fault.
    connections_silenced: made half-open. connections_reset: one end reset it, and the other was notified. upgrades_refused:
    answered with 403, stripped or not answered by the proxy. connections_open: now. bytes_to_server,
    bytes_to_client: delivered. bytes_held: on the way, both directions.
    """

    client: str
    port: int | None
    connections_open: int
    bytes_held: int
    connections_opened: int
    connections_established: int
    connections_refused: int
    connections_abandoned: int
    connections_cut: int
    connections_silenced: int
    connections_reset: int
    upgrades_refused: int
    bytes_to_server: int
    bytes_to_client: int

    @classmethod
    def of(cls, counters: Counters, *, client: str, port: int | None, connections_open: int, bytes_held: int) -> "LinkStatistics":
        return cls(
            client=client,
            port=port,
            connections_open=connections_open,
            bytes_held=bytes_held,
            **asdict(counters),
        )


@dataclass(frozen=True, slots=True)
class EmulatorStatistics:
    """All links in the order in which they were added, and all faults in the order in which they began."""

    links: tuple[LinkStatistics, ...]
    faults: tuple[AppliedFault, ...]
