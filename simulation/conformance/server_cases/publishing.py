"""Cases for a server: publishes, their answers, copies of them, and their order."""

import trio

from simulation.conformance.cases import NotApplicable, Registry, require
from simulation.conformance.frames import COUNT_MAX, RETRYABLE, Frame, shorten
from simulation.conformance.server_bench import ServerBench, chat, graft
from simulation.conformance.server_peer import ServerPeer

registry: Registry[ServerBench] = Registry()
case = registry.case

ANSWERS_REMEMBERED = 64
PUBLISHES_AT_MOST = 3000
"""So many publishes are tried to exceed the server's rate."""


def _nested(steps: int) -> Frame:
    """Data whose deepest value is reached in so many steps."""
    data: Frame = {}
    for _ in range(steps):
        data = {"in": data}
    return data


DATA_KEPT: dict[str, Frame] = {
    "nothing": {},
    "text": {"text": 'Zoë \u2028 \U0001f600 \x7f \u0001 \\ " /', "": "an empty name"},
    "integers": {"most": 2**63 - 1, "least": -(2**63), "zero": 0},
    "numbers": {"small": 5e-324, "large": 1.7976931348623157e308, "tenth": 0.1, "one": 1.0, "minus zero": -0.0, "big": 1e22},
    "words": {"true": True, "false": False, "null": None, "list": [[], [1, [2]], {}]},
    "32 levels": _nested(32),
}
DATA_REFUSED: dict[str, str] = {
    "a string with NUL": '{"text": "a\\u0000b"}',
    "a name with NUL": '{"a\\u0000b": 1}',
    "half a surrogate pair": '{"text": "\\ud800"}',
    "a number that is too large": '{"n": 1e999}',
    "an integer of 65 bits": '{"n": 9223372036854775808}',
    "a negative integer of 65 bits": '{"n": -9223372036854775809}',
    "33 levels": str(_nested(33)).replace("'", '"'),
}
BAD_EVENTS: dict[str, Frame] = {
    "GRAFT without position": {"eventType": "GRAFT", "data": {"agent": "a"}},
    "GRAFT with a position of 257 characters": {"eventType": "GRAFT", "data": {"position": "x" * 257}},
    "GRAFT with an empty position": {"eventType": "GRAFT", "data": {"position": ""}},
    "GRAFT with a position that is a number": {"eventType": "GRAFT", "data": {"position": 7}},
    "PRUNE without step": {"eventType": "PRUNE", "data": {"position": "p"}},
    "PRUNE with a step of 257 characters": {"eventType": "PRUNE", "data": {"step": "x" * 257}},
    "CURSOR_MOVE": {"eventType": "CURSOR_MOVE", "data": {}},
    "USER_JOIN": {"eventType": "USER_JOIN", "data": {}},
    "USER_LEAVE": {"eventType": "USER_LEAVE", "data": {}},
}


def _accepted(answer: Frame, clause: str, *, duplicate: bool = False) -> int:
    require(answer["type"] == "accepted", clause, f"rejected, although it may be taken: {shorten(answer)}")
    found = answer.get("duplicate", False)
    require(found == duplicate, "4.14", f"duplicate is {found} in the answer to {'a copy' if duplicate else 'the first'}")
    number: int = answer["sequenceNumber"]
    return number


def _rejected(answer: Frame, code: str, clause: str) -> None:
    require(answer["type"] == "rejected", clause, f"taken, although it must be rejected as {code}: {shorten(answer)}")
    require(answer["code"] == code, clause, f"rejected as {answer['code']}, not as {code}: {answer['message']}")


@case("publish.reaches_everybody", "4.3 4.14 4.11 8.1 8.10 8.16 10.2")
async def reaches_everybody(bench: ServerBench) -> None:
    """A publish is accepted before its event comes, and everybody gets the same event of the token's user"""
    run = await bench.run()
    author, reader = await bench.join(run, start="head"), await bench.join(run, start="head")
    head = author.welcome["head"]
    for step, fields in enumerate(
        [graft("step-3", agent="reviewer"), {"eventType": "PRUNE", "data": {"step": "step-1"}},
         {"eventType": "FLAG", "data": {"note": "look"}}, {"eventType": "CHAT", "data": {"text": "hi", "userId": "mallory"}}],
        1,
    ):  # fmt: skip
        await author.send("publish", clientSequence=step, userId="mallory", **fields)
        first = await author.find(lambda frame: frame["type"] in ("accepted", "rejected", "events"), "answer", "8.10")
        require(first["type"] != "events", "8.10", "the event came to its author before the acceptance")
        number = _accepted(first, "4.3")
        require(number == head + step, "8.1", f"event number {number} after {head + step - 1}")
        for peer in (author, reader):
            event = (await peer.events_up_to(number))[-1]
            require(event["eventType"] == fields["eventType"], "4.11", f"published {fields}, the event is {event}")
            require(event["data"] == fields["data"], "1.6", f"published {fields['data']}, the event has {event['data']}")
            require(event["userId"] != "mallory", "10.2", "the client could choose the user of an event")
    require(author.events == reader.events, "8.16", "two readers got different events under the same numbers")


