"""Cases for a client: the outbox, numbers of publishes, copies, rejections, cursors."""

import trio

from simulation.conformance.cases import NotApplicable, Registry, require
from simulation.conformance.client_bench import ClientBench
from simulation.conformance.client_connection import ClientConnection
from simulation.conformance.client_model import SLACK_S, START_S_MAX
from simulation.conformance.frames import Frame

registry: Registry[ClientBench] = Registry()
case = registry.case


@case("publish.numbers", "7.4 7.1 4.3 7.6 7.8 4.14")
async def numbers(bench: ClientBench) -> None:
    """Publishes get the numbers 1, 2, 3, ... in the application's order, and are reported with their event's number"""
    connection = await bench.first()
    await connection.append()
    sent: list[tuple[str, Frame]] = [
        ("GRAFT", {"position": "p1", "deep": {"a": [1, 2.5, None, True]}}),
        ("CHAT", {"text": "Zoë \U0001f600"}),
        ("PRUNE", {"step": "s1"}),
    ]
    for tag, (kind, data) in enumerate(sent):
        await bench.publish(f"{tag}", kind, data)
    for tag, (kind, data) in enumerate(sent):
        frame = await connection.expect("publish", "7.4")
        found = frame["clientSequence"], frame["eventType"], frame["data"]
        require(found == (tag + 1, kind, data), "7.4", f"publish {tag + 1} is {found}, not {(tag + 1, kind, data)}")
    for accepted in await bench.accepted("012", "4.14"):
        expected = int(accepted["tag"]) + 2
        require(accepted["sequenceNumber"] == expected, "4.14", f"the application got {accepted}, the event is {expected}")
    await bench.delivered_up_to(4)


@case("publish.only_after_welcome", "3.7 7.1 7.8")
async def only_after_welcome(bench: ClientBench) -> None:
    """Publishes wait for the welcome, and leave in their order"""
    upgrade = await bench.upgrade("3.1", START_S_MAX)
    for tag in "abc":
        await bench.publish(tag)
    connection = await upgrade.greeted()
    await trio.sleep(0.5)
    await connection.welcome()
    for tag in "abc":
        frame = await connection.expect("publish", "7.1")
        require(frame["data"]["tag"] == tag, "7.1", f"{frame['data']['tag']} was sent in the place of {tag}")


@case("publish.again_after_a_cut", "7.8 7.1 7.4 4.14 8.2")
async def again_after_a_cut(bench: ClientBench) -> None:
    """Unanswered publishes are sent again under their numbers, first and in order; a copy's answer settles them once"""
    connection = await bench.first()
    connection.answers_publishes = False
    for tag in "abc":
        await bench.publish(tag)
    first = [await connection.expect("publish", "7.4") for _ in "abc"]
    bench.log.take(first[0])  # the server has taken one of them, and its answer is lost
    await connection.cut()
    await bench.publish("d")
    connection = await bench.again(connection, "7.8")
    again = [await connection.expect("publish", "7.8") for _ in "abcd"]
    tags = [frame["data"]["tag"] for frame in again]
    require(tags == list("abcd"), "7.8", f"on the next connection the order is {', '.join(tags)}, not a, b, c, d")
    await bench.delivered_up_to(4)
    await bench.accepted("abcd", "7.1")


@case("publish.not_again_on_one_connection", "7.8", is_slow=True)
async def not_again(bench: ClientBench) -> None:
    """On a living connection an unanswered publish is not sent again, however long the answer takes"""
    connection = await bench.first()
    connection.answers_publishes = False
    await bench.publish("a")
    frame = await connection.expect("publish", "7.4")
    await trio.sleep(8.0)
    await connection.accept(frame)
    await bench.report("accepted", "7.1")


@case("publish.unanswered_max", "7.4 4.9 9.4")
async def unanswered_max(bench: ClientBench) -> None:
    """No more publishes are unanswered than limits.unansweredMax; each answer lets the next one go"""
    connection = await bench.first(limits={"unansweredMax": 3})
    connection.answers_publishes = False
    for tag in range(8):
        await bench.publish(f"{tag}")
    frames = [await connection.expect("publish", "7.4") for _ in range(3)]
    await trio.sleep(0.7)  # a fourth one would be a failure
    for frame in frames[:2]:
        await connection.accept(frame)
    frames = frames[2:] + [await connection.expect("publish", "7.4") for _ in range(2)]
    for _ in range(3):
        await connection.accept(frames.pop(0))
        frames.append(await connection.expect("publish", "7.4"))
    for frame in frames:
        await connection.accept(frame)
    await bench.accepted("01234567", "7.4")


