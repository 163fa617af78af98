"""docs/protocol.md says what the code does, or these tests fail.

What can be read off the code is compared with the document, table by table: the frames and their fields, types and defaults; who
may say what when; codes and reactions; every setting. The examples are decoded. The clauses that the code cites exist.

When a table is wrong, the message shows the rows as the code has them.
"""

import re
import subprocess
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import pytest

from reference.protocol import config, errors, frames, states
from reference.protocol.client.health import quality_score
from reference.protocol.client.outcomes import FailureCode
from reference.protocol.events import (
    CURSOR_BYTES_MAX,
    DATA_DEPTH_MAX,
    DEFAULT_REGISTRY,
    KEY_CHARACTERS_MAX,
    KEY_FIELD,
    Event,
    EventClass,
)
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.records import ANSWERS_KEPT, RunState, Snapshot
from reference.protocol.server.connection import USER_ID_CHARACTERS_MAX
from reference.protocol.server.event_log import EventLog, ReadPosition
from reference.server.http import replay
from reference.server.http.answers import STATUSES
from tests.docs import document
from tests.docs.wire_types import NAMED, fields_of, spell_out

FRAMES: list[type[frames.Frame]] = [
    frame
    for union in (frames.ClientFrame, frames.ServerFrame, frames.RequestFrame, frames.AnswerFrame)
    for frame in typing.get_args(union)
]
PARTS: list[type[msgspec.Struct]] = [
    Event,
    RunState,
    frames.Limits,
    frames.Retry,
    frames.Report,
    frames.Recovery,
    frames.Message,
    errors.HttpProblem,
]
CONFIGS: list[type[msgspec.Struct]] = [config.ClientConfig, config.ServerConfig]


def tag_of(frame: type[frames.Frame]) -> str:
    tag = frame.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


