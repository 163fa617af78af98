"""A silent client is closed; a server that did not read concludes nothing."""

import pytest

from reference.protocol import frames
from reference.protocol.actions import Close
from reference.protocol.errors import CloseCode
from reference.protocol.server.run import Run
from reference.protocol.states import ConnectionState

from .machines import BYSTANDER, closes, seconds, server_in

LIMIT_S = 35.0


def closed_at(run: Run, at_s: float) -> list[int]:
    run.handle_timeout(seconds(at_s))
    return sorted(number for number, code in closes(run.take_actions()) if code == CloseCode.HEARTBEAT_LOST)


def test_silence_is_judged_in_time() -> None:
    run = server_in(ConnectionState.LIVE)
    assert closed_at(run, LIMIT_S - 0.001) == []
    assert closed_at(run, LIMIT_S) == [1, BYSTANDER]


@pytest.mark.parametrize("late_s", [0.2, 1.0, 3600.0])
def test_unread_frames_are_read_before_a_silence_is_judged(late_s: float) -> None:
    run = server_in(ConnectionState.LIVE)
    now_s = LIMIT_S + late_s
    assert closed_at(run, now_s) == []
    run.receive_frame(1, frames.Ping(0), seconds(now_s + 0.5))
    assert not [action for action in run.take_actions() if isinstance(action, Close)]
    assert closed_at(run, now_s + 0.999) == []
    assert closed_at(run, now_s + 1) == [BYSTANDER], "it has had its time"
    assert closed_at(run, now_s + 0.5 + LIMIT_S) == [1]


def test_the_first_frame_that_is_read_does_not_condemn_the_others() -> None:
    run = server_in(ConnectionState.LIVE)
    run.receive_frame(1, frames.Ping(0), seconds(LIMIT_S + 60))
    run.receive_frame(BYSTANDER, frames.Ping(0), seconds(LIMIT_S + 60))
    assert closed_at(run, LIMIT_S + 62) == []
    assert run.connections == 2


def test_being_late_again_and_again_does_not_help_for_ever() -> None:
    run = server_in(ConnectionState.LIVE)
    assert closed_at(run, LIMIT_S + 5) == []
    assert closed_at(run, LIMIT_S + 10) == []
    assert closed_at(run, LIMIT_S + 11) == [1, BYSTANDER]