@case("publish.too_big", "7.3 6.8 4.9")
async def too_big(bench: ClientBench) -> None:
    """A frame larger than limits.frameBytesMax is not sent; the application is notified, and other publishes go on"""
    connection = await bench.first(limits={"frameBytesMax": 2048})
    await bench.publish("small")
    await bench.accepted(["small"], "7.3")
    await bench.publish("large", data={"text": "x" * 3000})
    await bench.publish("wide", data={"text": "ü" * 1500})
    await bench.publish("after")
    failed = {(await bench.report("failed", "7.3"))["tag"] for _ in range(2)}
    require(failed == {"large", "wide"}, "7.3", f"{failed} failed, not large and wide")
    await bench.accepted(["small", "after"], "7.3")
    require(connection.ended is None, "7.3", "the client left over a publish that is too large")


@case("publish.numbers_go_on", "7.5 4.9")
async def numbers_go_on(bench: ClientBench) -> None:
    """A new client whose lastClientSequence is not 0 numbers on from there"""
    bench.memory.first_number = 8
    bench.log.newest_taken = 7
    connection = await bench.first()
    await bench.publish("a")
    frame = await connection.expect("publish", "7.5")
    require(frame["clientSequence"] == 8, "7.5", f"after lastClientSequence 7 the first publish is {frame['clientSequence']}")
    await bench.report("accepted", "7.5")


@case("publish.rejected", "7.6 4.15 6.7 7.1")
async def rejected(bench: ClientBench) -> None:
    """A final rejection reaches the application with its code; the next publish declares the hole, and is taken"""
    connection = await bench.first()
    connection.answers_publishes = False
    await bench.publish("bad")
    frame = await connection.expect("publish", "7.4")
    await connection.send("rejected", clientSequence=frame["clientSequence"], code="invalid_event", message="for the test")
    failed = await bench.report("failed", "7.1")
    found = failed["tag"], failed["code"], failed["mayHaveArrived"]
    require(found == ("bad", "invalid_event", False), "7.1", f"the application got {found}")
    await bench.publish("good")
    frame = await connection.expect("publish", "7.6")
    require(frame["data"]["tag"] == "good", "7.1", "a publish that was rejected for good was sent again")
    await connection.accept(frame)
    await bench.report("accepted", "7.1")


@case("publish.put_off", "7.10 4.15 6.7", is_slow=True)
async def put_off(bench: ClientBench) -> None:
    """After a retryable rejection nothing is sent before retryAfterMs; then it and all after it, in order"""
    connection = await bench.first()
    connection.answers_publishes = False
    for tag in "abc":
        await bench.publish(tag)
    frames = [await connection.expect("publish", "7.4") for _ in "abc"]
    asked_s = trio.current_time()
    await _put_off(connection, frames, retry_after_ms=2000)
    await trio.sleep(0.3)  # a cursor may have been on its way
    held_s = trio.current_time()
    await bench.move_cursor({"line": 1})
    first = await connection.expect("publish", "7.10", 2.0 + SLACK_S + bench.settings["retry_base_s"])
    waited_s = connection.at_s - asked_s
    require(waited_s >= 1.99, "7.10", f"a publish came again after {waited_s:.2f} s; retryAfterMs was 2000")
    early = [frame["type"] for frame, at_s in zip(connection.frames, connection.times_s, strict=True)
             if frame["type"] == "cursor" and held_s < at_s < asked_s + 1.99]  # fmt: skip
    require(not early, "7.11", "a cursor was sent while the client had to wait")
    again = [first, *[await connection.expect("publish", "7.10") for _ in "bc"]]
    tags = [frame["data"]["tag"] for frame in again]
    require(tags == list("abc"), "7.10", f"after the wait the order is {', '.join(tags)}, not a, b, c")
    for frame in again:
        await connection.accept(frame)
    await bench.accepted("abc", "7.10")


async def _put_off(connection: ClientConnection, frames: list[Frame], retry_after_ms: int | None = None) -> None:
    """Reject the first one as rate, those after it as out_of_order."""
    for index, frame in enumerate(frames):
        code = "out_of_order" if index else "rate"
        await connection.send(
            "rejected", clientSequence=frame["clientSequence"], code=code, message="for the test", retryable=True,
            retryAfterMs=None if index else retry_after_ms,
        )  # fmt: skip


