"""Cases for a server: where a reader begins, what it gets then, heartbeats, and readers that are slow."""

import math
import random

import trio

from simulation.conformance.cases import NotApplicable, Registry, require
from simulation.conformance.frames import Frame, fold, shorten
from simulation.conformance.server_bench import ServerBench, chat, graft, read_json
from simulation.conformance.server_peer import ServerPeer

registry: Registry[ServerBench] = Registry()
case = registry.case

EVENTS_KEPT_AT_MOST = 5000
"""A window of more events is not filled by the kit."""
PUBLISHES_PER_CLIENT = 256


async def _filled(bench: ServerBench, run: str, count: int) -> Frame:
    """Publish that many events as a new client; a poll's answer after that."""
    await bench.publish_many(run, bench.client_id(), [chat(number, f"{number}") for number in range(1, count + 1)])
    return await bench.poll(run, start="head")


@case("place.start", "8.13 4.2 3.8 4.9")
async def start(bench: ServerBench) -> None:
    """Start head brings new events only, oldest all events that are kept, snapshot the state and the events after it"""
    run = await bench.run()
    before = await _filled(bench, run, 5)
    head = before["head"]
    newest = await bench.join(run, start="head")
    found = newest.welcome["afterSequence"]
    require(found == newest.welcome["head"] == head, "8.13", f"start head begins after {found}, the head is {head}")
    oldest = await bench.join(run, start="oldest")
    await oldest.events_up_to(head, "8.13")
    first = oldest.events[0]["sequenceNumber"]
    require(first == before["oldest"], "8.13", f"start oldest begins with {first}, the oldest event is {before['oldest']}")
    whole = await bench.join(run)
    await whole.events_up_to(head, "8.13")
    await _filled(bench, run, 1)
    for peer in (newest, oldest, whole):
        await peer.events_up_to(head + 1, "8.16")
    require(len(newest.events) == 1, "8.13", f"start head brought {len(newest.events)} events, one is new")
    require(newest.snapshot is None and oldest.snapshot is None, "8.13", "a snapshot came although start was not snapshot")


@case("place.resume", "8.14 8.12 4.2 4.11 4.9")
async def resume(bench: ServerBench) -> None:
    """A position that is kept is resumed: exactly the events after it, no snapshot, and the same epoch and session"""
    run, name = await bench.run(), bench.client_id()
    first = await bench.join(run, client_id=name, start="head")
    head, epoch, session = (first.welcome[key] for key in ("head", "epoch", "sessionId"))
    await first.cut()
    await _filled(bench, run, 6)
    for generation, behind in ((2, 6), (3, 2), (4, 0)):
        after = head + 6 - behind
        peer = await bench.join(run, client_id=name, generation=generation, sessionId=session, epoch=epoch, afterSequence=after)
        require(peer.welcome["outcome"] == "resumed", "8.14", f"the outcome is {peer.welcome['outcome']}, not resumed")
        require(peer.welcome["epoch"] == epoch, "2.7", "the epoch changed, although no history was lost")
        require(peer.welcome["sessionId"] == session, "4.9", "the session has another name after a resume (2.4)")
        await peer.events_up_to(head + 6, "8.14")
        await peer.settle()
        numbers = [event["sequenceNumber"] for event in peer.events]
        require(numbers == list(range(after + 1, head + 7)), "8.14", f"resumed after {after}, received {numbers}")


@case("place.other_epoch", "8.14 8.15 4.10 4.9")
async def other_epoch(bench: ServerBench) -> None:
    """A position in another epoch, also one that would be ahead, is a reset with the reason epoch"""
    run = await bench.run()
    head = (await _filled(bench, run, 3))["head"]
    for after in (1, head + 100):
        peer = await bench.join(run, epoch="another-epoch", afterSequence=after)
        await _reset(peer, "epoch", head)


@case("place.ahead", "8.14 8.15 4.10 4.9")
async def ahead(bench: ServerBench) -> None:
    """A position above the head is a reset with the reason ahead"""
    run = await bench.run()
    before = await _filled(bench, run, 3)
    for beyond in (1, 10**9):
        peer = await bench.join(run, epoch=before["epoch"], afterSequence=before["head"] + beyond)
        await _reset(peer, "ahead", before["head"])


