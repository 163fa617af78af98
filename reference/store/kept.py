"""What a store hands out stays bytes: the data of events, and of the entries of a run's state (`protocol.events.KeptData`).

A run that is loaded keeps what it is given. As objects, 64 KiB of nested JSON would be megabytes, and would be encoded anew for
each reader.
"""

from typing import cast

import msgspec

from reference.protocol.events import Data, Event, KeptData
from reference.protocol.records import RunState, StoredRun


class _KeptEvent(Event, frozen=True, rename="camel"):
    data: KeptData  # type: ignore[assignment] # stands where a type says Data


class _KeptState(msgspec.Struct, frozen=True):
    """As RunState has it in JSON."""

    grafts: dict[str, KeptData] = {}
    prunes: tuple[str, ...] = ()
    flags: tuple[KeptData, ...] = ()


_events = msgspec.json.Decoder(_KeptEvent)
_states = msgspec.json.Decoder(_KeptState)


def kept_data(text: str) -> Data:
    """Data from its JSON, without the white space that a database puts in."""
    return cast("Data", KeptData(msgspec.json.format(text, indent=-1).encode() if '": ' in text else text.encode()))


def kept_event(raw: bytes) -> Event:
    """An event from its JSON, which it holds."""
    return _events.decode(raw)


def kept_state(raw: bytes | str) -> RunState:
    """A state from its JSON, which it does not hold: entries come and go."""
    state = _states.decode(raw)
    grafts = {position: cast("Data", data.copy()) for position, data in state.grafts.items()}
    return RunState(grafts, state.prunes, tuple(cast("Data", data.copy()) for data in state.flags))


def parsed(stored: StoredRun) -> StoredRun:
    """The same with objects in place of bytes, for whoever looks into events."""
    return msgspec.json.decode(msgspec.json.encode(stored), type=StoredRun)