@case("publish.gives_up", "7.10 6.7 7.6", is_slow=True)
async def gives_up(bench: ClientBench) -> None:
    """A publish that is put off more often than retry_limit fails with the code of the rejection; the waits grow"""
    connection = await bench.first()
    connection.answers_publishes = False
    await bench.publish("a")
    limit, base_s = bench.settings["retry_limit"], bench.settings["retry_base_s"]
    last_s = 0.0
    for tries in range(limit + 1):
        wait_s = base_s * 2 ** (tries - 1) if tries else 0.0
        frame = await connection.expect("publish", "7.10", wait_s + SLACK_S)
        waited_s = connection.at_s - last_s
        if tries:
            require(waited_s >= wait_s - 0.01, "7.10", f"try {tries + 1} came after {waited_s:.2f} s, not {wait_s:g} s")
        last_s = trio.current_time()
        await _put_off(connection, [frame])
    failed = await bench.report("failed", "7.10")
    require(failed["code"] == "rate", "7.10", f"the publish failed as {failed['code']}, not with the code of its rejection")
    await bench.publish("b")
    frame = await connection.expect("publish", "7.6")
    require(frame["data"]["tag"] == "b", "7.10", "a publish was sent again after it had failed")
    require(
        frame.get("after") == 0,
        "7.6",
        f"publish {frame['clientSequence']} does not declare the hole: after is {frame.get('after')}",
    )
    await connection.accept(frame)
    await bench.report("accepted", "7.6")


@case("publish.after_a_reset", "7.7 7.6 7.8")
async def after_a_reset(bench: ClientBench) -> None:
    """After a reset unanswered publishes are sent again, and declare that nothing before them counts as accepted"""
    connection = await bench.first()
    await bench.publish("old")
    await bench.report("accepted", "7.1")
    await bench.delivered_up_to(1)
    connection.answers_publishes = False
    await bench.publish("new")
    await connection.expect("publish", "7.4", where=lambda frame: frame["data"]["tag"] == "new")
    await connection.cut()
    bench.log.lose_history(1)
    bench.memory.known_up_to = 0
    connection = await (await bench.upgrade("7.22", bench.latest_s(1))).greeted()
    await connection.welcome()
    frame = await connection.expect("publish", "7.8")
    found = frame["clientSequence"], frame.get("after")
    require(found == (2, 0), "7.7", f"clientSequence and after are {found}, not (2, 0): publish 1 is unknown to the new history")
    await bench.report("accepted", "7.7", where=lambda content: content["tag"] == "new")


@case("cursor.latest", "7.11 4.4", is_slow=True)
async def cursor(bench: ClientBench) -> None:
    """Of many cursors the last one is sent, at the rate of cursor_interval_s, and again on a new connection"""
    connection = await bench.first()
    for line in range(40):
        await bench.move_cursor({"line": line})
    await connection.expect("cursor", "7.11", where=lambda frame: frame["data"] == {"line": 39})
    times_s = [at_s for frame, at_s in zip(connection.frames, connection.times_s, strict=True) if frame["type"] == "cursor"]
    most = 2 + (times_s[-1] - times_s[0]) / bench.settings["cursor_interval_s"]
    require(len(times_s) <= most, "7.11", f"{len(times_s)} cursors in {times_s[-1] - times_s[0]:.2f} s")
    await connection.cut()
    connection = await bench.again(connection, "7.22")
    await connection.expect("cursor", "7.11", where=lambda frame: frame["data"] == {"line": 39})


@case("report.of_an_outage", "7.41 7.42 4.6 7.22", is_slow=True)
async def report_of_an_outage(bench: ClientBench) -> None:
    """The report in a ping is plausible: at most one failed attempt, and at most the one outage that is over"""
    connection = await bench.first()
    await connection.cut()
    cut_s = connection.ended_s
    connection = await bench.again(connection, "7.22")
    outage_ms = 1000 * (trio.current_time() - cut_s)
    ping = await connection.expect("ping", "7.31")
    report = ping.get("report")
    if report is None:
        raise NotApplicable("this client reports nothing, which it may leave out (7.41)")
    failed = report.get("failedAttempts", 0)
    require(failed <= 1, "7.41", f"{failed} failed attempts are reported; one connection ended before it was steady")
    recoveries = report.get("recoveries", [])
    require(len(recoveries) <= 1, "7.41", f"{len(recoveries)} outages are reported; there was one")
    for recovery in recoveries:
        found = recovery["recoveryMs"]
        require(
            abs(found - outage_ms) <= 1000, "7.42", f"recoveryMs is {found}; nothing carried the session for {outage_ms:.0f} ms"
        )