async def _reset(peer: ServerPeer, reason: str, head: int) -> None:
    welcome = peer.welcome
    found = welcome["outcome"], welcome.get("reason")
    require(found == ("reset", reason), "8.14", f"outcome and reason are {found}, not ('reset', '{reason}')")
    require(peer.snapshot is not None, "8.14", "no snapshot after a reset")
    await peer.events_up_to(head, "8.14")


@case("place.window", "8.14 8.13 8.15 8.16 8.26 5.5 5.9 4.10 4.21 8.12", is_slow=True)
async def window(bench: ServerBench) -> None:
    """A run longer than its window: expired positions get the state, and snapshot plus events is the fold of all events"""
    run = await bench.run(empty=True)
    peer = await bench.join(run, start="head")
    kept = peer.welcome["limits"].get("eventsKeptMax")
    if kept is None or kept > EVENTS_KEPT_AT_MOST:
        raise NotApplicable(f"the server keeps {kept or 'an unknown number of'} events; the kit fills {EVENTS_KEPT_AT_MOST}")
    total = 2 * kept + 50
    async with trio.open_nursery() as nursery:  # a peer that is not read may fall out of the window (8.18)
        nursery.start_soon(_fill_with_everything, bench, run, total)
        everything = (await peer.events_up_to(total, within_s=30.0))[:]
    await _snapshot_and_events(bench, run, everything)
    place = await bench.poll(run, start="head")
    oldest, epoch = place["oldest"], place["epoch"]
    require(total - oldest + 1 >= kept, "1.10", f"{total - oldest + 1} events are kept, eventsKeptMax is {kept}")
    if oldest == 1:
        raise NotApplicable(f"the server still keeps all of {total} events; it may (1.10)")
    for after, outcome in ((0, "snapshot"), (oldest - 2, "snapshot"), (oldest - 1, "resumed")):
        if after < 0:
            continue
        reader = await bench.join(run, epoch=epoch, afterSequence=after)
        found = reader.welcome["outcome"]
        require(found == outcome, "8.14", f"after {after}, with oldest {oldest}, the outcome is {found}, not {outcome}")
        await reader.events_up_to(total, "8.14", 15.0)
        polled = await bench.poll(run, epoch=epoch, afterSequence=after)
        found = polled["outcome"]
        require(found == outcome, "8.12", f"a poll after {after} has the outcome {found}, a hello {outcome}")
        require((polled.get("snapshot") is not None) == (outcome == "snapshot"), "4.21", "a snapshot for `resumed`, or none")
    await _all_pages(bench, run, oldest, total, everything)


async def _fill_with_everything(bench: ServerBench, run: str, total: int) -> None:
    def message(number: int, event: int) -> Frame:
        kinds: list[Frame] = [
            graft(f"p{event % 37}", n=event),
            {"eventType": "PRUNE", "data": {"step": f"s{event % 23}"}},
            {"eventType": "FLAG", "data": {"n": event}},
            {"eventType": "CHAT", "data": {"n": event}},
        ]
        return {"clientSequence": number, **kinds[event % 4 if event % 8 < 4 else 3]}

    async def fill(first: int, count: int, client_id: str) -> None:
        sent = 0
        while sent < count:
            size = min(64, count - sent)
            messages = [message(number, first + number) for number in range(sent + 1, sent + size + 1)]
            results = await bench.publish_many(run, client_id, messages)
            taken = sum(result["type"] == "accepted" for result in results)
            sent += taken
            if taken < size:
                refused = results[taken]
                require(refused.get("retryable"), "8.6", f"a publish was rejected for good: {shorten(refused)}")
                await trio.sleep((refused.get("retryAfterMs") or 100) / 1000 + 0.2)

    async with trio.open_nursery() as nursery:
        for index in range(math.ceil(total / PUBLISHES_PER_CLIENT)):
            first = index * PUBLISHES_PER_CLIENT
            nursery.start_soon(fill, first, min(PUBLISHES_PER_CLIENT, total - first), bench.client_id())


