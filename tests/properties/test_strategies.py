"""The strategies draw what they say, and all of it."""

import msgspec
import pytest
from hypothesis import Phase, find, given, settings

from reference.protocol.events import Data, check_data

from . import strategies
from .schedules import schedules

_FOUND_AS_DRAWN = settings(database=None, phases=[Phase.generate])
"""Whether it is drawn at all is the question; shrinking it would take minutes."""


@given(strategies.data_objects)
def test_payloads_are_such_as_a_client_may_publish(data: Data) -> None:
    check_data(data)


@pytest.mark.parametrize("frame_type", strategies.SERVER_FRAMES + strategies.CLIENT_FRAMES + strategies.ANSWER_FRAMES)
def test_every_field_of_a_frame_varies(frame_type: type[msgspec.Struct]) -> None:
    drawn = strategies.frames_of(frame_type)
    for field in msgspec.structs.fields(frame_type):
        if field.default is not msgspec.NODEFAULT:
            find(drawn, lambda frame, field=field: getattr(frame, field.name) != field.default, settings=_FOUND_AS_DRAWN)


def test_schedules_are_long_and_shrink_to_nothing() -> None:
    assert len(find(schedules(), lambda schedule: len(schedule) >= 30, settings=_FOUND_AS_DRAWN)) >= 30
    assert find(schedules(), lambda _: True) == []
