"""For any users and cursors of a run, a welcome and a poll's answer fit a client's limits (8.29, 9.4)."""

import pytest

from reference.protocol.config import ServerConfig
from reference.protocol.errors import ConfigError
from reference.protocol.frames import Cursors, Presence, encode
from reference.protocol.server.sessions import CURSORS_BYTES_MAX, NAMES_BYTES_MAX, Attendance


@pytest.mark.parametrize("name", ["{:08d}-89ab-cdef-0123-456789abcdef", "{:08d}" + "名" * 120], ids=["uuid", "long"])
def test_names_and_cursors_take_a_limited_part_of_a_frame(name: str) -> None:
    """7,000 users with long names, or 7,500 with cursors beside a large state, made frames that clients refused for ever."""
    attendance = Attendance(10_000)
    for number in range(10_000):
        attendance.arrive(name.format(number))
    for user in attendance.users:
        attendance.move_cursor(user, {"p": "x" * 500})
    presence, cursors = attendance.full(0)
    assert isinstance(presence, Presence)
    assert isinstance(cursors, Cursors)
    assert NAMES_BYTES_MAX * 0.7 < len(encode(presence)) < NAMES_BYTES_MAX + 1000
    assert CURSORS_BYTES_MAX * 0.9 < len(encode(cursors)) < CURSORS_BYTES_MAX + 1000


def test_who_leaves_makes_room_for_names_and_cursors() -> None:
    attendance = Attendance(10_000)
    users = [f"{number:08d}" + "名" * 120 for number in range(2_000)]
    for user in users:
        attendance.arrive(user)
    unnamed = [user for user in users if not attendance.is_present(user)]
    assert unnamed
    for user in attendance.users:
        attendance.move_cursor(user, {"p": "x" * 500})
        attendance.move_cursor(user, {"p": "y"})
    assert len(attendance.cursors) == len(attendance.users)
    for user in attendance.users:
        attendance.leave(user)
    assert set(unnamed) <= set(attendance.users)
    assert not attendance.cursors


def test_a_name_that_leaves_makes_room_for_one_as_long() -> None:
    """And for no more than that: the bytes of the other names still count."""
    attendance = Attendance(10_000)
    users = [f"{number:08d}" + "名" * 120 for number in range(2_000)]
    for user in users:
        attendance.arrive(user)
    named = len(attendance.users)
    assert named < len(users)
    for user in users[:3]:
        attendance.leave(user)
        assert len(attendance.users) == named


def test_a_cursor_may_fill_the_room_to_the_byte() -> None:
    attendance = Attendance(10_000)
    for user in ("ann", "bob"):
        attendance.arrive(user)
    attendance.move_cursor("ann", {"p": ""})
    taken_bytes, empty_bytes = len('"ann":{"p":""},'), len('"bob":{"p":""},')
    room = CURSORS_BYTES_MAX - taken_bytes - empty_bytes
    attendance.move_cursor("bob", {"p": "x" * (room + 1)})
    assert set(attendance.cursors) == {"ann"}
    attendance.move_cursor("bob", {"p": "x" * room})
    assert set(attendance.cursors) == {"ann", "bob"}


def test_a_state_and_a_batch_that_together_do_not_fit_an_answer_are_refused() -> None:
    ServerConfig(state_bytes_max=6 * 1024 * 1024)
    with pytest.raises(ConfigError, match=r"^state_bytes_max \+ batch_bytes_max = 7340032 exceeds .* a client takes 8 MiB"):
        ServerConfig(state_bytes_max=6 * 1024 * 1024, batch_bytes_max=1024 * 1024)
