"""Presence counts sessions, not connections or users, and reports the latest state, not every change."""

import time

from hypothesis import given
from hypothesis import strategies as st

from reference.protocol.client.delivery import Roster
from reference.protocol.frames import Cursors, Presence
from reference.protocol.server.sessions import Attendance


def test_a_user_with_two_tabs_stays_until_the_second_has_left() -> None:
    attendance = Attendance(10)
    assert attendance.arrive("ann")
    attendance.take_presence(0)
    assert not attendance.arrive("ann"), "nobody needs to know of a second tab"
    assert not attendance.leave("ann")
    assert attendance.users == ("ann",)
    assert attendance.leave("ann")
    assert attendance.take_presence(5) == Presence(left=("ann",), server_time=5)
    assert not attendance.users
    assert attendance.take_presence(6) is None


def test_a_user_who_left_and_came_back_is_reported_as_present() -> None:
    attendance = Attendance(10)
    attendance.arrive("ann")
    attendance.take_presence(0)
    attendance.leave("ann")
    attendance.arrive("ann")
    assert attendance.take_presence(1) == Presence(joined=("ann",), server_time=1)


def test_a_user_who_left_and_came_back_has_no_cursor() -> None:
    """8.30. A new cursor replaces the one that readers know; without one they have to be told."""
    attendance = Attendance(10)
    for user in ("ann", "bob", "cem"):
        attendance.arrive(user)
        attendance.move_cursor(user, {"x": 1})
    attendance.take_presence(0)
    attendance.take_cursors(0)
    for user in ("ann", "bob", "cem"):
        attendance.leave(user)
    for user in ("ann", "bob"):
        attendance.arrive(user)
    attendance.move_cursor("bob", {"x": 2})
    assert attendance.take_returned(1) == Presence(left=("ann",), server_time=1)
    assert attendance.take_presence(1) == Presence(joined=("ann", "bob"), left=("cem",), server_time=1)
    attendance.leave("ann")
    attendance.arrive("ann")
    assert attendance.take_returned(2) is None, "nobody knows a cursor"


def test_a_user_who_joined_and_left_at_once_is_reported_as_left() -> None:
    attendance = Attendance(10)
    attendance.arrive("ann")
    attendance.leave("ann")
    assert attendance.take_presence(1) == Presence(left=("ann",), server_time=1)


def test_only_the_latest_cursor_is_sent_and_it_ends_with_its_user() -> None:
    attendance = Attendance(10)
    for user in ("ann", "bob"):
        attendance.arrive(user)
        attendance.move_cursor(user, {"x": 1})
    attendance.move_cursor("ann", {"x": 2})
    attendance.leave("bob")
    assert attendance.take_cursors(3) == Cursors(moved={"ann": {"x": 2}}, server_time=3)
    assert attendance.take_cursors(4) is None
    assert attendance.cursors == {"ann": {"x": 2}}
    assert attendance.full(9) == (Presence(full=("ann",), server_time=9), Cursors(full={"ann": {"x": 2}}, server_time=9))


def test_the_version_counts_the_frames_that_were_sent() -> None:
    attendance = Attendance(10)
    assert attendance.take_presence(0) is None
    assert attendance.version == 0
    attendance.arrive("ann")
    attendance.move_cursor("ann", {})
    attendance.take_presence(0)
    attendance.take_cursors(0)
    assert attendance.version == 2


def test_presence_names_so_many_users_and_no_more() -> None:
    attendance = Attendance(2)
    assert [attendance.arrive(user) for user in ("bob", "ann", "cat")] == [True, True, True]
    assert attendance.users == ("ann", "bob")
    assert attendance.take_presence(0) == Presence(joined=("bob", "ann"), server_time=0)
    assert [attendance.arrive(user) for user in ("dan", "eve")] == [False, False], "who is not named is not reported"
    assert not attendance.is_present("cat")
    assert not attendance.leave("cat"), "nobody has heard of them"
    assert attendance.leave("ann")
    assert attendance.take_presence(1) == Presence(joined=("dan",), left=("ann",), server_time=1)
    assert attendance.users == ("bob", "dan")
    assert not attendance.leave("eve")
    assert attendance.version == 2


def test_presence_can_be_switched_off() -> None:
    attendance = Attendance(0)
    assert not attendance.arrive("ann")
    assert attendance.users == ()
    assert attendance.take_presence(0) is None
    assert not attendance.leave("ann")


def test_a_storm_of_welcomes_does_not_sort_all_names_for_each() -> None:
    """Each arrival changes them, and each welcome asks for them: that took 80 times as long with 4000 users as with 100."""

    def took_s(users: int) -> float:
        names = [f"{number * 7919 % 10_007:05}" for number in range(1, users + 201)]
        attendance = Attendance(10_000)
        for name in names[:users]:
            attendance.arrive(name)
        began = time.process_time()
        for name in names[users:]:
            attendance.arrive(name)
            assert len(attendance.users) > users
        took = time.process_time() - began
        assert attendance.users == tuple(sorted(names))
        assert attendance.users is attendance.users
        for name in names[:users]:
            attendance.leave(name)
        assert attendance.users == tuple(sorted(names[users:]))
        return took

    assert min(took_s(4000) for _ in range(3)) < 15 * min(took_s(100) for _ in range(3))


STEPS = st.lists(
    st.tuples(st.sampled_from(("arrive", "leave", "move", "tell", "welcome")), st.sampled_from(("ann", "bob", "cat"))),
    min_size=12,
    max_size=40,
)


@given(STEPS)
def test_every_roster_agrees_with_the_attendance_once_it_was_sent(steps: list[tuple[str, str]]) -> None:
    attendance = Attendance(10)
    sessions = dict.fromkeys(("ann", "bob", "cat"), 0)
    early, late = Roster(), Roster()
    for at, (step, user) in enumerate([*steps, ("tell", "ann")]):
        if step == "arrive":
            attendance.arrive(user)
            sessions[user] += 1
        elif step == "leave" and sessions[user]:
            attendance.leave(user)
            sessions[user] -= 1
        elif step == "move" and attendance.is_present(user):
            attendance.move_cursor(user, {"x": at})
        elif step == "welcome":  # one reader is welcomed anew, perhaps between a change and its telling
            late.full(attendance.users, attendance.cursors, at)
        elif step == "tell":
            returned, presence, cursors = attendance.take_returned(at), attendance.take_presence(at), attendance.take_cursors(at)
            for roster in (early, late):
                for frame in (returned, presence):
                    if frame is not None:
                        roster.presence(frame)
                if cursors is not None:
                    roster.cursors(cursors)
            assert early.users == late.users == attendance.users
            assert early.positions == late.positions == attendance.cursors
        assert attendance.users == tuple(user for user, count in sessions.items() if count)
        assert set(attendance.cursors) <= set(attendance.users)
