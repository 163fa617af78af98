"""The soak's verdicts: which memory counts as grown, and which clients count as slowed down."""

from collections.abc import Sequence

from tests.benchmarks.soak import KINDS, grown, slowed
from tests.fuzz.test_memory import UPGRADE


def _samples(**held: Sequence[float]) -> list[dict[str, float]]:
    return [dict(zip(held, values, strict=True)) for values in zip(*held.values(), strict=True)]


def test_what_grows_in_the_last_third_is_found() -> None:
    level, rises = [100.0] * 9, [100.0, 110.0, 120.0, 130.0, 140.0, 150.0, 160.0, 170.0, 180.0]
    rows, found = grown(_samples(tasks=level, descriptors=rises))
    assert [row.split("|")[1].strip() for row in rows] == ["tasks", "descriptors"]
    assert found == ["descriptors: 140, then 170"]
    assert not grown(_samples(tasks=[5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 14.0, 14.0, 14.0]))[1], "ten more are no growth"
    assert grown(_samples(**{"memory, MiB": [50.0] * 6 + [60.0] * 3}))[1] == ["memory, MiB: 50, then 60"]


def test_a_flood_is_held_against_the_quiet_minutes_beside_it() -> None:
    quiet, slow = [10.0] * 200, [10.0] * 190 + [35.0] * 10
    assert slowed(["", "pings", ""], {1: quiet, 2: quiet, 3: quiet}) == []
    (found,) = slowed(["", "pings", ""], {1: quiet, 2: slow, 3: quiet})
    assert found == "pings: p99 35.0 ms, 10.0 ms in the quiet minutes beside it"
    assert slowed(["", "pings", ""], {1: slow, 2: slow, 3: slow}) == []
    assert slowed(["", "pings", ""], {1: quiet, 3: quiet}), "no answer at all is no pass"


def test_every_kind_of_flood_speaks_to_the_server() -> None:
    for kind, pieces in KINDS.items():
        first = next(pieces())
        assert first == UPGRADE or first.startswith((b"POST ", b"GET ")), kind
