"""The page "Data dictionary": every frame, each field with its type, limit and default, who sends it, and its clause.

Types, limits and defaults come from the wire descriptions in `reference.protocol.frames`; the meaning of a field and the number
of the clause are those of docs/protocol.md, whose tables are tested against the same descriptions.
"""

import re
import typing
from collections.abc import Iterator

import msgspec

from reference.protocol import errors, frames
from reference.protocol.events import (
    CHAT,
    CURSOR_BYTES_MAX,
    CURSOR_MOVE,
    DATA_DEPTH_MAX,
    DEFAULT_REGISTRY,
    FLAG,
    GRAFT,
    KEY_CHARACTERS_MAX,
    KEY_FIELD,
    PRUNE,
    USER_JOIN,
    USER_LEAVE,
    Event,
)
from reference.protocol.records import RunState
from tests.docs import document
from tests.docs.wire_types import NAMED, fields_of, spell_out

SENDERS = (
    ("client, WebSocket", frames.ClientFrame),
    ("server, WebSocket", frames.ServerFrame),
    ("client, HTTP request", frames.RequestFrame),
    ("server, HTTP answer", frames.AnswerFrame),
)
EVENT_TYPES = (GRAFT, PRUNE, FLAG, CHAT, USER_JOIN, USER_LEAVE, CURSOR_MOVE)
PARTS: tuple[type[msgspec.Struct], ...] = (
    Event,
    RunState,
    frames.Limits,
    frames.Retry,
    frames.Report,
    frames.Recovery,
    frames.Message,
    errors.HttpProblem,
)


def page() -> str:
    """The page as MyST Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from (
        "# Data dictionary",
        "",
        "Every frame of the protocol, generated from its wire description (`reference/protocol/frames.py`). The rules are in the",
        "[protocol](../protocol.md); the clause of each frame and field is named.",
        "",
        f"A frame is one JSON object with a `type`, of at most {frames.FRAME_BYTES_MAX // 2**10} KiB from a client (by default)",
        f"and {frames.SERVER_FRAME_BYTES_MAX // 2**20} MiB from a server. *required* fields must be there; a field with the",
        "default *none* may be left out.",
        "",
        "| frame | sender | clause | about |",
        "|---|---|---|---|",
    )
    for sender, frame in _frames():
        yield f"| [`{_tag(frame)}`](#{_anchor(_tag(frame))}) | {sender} | {_clause(_tag(frame))} | {_about(frame)} |"
    yield from ("", "## Named types", "", "| type | is |", "|---|---|")
    yield from (f"| {name} | {_cell(spell_out(msgspec.inspect.type_info(kind)))} |" for name, kind in NAMED.items())
    yield from ("", "## Types of events", "", "| type | class | limit of its data |", "|---|---|---|")
    for name in EVENT_TYPES:
        kind = DEFAULT_REGISTRY.class_of(name)
        limits = [f"nested at most {DATA_DEPTH_MAX} deep"]
        if name in KEY_FIELD:
            limits.append(f"`{KEY_FIELD[name]}`: a string of 1 to {KEY_CHARACTERS_MAX} characters")
        if name == CURSOR_MOVE:
            limits.append(f"at most {CURSOR_BYTES_MAX} bytes")
        yield f"| `{name}` | {'' if kind is None else kind.value} | {'; '.join(limits)} |"
    yield from ("", "## Frames", "")
    for sender, frame in _frames():
        yield from (f"### {_tag(frame)}", "", f"Sent by: {sender}. Clause: {_clause(_tag(frame))}.", "", _about(frame), "")
        yield from _table(frame, _tag(frame))
    yield from ("## Parts of frames", "")
    for part in PARTS:
        yield from (f"### {part.__name__}", "", f"Clause: {_clause(part.__name__)}.", "")
        yield from _table(part, part.__name__)


def _table(kind: type[msgspec.Struct], heading: str) -> Iterator[str]:
    meanings = {row[0]: row[3] for row in document.table(document.under(heading))}
    fields = fields_of(kind)
    if not fields:
        yield from ("It has no fields.", "")
        return
    yield from ("| field | type and limit | default | meaning, clause |", "|---|---|---|---|")
    yield from (f"| `{name}` | {_cell(words)} | {default} | {_cell(meanings[name])} |" for name, words, default in fields)
    yield ""


def _frames() -> Iterator[tuple[str, type[frames.Frame]]]:
    for sender, union in SENDERS:
        yield from ((sender, frame) for frame in typing.get_args(union))


def _clause(heading: str) -> str:
    """The clause under which a table of docs/protocol.md stands: the last one before its heading."""
    (start,) = [found.start() for found in re.finditer(rf"^#+ {re.escape(heading)}$", document.prose(), re.MULTILINE)]
    return re.findall(r"^\*\*(\d+\.\d+)\*\*", document.prose()[:start], re.MULTILINE)[-1]


def _about(frame: type[frames.Frame]) -> str:
    text = " ".join((frame.__doc__ or "").split())
    return _cell(text) or _cell(_sentence(_tag(frame)))


def _sentence(tag: str) -> str:
    """The first sentence of the clause that defines a frame."""
    return " ".join(document.clause(_clause(tag)).split("\n\n")[0].split())


def _tag(frame: type[frames.Frame]) -> str:
    return str(frame.__struct_config__.tag)


def _anchor(heading: str) -> str:
    return heading.lower()


def _cell(text: str) -> str:
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else re.sub(r"([*_|<>$])", r"\\\1", piece) for piece in pieces)