def as_rows(rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def assert_rows(documented: Sequence[tuple[str, ...]], wanted: Sequence[tuple[str, ...]]) -> None:
    surplus = [row for row in documented if row not in wanted]
    missing = [row for row in wanted if row not in documented]
    assert (surplus, missing) == ([], []), f"docs/protocol.md has\n{as_rows(surplus)}\nand the code\n{as_rows(missing)}"
    assert list(documented) == list(wanted), "the rows stand in another order than in the code"


# Frames.


@pytest.mark.parametrize("frame", FRAMES, ids=tag_of)
def test_frame_table_is_as_the_code_has_it(frame: type[frames.Frame]) -> None:
    documented = [row[:3] for row in document.table(document.under(tag_of(frame)))]
    assert_rows(documented, fields_of(frame))


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_table_of_a_part_is_as_the_code_has_it(part: type[msgspec.Struct]) -> None:
    documented = [row[:3] for row in document.table(document.under(part.__name__))]
    assert_rows(documented, fields_of(part))


def test_every_frame_of_the_code_is_a_frame_of_the_document() -> None:
    said = set(frames.Frame.__subclasses__())
    assert said - {frames.RequestFailed} == set(FRAMES), "RequestFailed alone is never on the wire"


def test_named_types_have_the_bounds_of_the_code() -> None:
    wanted = [(name, spell_out(msgspec.inspect.type_info(kind))) for name, kind in NAMED.items()]
    assert_rows(document.table(document.clause("4.1")), wanted)


# Examples.


def decode_example(example: document.Example) -> msgspec.Struct:
    body = example.json.encode()
    match example.kind.split():
        case ["client"]:
            return frames.decode_client_frame(body)
        case ["server"]:
            return frames.decode_server_frame(body)
        case ["http", "polled"]:
            return frames.decode_answer(frames.PollRequest(), body)
        case ["http", "published"]:
            return frames.decode_answer(frames.PublishRequest(client_id="c"), body)
        case ["http", "publishMany"]:
            return frames.decode_publish_request(body, frames.FRAME_BYTES_MAX)
        case ["http", "problem"]:
            return msgspec.json.decode(body, type=errors.HttpProblem)
        case ["http", "event"]:
            return msgspec.json.decode(body, type=Event)
        case _:
            raise AssertionError(f"an example is marked {example.kind!r}; say who sends it")


@pytest.mark.parametrize("example", document.examples(), ids=lambda example: f"{example.kind}-{example.json[:28]}")
def test_example_decodes_and_says_nothing_that_is_ignored(example: document.Example) -> None:
    decoded = decode_example(example)
    said = msgspec.json.decode(example.json.encode())
    if not example.kind.startswith("http"):
        assert said.pop("type") == decoded.__struct_config__.tag
    known = msgspec.json.decode(frames.encode(decoded))
    known.pop("type", None)
    assert said == known, "an example must not have fields that decoding ignores, or leave its defaults in"


def test_every_frame_has_an_example() -> None:
    shown = {type(decode_example(example)) for example in document.examples()}
    assert set(FRAMES) - shown == {frames.PollRequest}, "a poll travels in a URL"


# Who may say what.


def frame_names(types: Iterable[type[frames.Frame]]) -> set[str]:
    return {tag_of(frame) for frame in types}


def test_the_server_takes_what_the_table_says() -> None:
    rows = {row[0]: set(row[1].split(", ")) - {"nothing"} for row in document.table(document.clause("3.7"))}
    assert rows == {state.value: frame_names(allowed) for state, allowed in states.SERVER_MAY_RECEIVE.items()}


def test_the_client_takes_what_the_table_says() -> None:
    all_but_welcome = frame_names(typing.get_args(frames.ServerFrame)) - {"welcome"}
    rows = {}
    for state, _, allowed in document.table(document.clause("3.9")):
        rows[state] = all_but_welcome if allowed == "all but welcome" else set(allowed.split(", ")) - {"nothing"}
    assert rows == {state.value: frame_names(allowed) for state, allowed in states.CLIENT_MAY_RECEIVE.items()}


# Codes.

REACTIONS = {
    errors.Reaction.RESUME: "resume",
    errors.Reaction.NEW_SESSION: "new session",
    errors.Reaction.NEW_TOKEN: "new token",
    errors.Reaction.STOP: "stop",
}


def test_close_codes_and_reactions() -> None:
    rows = [(row[0], row[1], row[4]) for row in document.table(document.clause("6.1"))]
    assert_rows(rows, [(str(code.value), code.name, REACTIONS[errors.reaction_to(code)]) for code in errors.CloseCode])
    assert {row[0] for row in document.table(document.clause("6.2"))} == set(REACTIONS.values())


def test_reserved_close_codes_are_never_sent() -> None:
    reserved = {row[1] for row in document.table(document.clause("6.1")) if row[2] == "-"}
    sources = [path.read_text() for path in (document.ROOT / "reference").rglob("*.py") if path.name != "errors.py"]
    # A code that is a key of a table (its status, its reaction) is not sent by that.
    sent = {
        code.name for code in errors.CloseCode if any(re.search(rf"CloseCode\.{code.name}\b(?!: )", text) for text in sources)
    }
    assert reserved == {code.name for code in errors.CloseCode} - sent


def test_http_statuses() -> None:
    assert_rows(document.table(document.clause("5.6")), [(f"{code:d}", f"{status}") for code, status in STATUSES.items()])


@pytest.mark.parametrize(
    ("code", "reaction"),
    [
        (4007, "resume"),
        (4199, "new session"),
        (4499, "stop"),
        (4500, "resume"),
        (1001, "resume"),
        (3000, "resume"),
        (None, "resume"),
    ],
)
def test_unknown_codes_are_judged_as_clause_6_3_says(code: int | None, reaction: str) -> None:
    assert REACTIONS[errors.reaction_to(code)] == reaction


def test_reject_codes() -> None:
    rows = [row[:2] for row in document.table(document.clause("6.7"))]
    assert_rows(rows, [(code.value, "yes" if code.is_retryable else "no") for code in errors.RejectCode])


def test_failure_codes() -> None:
    assert {row[0] for row in document.table(document.clause("6.8"))} == {code.value for code in FailureCode}


# Settings, and other numbers.


@pytest.mark.parametrize("settings", CONFIGS, ids=lambda settings: settings.__name__)
def test_every_setting_stands_there_with_its_default_and_bounds(settings: type[msgspec.Struct]) -> None:
    documented = [row[:3] for row in document.table(document.under(settings.__name__))]
    assert_rows(documented, [(name, default, kind) for name, kind, default in fields_of(settings)])


def words(number: str) -> str:
    """A clause, however its lines are broken."""
    return " ".join(document.clause(number).split())


def test_numbers_in_the_text() -> None:
    policy = FullJitter()
    formula = f"{policy.floor_s:g} s + U(0, min({policy.cap_s:g} s, {policy.base_s:g} s * {policy.factor:g}^(k - 1)))"
    assert formula in words("7.22")
    assert f"assumes {frames.FRAME_BYTES_MAX} bytes" in words("7.3")
    assert f"last {ANSWERS_KEPT} answers" in words("8.3")
    assert f"up to {frames.SERVER_FRAME_BYTES_MAX // 2**20} MiB" in words("3.2")
    assert f"at most {DATA_DEPTH_MAX} levels" in words("1.6")
    assert frames.SUBPROTOCOL in words("3.1")
    assert f"at most {CURSOR_BYTES_MAX} bytes" in words("4.4")
    assert f"a cursor has at most {CURSOR_BYTES_MAX} bytes" in words("9.4")
    assert f"1 to {USER_ID_CHARACTERS_MAX} characters" in words("9.4")
    assert f"1 to {replay.EVENTS_MAX}, {replay.EVENTS_MAX} by default" in words("5.5")
    assert f"at most {replay.BYTES_MAX // 2**20} MiB" in words("5.5")


def test_event_types() -> None:
    rows = {name: row[1:] for row in document.table(document.clause("1.3")) for name in re.findall("[A-Z_]{4,}", row[0])}
    for name, row in rows.items():
        event_class = DEFAULT_REGISTRY.class_of(name)
        assert event_class is not None
        assert row[0] == event_class.name.lower()
        is_critical, is_sequenced = event_class is EventClass.CRITICAL, event_class.is_sequenced
        assert [word == "yes" for word in row[1:4]] == [is_sequenced, is_sequenced, is_critical]
        if name in KEY_FIELD:
            assert row[4] == f"{KEY_FIELD[name]}, a string of 1 to {KEY_CHARACTERS_MAX} characters"
    assert rows.keys() >= {"GRAFT", "PRUNE", "FLAG", "CHAT", "USER_JOIN", "USER_LEAVE", "CURSOR_MOVE"}


def test_health_points() -> None:
    for latency, points, reconnections, stability in document.table(document.clause("7.33")):
        mean_ms = 10_000.0 if latency == "more" else float(latency.removesuffix(" ms"))
        count = 1000 if reconnections == "more" else int(reconnections)
        assert quality_score(mean_ms, count, 0.5) == pytest.approx(0.4 * float(points) + 0.3 * float(stability) + 15)


def test_places_are_decided_in_the_order_of_clause_8_14() -> None:
    events = tuple(Event("CHAT", "ada", 0, number, {}, False) for number in range(5, 11))
    log = EventLog("now", 10, Snapshot(7, RunState()), events, 6)
    asked: list[tuple[str | None, int]] = [("before", 99), ("now", 11), (None, 3), ("now", 4)]
    placed = [log.place(epoch, after, "snapshot") for epoch, after in asked]
    rows = document.table(document.clause("8.14"))
    assert [(row[1], row[2]) for row in rows] == [(place.outcome, place.reason or "none") for place in placed]
    assert [place.snapshot is not None for place in placed] == ["snapshot" in row[3] for row in rows]
    assert placed[-1] == ReadPosition("resumed", None, 4, None)


# Clauses and words.


def test_clauses_are_numbered_in_order_and_without_a_gap() -> None:
    numbers = document.clauses()
    assert document.sections() == sorted({section for section, _ in numbers})
    for section in document.sections():
        found = [clause for of, clause in numbers if of == section]
        assert found == list(range(1, len(found) + 1)), f"section {section}"
    assert numbers == sorted(numbers)


def test_clauses_that_the_document_cites_exist() -> None:
    numbers = {f"{section}.{clause}" for section, clause in document.clauses()}
    cited = set(re.findall(r"[(,;|] ?(?:\w+ )?(\d{1,2}\.\d{1,2})(?=[,;)]| \|)", document.prose()))
    defaults = {str(getattr(field, "default", "")) for settings in CONFIGS for field in msgspec.structs.fields(settings)}
    assert cited - numbers - defaults == set()


def test_clauses_that_the_code_cites_exist() -> None:
    numbers = {f"{section}.{clause}" for section, clause in document.clauses()} | {str(number) for number in document.sections()}
    listed = subprocess.run(["git", "ls-files", "*.py", "*.md"], cwd=document.ROOT, capture_output=True, text=True, check=False)
    for name in listed.stdout.splitlines():
        path = Path(document.ROOT, name)
        if not path.exists() or path == document.PROTOCOL:
            continue
        for cited in re.findall(r"\bprotocol(?:\.md)?,?(?: section| clause)? (\d{1,2}(?:\.\d{1,2})?)\b", path.read_text()):
            assert cited in numbers, f"{name} cites protocol {cited}"


def test_no_line_became_a_list_by_its_wrapping() -> None:
    assert re.findall(r"^(?:[*+-]|\d+[.)]) .*", document.prose(), re.MULTILINE) == []


def test_every_name_in_the_text_exists() -> None:
    known = {field.name for settings in CONFIGS for field in msgspec.structs.fields(settings)}
    known |= {state.value for state in states.ClientState} | {state.value for state in states.ConnectionState}
    known |= {code.value for code in (*errors.RejectCode, *FailureCode)} | set(typing.get_args(config.OutboxPolicy))
    assert document.code_words() - known == set()
