"""The strategies draw what they say, all of it, and shrink to what a person would have written."""

import msgspec
import pytest
from hypothesis import Phase, find, given, settings

from reference.protocol.events import DEFAULT_REGISTRY, Data, Event, check_data
from simulation import strategies
from simulation.hostile import steps
from simulation.strategies import frames

_AS_DRAWN = settings(database=None, phases=[Phase.generate], derandomize=True)
_SHRUNK = settings(database=None, derandomize=True, max_examples=2000)


@given(strategies.payloads())
def test_payloads_are_such_as_a_client_may_publish(data: Data) -> None:
    check_data(data)


@given(strategies.histories())
def test_histories_are_what_a_run_could_have(history: list[Event]) -> None:
    assert [event.sequence_number for event in history] == list(range(1, len(history) + 1))
    for event in history:
        DEFAULT_REGISTRY.check_publish(event.event_type, event.data)


@pytest.mark.parametrize("frame_type", frames.SERVER_FRAMES + frames.CLIENT_FRAMES + frames.ANSWER_FRAMES)
def test_every_field_of_a_frame_varies(frame_type: type[msgspec.Struct]) -> None:
    drawn = frames.frames_of(frame_type)
    for field in msgspec.structs.fields(frame_type):
        if field.default is not msgspec.NODEFAULT:
            find(drawn, lambda frame, field=field: getattr(frame, field.name) != field.default, settings=_AS_DRAWN)


@pytest.mark.slow
def test_schedules_are_long_and_shrink_to_nothing() -> None:
    assert len(find(strategies.schedules(), lambda schedule: len(schedule) >= 30, settings=_AS_DRAWN)) >= 30
    assert find(strategies.schedules(), lambda _: True, settings=_SHRUNK) == []


@pytest.mark.slow
def test_a_schedule_shrinks_to_the_one_step_that_matters() -> None:
    def crashes(schedule: list[steps.Step]) -> bool:
        return any(isinstance(step, steps.Crash) for step in schedule)

    assert find(strategies.schedules(), crashes, settings=_SHRUNK) == [steps.Crash(0, True)]