async def _snapshot_and_events(bench: ServerBench, run: str, everything: list[Frame]) -> None:
    late = await bench.join(run)
    assert late.snapshot is not None
    at = late.snapshot["sequenceNumber"]
    await late.events_up_to(len(everything), "8.13", 15.0)
    require(late.events == everything[at:], "8.12", f"the events after snapshot {at} are not those that were delivered")
    state = {"grafts": {}, "prunes": [], "flags": []} | late.snapshot["state"]
    expected = fold(everything[:at])
    for name, found in state.items():
        if name in expected:
            require(found == expected[name], "4.10", f"`{name}` of snapshot {at} is not the fold of events 1 to {at} (1.7)")


async def _all_pages(bench: ServerBench, run: str, oldest: int, total: int, everything: list[Frame]) -> None:
    """Polls with hasMore, and the pages of replay, bring everything that is kept."""
    after, pages, found = oldest - 1, 0, list[Frame]()
    while True:
        polled = await bench.poll(run, afterSequence=after)
        found += polled["events"]
        after = polled["afterSequence"] + len(polled["events"])
        pages += 1
        require(
            polled.get("hasMore", False) == (after < total), "8.26", f"hasMore at {after} of {total}: {polled.get('hasMore')}"
        )
        if after >= total or pages > total:
            break
    require(found == everything[oldest - 1 :], "8.26", "the pages of polls are not the log")
    response = await bench.http("GET", f"/api/runs/{run}/collaboration/events")
    found = read_json(response, "Replay", "5.9")["events"]
    require(
        found == everything[oldest - 1 : oldest + 99], "5.9", f"without conditions, {len(found)} events came, not the first 100"
    )
    number, replayed = oldest, list[Frame]()
    while True:
        response = await bench.http("GET", f"/api/runs/{run}/collaboration/replay", query={"fromSequence": number, "limit": 400})
        require(response.status == 200, "5.5", f"replay was answered with status {response.status}")
        page = read_json(response, "Replay", "5.5")
        require(len(page["events"]) <= 400, "5.5", f"{len(page['events'])} events, the limit was 400")
        replayed += page["events"]
        if page["nextSequence"] is None:
            break
        number = page["nextSequence"]
    require(replayed == everything[oldest - 1 :], "5.5", "the pages of replay are not the log")


