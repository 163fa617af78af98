"""A client's observations, and the conclusions about its network."""

import pytest

from reference.protocol.states import ClientState, Transport
from simulation.replay.conclusions import Assumption, concluded_faults
from simulation.scenario.faults import BlockUpgrade, Fault, HalfOpen, Outage, Refuse, Reset
from simulation.trace.trace import AttemptMade, ConnectionLeft, ConnectionLost, Delivered, Record, StateTurned

S = 10**9


def recording(*records: Record) -> list[Record]:
    return [turned(ClientState.CONNECTING, 0), tried(1, 0), turned(ClientState.LIVE, 1), *records]


def tried(number: int, at_s: float) -> AttemptMade:
    return AttemptMade(at=round(at_s * S), client="me", connection_id=number, transport=Transport.WEBSOCKET)


def ended(number: int, at_s: float, *, by_client: bool = False, code: int | None = None) -> ConnectionLeft | ConnectionLost:
    kind = ConnectionLeft if by_client else ConnectionLost
    return kind(at=round(at_s * S), client="me", connection_id=number, code=code)


def turned(state: ClientState, at_s: float) -> StateTurned:
    return StateTurned(at=round(at_s * S), client="me", state=state, is_carried=state.has_websocket or state.is_polling)


def came(at_s: float) -> Delivered:
    return Delivered(at=round(at_s * S), client="me", epoch="E", sequence_number=1, event_type="CHAT", size_bytes=10)


WAITING, LIVE, POLLING = ClientState.WAITING, ClientState.LIVE, ClientState.POLLING
LOST = (came(5), ended(1, 8), turned(WAITING, 8))
SILENT = (came(5), ended(1, 8, by_client=True), turned(WAITING, 8))
BACK = (tried(9, 30), turned(LIVE, 31))


@pytest.mark.parametrize(
    ("met", "earliest", "latest"),
    [
        ((*LOST, *BACK), [Reset(at_s=8)], [Reset(at_s=8)]),
        ((*SILENT, *BACK), [HalfOpen(at_s=5)], [HalfOpen(at_s=5)]),
        (
            (*LOST, tried(2, 10), ended(2, 10.1), *BACK),
            [Reset(at_s=8), Refuse(at_s=8, duration_s=2.1)],
            [Reset(at_s=8), Refuse(at_s=8, duration_s=22)],
        ),
        (
            (*SILENT, tried(2, 10), ended(2, 20, by_client=True), *BACK),
            [Outage(at_s=5, duration_s=15)],
            [Outage(at_s=5, duration_s=25)],
        ),
        (
            (*LOST, tried(2, 10), ended(2, 10.1), turned(POLLING, 10.1), tried(3, 15), ended(3, 15.1), *BACK),
            [BlockUpgrade(at_s=8, duration_s=7.1)],
            [BlockUpgrade(at_s=8, duration_s=22)],
        ),
        ((came(5),), [], []),
        (
            (came(5), ended(1, 8, by_client=True, code=1000), turned(ClientState.CLOSED, 8)),
            [],
            [],
        ),
        (
            (*LOST, tried(2, 10), ended(2, 10.1), came(40)),
            [Reset(at_s=8), Refuse(at_s=8, duration_s=2.1)],
            [Reset(at_s=8), Refuse(at_s=8, duration_s=32)],
        ),
    ],
)
def test_conclusions(met: tuple[Record, ...], earliest: list[Fault], latest: list[Fault]) -> None:
    expected: dict[Assumption, list[Fault]] = {"earliest": earliest, "latest": latest}
    for assumption, faults in expected.items():
        assert rounded(concluded_faults(recording(*met), assumption)) == rounded(faults)


def rounded(faults: object) -> list[tuple[str, float, float]]:
    return [(type(fault).__name__, fault.at_s, round(getattr(fault, "duration_s", 0), 6)) for fault in faults]  # type: ignore[attr-defined]  # any fault


def test_a_record_that_begins_in_the_middle() -> None:
    records = [turned(LIVE, 0), came(5), ended(1, 8), turned(WAITING, 8), tried(2, 10), turned(LIVE, 11)]
    assert list(concluded_faults(records, "earliest")) == [Reset(at_s=8)]