@case("publish.data_is_kept", "4.3 6.7 9.4")
async def data_is_kept(bench: ServerBench) -> None:
    """Data comes back as it was sent (1.6): text, 64-bit integers, numbers, 32 levels"""
    run = await bench.run()
    author, reader = await bench.join(run), await bench.join(run)
    for number, (what, data) in enumerate(DATA_KEPT.items(), 1):
        answer = await author.publish(number, eventType="FLAG", data=data)
        event = (await reader.events_up_to(_accepted(answer, "1.6")))[-1]
        same = event["data"] == data and repr(event["data"]) == repr(data)
        require(same, "4.3", f"{what}: sent {shorten(data)}, received {shorten(event['data'])} (1.6)")


@case("publish.data_is_refused", "6.7 8.4 4.15")
async def data_is_refused(bench: ServerBench) -> None:
    """Data that 1.6 does not allow is rejected as invalid_event, or is a bad frame"""
    run = await bench.run()
    for what, data in DATA_REFUSED.items():
        peer = await bench.join(run)
        await peer.send("publish", clientSequence=1, eventType="CHAT", data={})
        _accepted(await peer.answer(1), "4.3")
        text = f'{{"type":"publish","clientSequence":2,"eventType":"CHAT","data":{data}}}'
        await peer.send_raw(text, type="publish", clientSequence=2)
        answer = await peer.find(
            lambda frame: frame["type"] == "error" or frame.get("clientSequence") == 2, f"answer to {what}", "6.7"
        )
        if answer["type"] == "error":
            require(answer["code"] == 4400, "6.7", f"{what}: closed with {answer['code']}, not with 4400")
        else:
            require(answer["type"] == "rejected", "6.7", f"{what} was accepted (1.6)")
            _rejected(answer, "invalid_event", "6.7")


@case("publish.invalid_events", "6.7 8.4 8.2 4.15")
async def invalid_events(bench: ServerBench) -> None:
    """Events that 1.3 does not allow are rejected as invalid_event; the number is used up, and the answer repeated"""
    peer = await bench.join(await bench.run())
    for number, (what, fields) in enumerate(BAD_EVENTS.items(), 1):
        answer = await peer.publish(number, **fields)
        require(answer["type"] == "rejected", "6.7", f"{what} was accepted")
        _rejected(answer, "invalid_event", "6.7")
        again = await peer.publish(number, **fields)
        require(again["code"] == "invalid_event", "8.2", f"{what}: a copy was answered with {shorten(again)}")
    _accepted(await peer.publish(len(BAD_EVENTS) + 1), "8.4")


@case("publish.unknown_type", "6.7 8.4 8.2")
async def unknown_type(bench: ServerBench) -> None:
    """A type that the server does not know is rejected for good; the next number may follow"""
    peer = await bench.join(await bench.run())
    _rejected(await peer.publish(1, eventType="NO_SUCH_TYPE_7"), "unknown_event_type", "6.7")
    number = _accepted(await peer.publish(2), "8.4")
    _rejected(await peer.publish(1, eventType="NO_SUCH_TYPE_7"), "unknown_event_type", "8.2")
    _rejected(await peer.publish(1, eventType="CHAT"), "unknown_event_type", "8.2")
    following = _accepted(await peer.publish(3), "8.4")
    require(following == number + 1, "8.2", f"the number after {number} is {following}: a copy was taken")


@case("publish.copies", "8.2 8.3 4.14 4.9")
async def copies(bench: ServerBench) -> None:
    """A copy gets the same number, marked as duplicate, on the same and on the next connection; the log has one event"""
    run, name = await bench.run(), bench.client_id()
    peer = await bench.join(run, client_id=name)
    number = _accepted(await peer.publish(1, "once"), "8.2")
    copy = _accepted(await peer.publish(1, "once"), "8.2", duplicate=True)
    require(copy == number, "8.2", f"the copy got number {copy}, the first {number}")
    other_text = _accepted(await peer.publish(1, "another text"), "8.2", duplicate=True)
    require(other_text == number, "8.2", f"a copy with other data got number {other_text}, the first {number}")
    await peer.cut()
    later = await bench.join(run, client_id=name, generation=2)
    taken = later.welcome["lastClientSequence"]
    require(taken == 1, "4.9", f"lastClientSequence is {taken} after publish 1 was taken")
    copy = _accepted(await later.publish(1, "once"), "8.2", duplicate=True)
    require(copy == number, "8.2", f"on the next connection the copy got number {copy}, the first {number}")
    following = _accepted(await later.publish(2), "8.2")
    require(following == number + 1, "8.2", f"the next event has number {following}, not {number + 1}: a copy was stored")


