"""JSON that a server keeps as bytes is checked as decoded values are (1.6), at a small cost for any shape."""

import contextlib
import json
import math
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reference.protocol import frames
from reference.protocol.errors import CloseCode, InvalidEvent, RemoteError
from reference.protocol.events import (
    _FLOAT_DIGITS,
    _SUSPECT,
    DATA_DEPTH_MAX,
    DEFAULT_REGISTRY,
    KeptData,
    _suspects,
    check_data,
    check_json,
    key_of,
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["\0", "\\u0000", "1e999", '"[[[', "\\", '\\"', "99999999999999999999"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4))
)


def is_taken(value: Any) -> bool:
    try:
        check_data(value)
    except InvalidEvent:
        return False
    return True


def is_kept(raw: bytes) -> bool:
    try:
        check_json(raw, DATA_DEPTH_MAX)
    except InvalidEvent:
        return False
    return True


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_bytes_are_judged_as_objects_are(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps({"x": value}, ensure_ascii=ascii_only, indent=indent)
    with contextlib.suppress(UnicodeEncodeError):
        assert is_kept(text.encode()) is is_taken({"x": value}), text


@given(st.integers(0, 3), st.integers(25, 40), st.sampled_from(["[]", "{}"]))
@example(0, DATA_DEPTH_MAX, "{}")
@example(0, DATA_DEPTH_MAX + 1, "[]")
def test_levels_are_counted_alike(wide: int, levels: int, innermost: str) -> None:
    text = innermost
    for level in range(levels - 1):
        text = f"[{text}]" if level % 2 else '{"[": ' + ", ".join([text, *(['"b": [1]'] * wide)][:1]) + ', "c": {"]": "{"}}'
    assert is_kept(text.encode()) is is_taken(json.loads(text)) is (levels <= DATA_DEPTH_MAX)


@pytest.mark.parametrize("innermost", ["1", '"["', "[]", "{}", "[ ]", '["a"]', '{"a": "{}"}', '[{}, ""]'])
@pytest.mark.parametrize("steps", range(DATA_DEPTH_MAX - 2, DATA_DEPTH_MAX + 2))
@pytest.mark.parametrize("indent", [None, 1])
def test_the_innermost_value_may_be_empty_but_no_value_is_too_far_away(innermost: str, steps: int, indent: int | None) -> None:
    value = json.loads(innermost)
    for step in range(steps):
        value = [value] if step % 2 else {"in": value}
    has_content = value_is_full(json.loads(innermost))
    assert is_kept(json.dumps(value, indent=indent).encode()) is is_taken(value) is (steps + has_content <= DATA_DEPTH_MAX)


def value_is_full(value: Any) -> bool:
    """There is a value in it."""
    return isinstance(value, list | dict) and bool(value)


@pytest.mark.parametrize(
    ("number", "is_good"),
    [
        ("9223372036854775807", True),
        ("9223372036854775808", False),
        ("-9223372036854775808", True),
        ("-9223372036854775809", False),
        ("1" * 60_000, False),
        ("0." + "1" * 60_000, True),
        ("1" * 400 + ".0", False),
        ("1e308", True),
        ("1e309", False),
        ("-1E+309", False),
        ("1e-999", True),
        ("0e999", True),
        ("12345678901234567890.5", True),
        ("12345678901234567890e-3", True),
    ],
)
def test_numbers_at_their_limits(number: str, is_good: bool) -> None:
    assert is_kept(f'{{"x":{number}}}'.encode()) is is_good
    assert is_kept(f'{{"x":[{number},1],"y":"{number}"}}'.encode()) is is_good


@st.composite
def written(draw: st.DrawFn) -> str:
    """A number near the largest float, in any of the forms that JSON allows."""
    digits = draw(st.sampled_from(["17976931348623157", "17976931348623158", "17976931348623159", "1", "9", "18", "1797"]))
    digits += draw(st.text("0123456789", max_size=30))
    point = draw(st.integers(-20, len(digits)))
    exponent = draw(st.integers(306, 311)) - point
    text = f"{digits[:point]}.{digits[point:]}" if point > 0 else f"0.{'0' * -point}{digits}"
    e = draw(st.sampled_from(["e", "E", "e+", "e0", "e+00"])) if exponent >= 0 else "e"
    return draw(st.sampled_from(["", "-"])) + text.removesuffix(".") + f"{e}{exponent}"


@given(st.lists(written(), min_size=1, max_size=5), st.integers(15, 22), st.sampled_from([None, 1]))
@example(["1.7976931348623158e308"], 19, None)
@example(["1.7976931348623159e308"], 19, None)
def test_a_number_near_the_largest_float_is_judged_as_a_float_is(numbers: list[str], digits: int, indent: int | None) -> None:
    values = [float(number) for number in numbers]
    text = json.dumps({"x": ["NUMBERS", 10**digits // 10]}, indent=indent).replace('"NUMBERS"', ", ".join(numbers))
    fits = 10**digits // 10 < 2**63
    assert is_kept(text.encode()) is (all(abs(value) != math.inf for value in values) and fits), text


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=50), st.integers(1, 14))
def test_no_short_number_that_is_in_range_is_converted(numbers: list[float], digits: int) -> None:
    """What is converted costs; 64 KiB have room for thousands of short numbers."""
    short = [f"{float(f'{number:.{digits}g}'):.{digits}g}" for number in numbers if abs(number) < 1.79e308]
    assert _SUSPECT.findall(b"".join(b"," + number.encode() for number in short if "inf" not in number)) == []


def leads() -> set[str]:
    """Digits like those of the largest float, and above and below them in each place."""
    lower = {_FLOAT_DIGITS[:at] + str(int(digit) - 1) for at, digit in enumerate(_FLOAT_DIGITS[1:], 1) if digit > "0"}
    higher = {_FLOAT_DIGITS[:at] + str(int(digit) + 1) for at, digit in enumerate(_FLOAT_DIGITS) if digit < "9"}
    return {"1", "10", "9", "11", _FLOAT_DIGITS, _FLOAT_DIGITS + "6"} | lower | higher


def placed(digits: str, point: int) -> str:
    """The number 0.DIGITS * 10 ** point without an exponent."""
    if point <= 0:
        return f"0.{'0' * -point}{digits}"
    return f"{digits[:point]:0<{point}}" + (f".{digits[point:]}" if digits[point:] else "")


@pytest.mark.parametrize("e", ["e", "E", "e+", "E+00"])
def test_what_is_converted_is_beyond_every_float_or_long(e: str) -> None:
    """A new pattern, because that of the module is older than a change that is tried on its functions."""
    points, exponents = range(-15, 19), (308, 309, 310, 319, 400)
    numbers = [f"{placed(lead, at)}{e}{exponent - at}" for lead in leads() for at in points for exponent in exponents]
    found = {number.decode() for number in _suspects().findall("".join(f",{number}" for number in numbers).encode())}
    assert {number for number in numbers if math.isinf(float(number))} <= found
    few = {number for number in numbers if len(number.partition(e)[0].replace(".", "").strip("0")) < len(_FLOAT_DIGITS)}
    near = {number for number in few if not number.startswith("0." + "0" * 13)}
    assert all(math.isinf(float(number)) for number in near & found)


@pytest.mark.parametrize(("digits", "shown"), [(20, "1" * 20), (40, "1" * 40), (41, "1" * 40 + "...")])
def test_a_refused_integer_is_named_by_its_first_digits(digits: int, shown: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        check_json(b'{"x":%s}' % (b"1" * digits), DATA_DEPTH_MAX)
    assert str(refused.value) == f"the integer {shown} does not fit into 64 bits; send it as a string"


def test_a_publish_is_kept_as_it_came_and_read_as_it_was() -> None:
    data = b'{ "position":"p1", "n":1.0, "text":"\\u00e9" }'
    frame = frames.decode_received(b'{"type":"publish","clientSequence":1,"eventType":"GRAFT","data":' + data + b"}")
    assert isinstance(frame, frames.Publish)
    assert isinstance(frame.data, KeptData)
    assert bytes(frame.data) == data
    assert key_of("GRAFT", frame.data) == "p1"
    assert DEFAULT_REGISTRY.check_publish("GRAFT", frame.data)
    again = frames.decode_client_frame(frames.encode(frame))
    assert again == frames.Publish(client_sequence=1, event_type="GRAFT", data={"position": "p1", "n": 1.0, "text": "é"})


@pytest.mark.parametrize(
    "data",
    [
        '{"position":7}',
        '{"position":null}',
        '{"position":[{}]}',
        '{"position":""}',
        "{}",
        '{"step":"s"}',
        f'{{"position":"{"x" * 257}"}}',
    ],
)
def test_a_graft_without_its_key_is_refused(data: str) -> None:
    with pytest.raises(InvalidEvent, match=r"needs data\.position"):
        DEFAULT_REGISTRY.check_publish("GRAFT", KeptData(data.encode()))


@pytest.mark.parametrize("data", ["[]", "1", '"x"', "null"])
def test_data_that_is_no_object_is_a_bad_frame_that_says_where(data: str) -> None:
    reason = "not a frame of this protocol: Expected `object` - at "
    for wire in ('{"type":"publish","clientSequence":1,"eventType":"CHAT","data":%s}', '{"type":"cursor","data":%s}'):
        error = frames.decode_received(wire % data)
        assert isinstance(error, RemoteError)
        assert (str(error), error.code) == (f"{reason}`$.data`", CloseCode.BAD_FRAME)
    messages = '{"clientSequence":1,"eventType":"CHAT","data":{}},{"clientSequence":2,"eventType":"CHAT","data":%s}'
    requests = [(f'{{"clientId":"c","messages":[{messages}]}}', "$.messages[1].data")]
    if data != "null":  # no cursor
        requests.append(('{"clientId":"c","cursor":%s}', "$.cursor"))
    for wire, where in requests:
        with pytest.raises(RemoteError) as refused:
            frames.decode_received_request((wire % data).encode(), 1000)
        assert (str(refused.value), refused.value.code) == (f"{reason}`{where}`", CloseCode.BAD_FRAME)


@pytest.mark.parametrize("cursor", [None, {"line": 1}])
def test_a_request_is_read_as_it_was(cursor: dict[str, int] | None) -> None:
    message = frames.Message(client_sequence=2, after=0, event_type="CHAT", data={"n": 1})
    request = frames.PublishRequest(client_id="c", generation=3, messages=(message,), cursor=cursor)
    kept = frames.decode_received_request(frames.encode(request), 1000)
    assert isinstance(kept.messages[0].data, KeptData)
    assert frames.decode_publish_request(frames.encode(kept), 1000) == request


def test_a_cursor_that_is_too_large_is_not_parsed() -> None:
    assert frames.decode_received('{"type":"cursor","data":{"line":1}}') == frames.Cursor({"line": 1})
    error = frames.decode_received('{"type":"cursor","data":{"x":"' + "x" * 5000 + '"}}')
    assert isinstance(error, RemoteError)
    assert "the limit is 512" in error.message


MANY = b'{"x":[' + b",".join([b"{}"] * 21_000) + b"]}"


def filled(piece: Callable[[int], str], size: int = 65_000) -> bytes:
    """A list of that many bytes, of different pieces."""
    length, number = 0, 0
    pieces: list[str] = []
    while length < size:
        pieces.append(piece(number))
        length += len(pieces[-1]) + 1
        number += 1
    return b"[" + ",".join(pieces).encode() + b"]"


NUMBERS = [
    lambda n: f"{n % 900 + 100}{'eE'[n // 900 % 2]}{290 + n % 16}",
    lambda n: f"{n % 90 + 10}e{100 + n % 200}",
    lambda n: f"0.0{n % 9 + 1}e309",
    lambda n: f"1.797693134862315{n % 7}{n:04}e308",
    lambda n: f"{92 * 10**17 + n}",
    lambda n: f"{17 * 10**17 + n}",
    lambda n: f"{10**19 + n}.5",
    lambda n: f"{n}e-310",
]


def shapes() -> list[bytes]:
    """64 KiB of JSON of the shapes that are dear to judge."""
    nested = (b"[[[[[1]]]]]", b"[" * 30 + b"]" * 30, b'{"":' * 15 + b"1" + b"}" * 15)
    pieces = [b"1", b"{}", b'""', b'"a\\"b"', *nested, b"1e300", b"1234567890123456789", b"-0.5e-7"]
    lists = [b'{"x":[' + b",".join([piece] * (65_000 // (len(piece) + 1))) + b"]}" for piece in pieces]
    numbers = [b'{"x":' + filled(number) + b"}" for number in NUMBERS]
    return [*lists, *numbers, b'{"x":"' + b"x" * 65_000 + b'"}', b'{"x":"' + b"\\\\" * 32_000 + b'"}']


def test_the_cost_of_a_check_is_bounded_by_that_of_parsing() -> None:
    """A ratio in one run: no shape takes many times what it takes to parse one of many small objects."""
    parse_s = min(_seconds(lambda: msgspec.json.decode(MANY)) for _ in range(5))
    for raw in shapes():
        assert min(_seconds(lambda raw=raw: is_kept(raw)) for _ in range(5)) < 5 * parse_s, raw[:60]  # type: ignore[misc]


@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_no_key_is_not_read(number: Callable[[int], str]) -> None:
    """A list of numbers in the place of a position took 70 ms, and was refused then."""
    parse_s = min(_seconds(lambda: msgspec.json.decode(MANY)) for _ in range(5))

    def refuse() -> None:
        with pytest.raises(InvalidEvent):
            DEFAULT_REGISTRY.check_publish("GRAFT", KeptData(b'{"position":' + filled(number) + b"}"))

    assert min(_seconds(refuse) for _ in range(5)) < 16 * parse_s


def test_a_cursor_of_numbers_costs_no_more_than_others() -> None:
    """4 KiB that are read only to be refused: 5 ms for numbers near the largest float."""
    many, numbers = b'{"type":"cursor","data":{"x":%s}}', filled(lambda n: "1.1e308", 4_000)
    others_s = min(_seconds(lambda: frames.decode_received(many % filled(lambda n: "1.10001", 4_000))) for _ in range(9))
    assert min(_seconds(lambda: frames.decode_received(many % numbers)) for _ in range(9)) < 4 * others_s


def _seconds(work: Any) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
