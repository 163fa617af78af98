"""Strategies for events and publishes."""

from hypothesis import strategies as st

from reference.protocol.events import DEFAULT_REGISTRY, KEY_FIELD, Data, Event, EventClass
from simulation.testing.frames import payloads

_USERS = ("ann", "ben", "cyd")
_FOLDED = ("GRAFT", "PRUNE", "FLAG")
_TIMESTAMP_MS = 1_700_000_000_000


@st.composite
def publishes(draw: st.DrawFn, event_types: tuple[str, ...] = (*_FOLDED, "CHAT"), keys: int = 3) -> tuple[str, Data]:
    """An event type and data for it, as an application publishes them: few keys, so that grafts meet."""
    event_type = draw(st.sampled_from(event_types))
    data = dict(draw(payloads()))
    if event_type in KEY_FIELD:
        data[KEY_FIELD[event_type]] = f"k{draw(st.integers(0, keys - 1))}"
    return event_type, data


@st.composite
def events(draw: st.DrawFn, sequence_number: int = 1) -> Event:
    """One sequenced event, valid in itself."""
    event_type, data = draw(publishes())
    is_critical = DEFAULT_REGISTRY.class_of(event_type) is EventClass.CRITICAL
    user = draw(st.sampled_from(_USERS))
    return Event(event_type, user, _TIMESTAMP_MS + sequence_number, sequence_number, data, is_critical)


@st.composite
def event_lists(draw: st.DrawFn, events_max: int = 20) -> list[Event]:
    """The events 1, 2, ... of one run."""
    return [draw(events(number)) for number in range(1, draw(st.integers(0, events_max)) + 1)]