@case("publish.copies_in_flight", "8.2 8.9 4.14")
async def copies_in_flight(bench: ServerBench) -> None:
    """Copies that are sent before the first answer get the same answer; the event comes once"""
    peer = await bench.join(await bench.run(), start="head")
    frame = {"type": "publish", "clientSequence": 1, "eventType": "CHAT", "data": {"text": "thrice"}}
    await peer.send_frames([frame] * 3)
    first = _accepted(await peer.answer(1), "8.2")
    await peer.publish(2)
    await peer.settle()
    numbers = {frame["sequenceNumber"] for frame in peer.seen if frame.get("clientSequence") == 1}
    require(numbers == {first}, "8.2", f"three copies were given the numbers {sorted(numbers)}")
    texts = [event["data"]["text"] for event in peer.events]
    require(texts.count("thrice") == 1, "8.2", f"the event came {texts.count('thrice')} times")


@case("publish.remembered_answers", "8.3 8.2 9.4")
async def remembered_answers(bench: ServerBench) -> None:
    """The last 64 answers of a client are repeated exactly; older numbers are not taken again"""
    run, name = await bench.run(), bench.client_id()
    first: dict[int, int] = {}
    for start in (1, 41):
        results = await bench.publish_many(run, name, [chat(number) for number in range(start, start + 40)])
        first |= {each["clientSequence"]: _accepted(each, "8.3") for each in results}
    peer = await bench.join(run, client_id=name, generation=2, start="head")
    head = peer.welcome["head"]
    for number in first:
        answer = await peer.publish(number)
        if number <= len(first) - ANSWERS_REMEMBERED and answer["type"] == "rejected":
            _rejected(answer, "answer_expired", "8.2")
        else:
            found = _accepted(answer, "8.3", duplicate=True)
            require(found == first[number], "8.3", f"publish {number} was event {first[number]}, its copy {found}")
    following = _accepted(await peer.publish(len(first) + 1), "8.3")
    require(following == head + 1, "8.2", f"after head {head} and copies only, the next event has number {following}")


@case("publish.out_of_order", "8.5 8.2 6.7 4.15 4.3")
async def out_of_order(bench: ServerBench) -> None:
    """A number that leaves one out is out_of_order, unless after declares the hole; the hole is closed for good"""
    peer = await bench.join(await bench.run())
    _rejected(await peer.publish(2), "out_of_order", "8.5")
    _accepted(await peer.publish(1), "8.5")
    _rejected(await peer.publish(5, after=4), "out_of_order", "8.5")
    _accepted(await peer.publish(5, after=1), "8.5")
    _rejected(await peer.publish(3), "answer_expired", "8.2")
    _rejected(await peer.publish(7), "out_of_order", "8.5")
    _accepted(await peer.publish(6), "8.5")
    _accepted(await peer.publish(COUNT_MAX, after=0), "8.5")


@case("publish.answers_in_order", "8.9 8.10 8.4")
async def answers_in_order(bench: ServerBench) -> None:
    """Acceptances and final rejections leave in the order in which the publishes were taken"""
    peer = await bench.join(await bench.run())
    types = ["CHAT", "NO_SUCH_TYPE_7", "FLAG", "CURSOR_MOVE", "CHAT", "NO_SUCH_TYPE_7"] * 3
    frames = [
        {"type": "publish", "clientSequence": number, "eventType": kind, "data": {}} for number, kind in enumerate(types, 1)
    ]
    await peer.send_frames(frames)
    await peer.answer(len(frames))
    answers = [frame for frame in peer.seen if frame["type"] in ("accepted", "rejected")]
    order = [frame["clientSequence"] for frame in answers]
    require(order == sorted(order) and len(order) == len(frames), "8.9", f"the answers came in the order {order}")


