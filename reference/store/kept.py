"""Stored data stay bytes: the data of events, and of the entries of a run's state (`protocol.events.KeptData`).

A loaded run keeps these values. As objects, 64 KiB of nested JSON would take megabytes, and would be encoded again for each
reader.
"""

from typing import cast

import msgspec

from reference.protocol.events import Data, Event, KeptData
from reference.protocol.records import RunState, StoredRun


class _KeptEvent(Event, frozen=True, rename="camel"):
    data: KeptData  # type: ignore[assignment]  # used where a type says Data


class _KeptState(msgspec.Struct, frozen=True):
    """RunState in its JSON form."""

    grafts: dict[str, KeptData] = {}
    prunes: tuple[str, ...] = ()
    flags: tuple[KeptData, ...] = ()


_events = msgspec.json.Decoder(_KeptEvent)
_states = msgspec.json.Decoder(_KeptState)


def kept_data(text: str) -> Data:
    """Data from its JSON, without the whitespace that a database adds."""
    return cast("Data", KeptData(msgspec.json.format(text, indent=-1).encode() if '": ' in text else text.encode()))


def kept_event(raw: bytes) -> Event:
    """An event from its JSON; it keeps the buffer alive."""
    return _events.decode(raw)


def kept_state(raw: bytes | str) -> RunState:
    """A state from its JSON; copies, because entries come and go."""
    state = _states.decode(raw)
    grafts = {position: cast("Data", data.copy()) for position, data in state.grafts.items()}
    return RunState(grafts, state.prunes, tuple(cast("Data", data.copy()) for data in state.flags))


def parsed(stored: StoredRun) -> StoredRun:
    """The same with objects in place of bytes, for code that reads the data of events."""
    return msgspec.json.decode(msgspec.json.encode(stored), type=StoredRun)