@case("place.resume_under_load", "8.12 8.14 8.16 8.17")
async def resume_under_load(bench: ServerBench) -> None:
    """A reader that reconnects again and again while others publish gets every event once, in order"""
    run, name, count = await bench.run(), bench.client_id(), 150
    chance = random.Random(7)
    first = await bench.join(run, client_id=name, start="head")
    head, epoch = first.welcome["head"], first.welcome["epoch"]
    received: list[Frame] = []
    after = head

    async def author(client_id: str) -> None:
        peer = await bench.join(run, client_id=client_id)
        for number in range(1, count // 2 + 1):
            answer = await peer.publish(number, client_id)
            require(answer["type"] == "accepted", "8.1", f"a publish was rejected: {shorten(answer)}")

    async def reader() -> None:
        nonlocal after
        peer, generation = first, 1
        while after < head + count:
            with trio.move_on_after(bench.patience_s):
                await peer.events_up_to(min(after + chance.randint(1, 12), head + count), "8.14")
            received.extend(peer.events)
            require(peer.position > after, "8.14", f"no event after {after} within {bench.patience_s:g} s")
            after = peer.position
            await peer.cut()
            generation += 1
            peer = await bench.join(run, client_id=name, generation=generation, epoch=epoch, afterSequence=after)
            found = peer.welcome["outcome"]
            require(found == "resumed", "8.14", f"the outcome is {found}, not resumed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        for _ in range(2):
            nursery.start_soon(author, bench.client_id())
    numbers = [event["sequenceNumber"] for event in received]
    require(numbers == list(range(head + 1, head + count + 1)), "8.14", "over the reconnections an event is missing or doubled")


@case("place.ack", "4.5 3.7")
async def ack(bench: ServerBench) -> None:
    """Acknowledgements up to the head are taken without an answer; one above the head is refused with 4400"""
    run = await bench.run()
    head = (await _filled(bench, run, 3))["head"]
    peer = await bench.join(run)
    for number in (0, head - 1, head, head - 2):
        await peer.send("ack", sequenceNumber=number)
    await peer.alive("4.5")
    await peer.send("ack", sequenceNumber=head + 1)
    await peer.closed(4400, "4.5")


@case("place.heartbeat", "8.20 4.16 4.9", is_slow=True)
async def heartbeat(bench: ServerBench) -> None:
    """In a quiet run every current reader gets a heartbeat with the head after heartbeatMs, not much earlier or later"""
    run = await bench.run()
    head = (await _filled(bench, run, 2))["head"]
    peer = await bench.join(run)
    interval_s = peer.welcome["heartbeatMs"] / 1000
    if interval_s > 40:
        raise NotApplicable(f"heartbeatMs is {interval_s:g} s, longer than this case")
    await peer.events_up_to(head)
    answer = await peer.publish(1, "the clock of the heartbeat starts here")
    start_s = trio.current_time()
    frame = await peer.expect("heartbeat", "8.20", interval_s + bench.patience_s)
    took_s = trio.current_time() - start_s
    require(frame["head"] == answer["sequenceNumber"], "4.16", f"heartbeat with head {frame['head']}")
    require(took_s > 0.8 * interval_s - 0.5, "8.20", f"a heartbeat after {took_s:.1f} s; heartbeatMs is {interval_s:g} s")


@case("place.slow_reader", "8.17 8.16 8.12")
async def slow_reader(bench: ServerBench) -> None:
    """A reader that does not read delays nobody, and gets every event in order when it reads again"""
    run = await bench.run()
    slow = await bench.join(run, start="head")
    quick = await bench.join(run, start="head")
    author = await bench.join(run, start="head")
    head, most = author.welcome["head"], author.welcome["limits"]["frameBytesMax"]
    text, count = "x" * (min(most, 65_536) - 200), 120
    for number in range(1, count + 1):
        answer = await author.publish(number, text, clause="8.17")
        require(answer["type"] == "accepted", "8.17", f"a publish was rejected: {shorten(answer)}")
        await quick.events_up_to(head + number, "8.17")
        author.events.clear()
        quick.events.clear()
    await slow.events_up_to(head + count, "8.17", 20.0)
    require(len(slow.events) == count, "8.17", f"the slow reader got {len(slow.events)} of {count} events")


@case("place.reader_that_takes_nothing", "8.18 8.17 6.1 8.14", is_slow=True)
async def takes_nothing(bench: ServerBench) -> None:
    """A reader that takes not one byte for slowReaderTimeoutMs loses its connection, and resumes without losing an event"""
    run, name = await bench.run(), bench.client_id()
    stuck = await bench.upgraded(run, receive_buffer_bytes=16_384)
    await stuck.hello(clientId=name, token=bench.token(), start="head")
    author = await bench.join(run, start="head")
    welcome = author.welcome
    timeout_s = welcome["limits"].get("slowReaderTimeoutMs", 30_000) / 1000
    if timeout_s > 45:
        raise NotApplicable(f"a reader may take nothing for {timeout_s:g} s, longer than this case")
    head, most, count = welcome["head"], welcome["limits"]["frameBytesMax"], 80
    for number in range(1, count + 1):
        answer = await author.publish(number, "x" * (min(most, 65_536) - 200), clause="8.17")
        require(answer["type"] == "accepted", "8.17", f"a publish was rejected: {shorten(answer)}")
        await author.events_up_to(head + number, "8.17")
        author.events.clear()
    deadline_s = trio.current_time() + timeout_s + bench.patience_s
    while trio.current_time() < deadline_s:
        for peer in (stuck, author):  # neither may be closed for its silence
            await peer.send("ping", nonce=1)
        await author.quiet(timeout_s / 4)
    await stuck.quiet(2.0)
    if stuck.position == head + count:
        raise NotApplicable("the network took everything that was sent, so the reader was never slow")
    require(stuck.ended is not None, "8.18", f"after {timeout_s:g} s without taking a byte the reader is still connected")
    assert stuck.ended is not None
    require(stuck.ended.code in (4008, None), "8.18", f"the reader was closed with {stuck.ended.code}, not with 4008")
    back = await bench.join(run, client_id=name, generation=2, epoch=welcome["epoch"], afterSequence=stuck.position)
    await back.events_up_to(head + count, "8.14", 10.0)