@case("publish.more_than_unanswered", "8.6 8.2 8.5 6.7")
async def more_than_unanswered(bench: ServerBench) -> None:
    """A burst beyond unansweredMax is put off, not lost: publishes that are sent again are taken once, in order"""
    peer = await bench.join(await bench.run(), start="head")
    count = 3 * peer.welcome["limits"]["unansweredMax"]
    frames = [chat(number, f"{number}") | {"type": "publish"} for number in range(1, count + 1)]
    accepted: dict[int, int] = {}
    while len(accepted) < count:
        batch = [frame for frame in frames if frame["clientSequence"] not in accepted]
        await peer.send_frames(batch)
        wait_ms = 0
        for answer in await peer.answers(frame["clientSequence"] for frame in batch):
            if answer["type"] == "accepted":
                accepted[answer["clientSequence"]] = answer["sequenceNumber"]
            else:
                require(answer["code"] in RETRYABLE, "8.6", f"rejected for good: {shorten(answer)}")
                wait_ms = max(wait_ms, answer.get("retryAfterMs") or 0)
        numbers = list(accepted)
        require(
            numbers == list(range(1, len(numbers) + 1)), "8.5", f"taken in another order than that of their numbers: {numbers}"
        )
        if len(accepted) < count:
            await trio.sleep(wait_ms / 1000)
    given = list(accepted.values())
    require(given == list(range(given[0], given[0] + count)), "8.1", "the events of one client are not numbered in its order")
    await peer.events_up_to(given[-1])
    texts = [int(event["data"]["text"]) for event in peer.events]
    require(texts == list(range(1, count + 1)), "8.2", "an event of the burst is missing, doubled, or at another place")


@case("publish.rate", "8.6 6.7 4.15")
async def rate(bench: ServerBench) -> None:
    """Beyond publishesPerS a publish is rejected as rate, with the time after which it is taken"""
    peer = await bench.join(await bench.run())
    window = peer.welcome["limits"]["unansweredMax"]
    number = 1
    while number <= PUBLISHES_AT_MOST:
        await peer.send_frames([chat(each) | {"type": "publish"} for each in range(number, number + window)])
        answers = await peer.answers(range(number, number + window))
        refused = next((answer for answer in answers if answer["type"] == "rejected"), None)
        if refused is None:
            number += window
            continue
        if refused["code"] in ("too_many_unanswered", "overloaded"):
            number = refused["clientSequence"]
            await trio.sleep((refused.get("retryAfterMs") or 0) / 1000)
            continue
        _rejected(refused, "rate", "8.6")
        wait_ms = refused.get("retryAfterMs")
        require(wait_ms is not None, "8.6", "a rejection as rate has no retryAfterMs")
        await trio.sleep((wait_ms or 0) / 1000 + 0.05)
        _accepted(await peer.publish(refused["clientSequence"]), "8.6")
        return
    raise NotApplicable(f"the server takes {PUBLISHES_AT_MOST} publishes at once; the limit is a setting")


@case("publish.many_authors", "8.1 8.10 8.16 8.2 8.12")
async def many_authors(bench: ServerBench) -> None:
    """Concurrent authors, over WebSocket and HTTP: all readers get the same log, every publish is in it once, in its order"""
    run, count = await bench.run(), 40
    readers = [await bench.join(run, start="head"), await bench.join(run, start="head")]
    head = readers[0].welcome["head"]
    accepted: dict[tuple[str, int], int] = {}

    async def by_websocket(author: ServerPeer, name: str) -> None:
        for number in range(1, count + 1):
            accepted[name, number] = _accepted(await author.publish(number, name), "8.1")

    async def by_http(name: str) -> None:
        for start in range(1, count + 1, 8):
            results = await bench.publish_many(run, name, [chat(number, name) for number in range(start, start + 8)])
            accepted.update({(name, each["clientSequence"]): _accepted(each, "8.1") for each in results})

    async with trio.open_nursery() as nursery:
        for name in (bench.client_id() for _ in range(3)):
            nursery.start_soon(by_websocket, await bench.join(run, client_id=name), name)
        nursery.start_soon(by_http, bench.client_id())
    numbers = sorted(accepted.values())
    require(numbers == list(range(head + 1, head + 1 + len(numbers))), "8.1", "numbers are missing, or given twice")
    for reader in readers:
        await reader.events_up_to(numbers[-1])
    require(readers[0].events == readers[1].events, "8.16", "two readers got different logs")
    log = {event["sequenceNumber"]: event["data"]["text"] for event in readers[0].events}
    for (name, number), given in accepted.items():
        require(log[given] == name, "8.1", f"publish {number} of {name} is not the event that was accepted")
    late = await bench.join(run, start="oldest")
    await late.events_up_to(numbers[-1])
    same = late.events[-len(numbers) :] == readers[0].events
    require(same, "8.12", "a late joiner got another log than the readers before it")
