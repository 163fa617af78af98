"""Cases for a server: the calls over HTTP, and HTTP together with WebSockets."""

import json
import uuid
from typing import Any

import trio

from simulation.conformance.cases import NotApplicable, Registry, require
from simulation.conformance.frames import BadFrame, Frame, parse, shorten
from simulation.conformance.server_bench import BAD_TOKEN, ServerBench, chat, graft, read_json
from simulation.conformance.server_peer import ServerPeer

registry: Registry[ServerBench] = Registry()
case = registry.case


def _calls(run: str) -> list[tuple[str, str]]:
    base = f"/api/runs/{run}"
    return [
        ("PUT", base),
        ("GET", f"{base}/collaboration/poll"),
        ("POST", f"{base}/collaboration/publish"),
        ("GET", f"{base}/collaboration/replay"),
        ("GET", f"{base}/collaboration/events"),
    ]


@case("http.token", "5.1 5.2 5.3 5.6 8.33 10.1")
async def token(bench: ServerBench) -> None:
    """Every call needs a token in its header: without, with a bad one, and with one in the query the answer is 401"""
    run = await bench.run()
    for method, path in _calls(run):
        body = {"clientId": bench.client_id(), "messages": []} if method == "POST" else None
        await bench.problem(4401, "5.1", method, path, token=None, body=body)
        await bench.problem(4401, "5.1", method, path, token=BAD_TOKEN, body=body)
        query = {"token": bench.token()}
        await bench.problem(4401, "5.3", method, path, token=None, query=query, body=body)


@case("http.create_run", "5.2")
async def create_run(bench: ServerBench) -> None:
    """PUT makes a run once: 201, then 200, in both spellings of its id"""
    if bench.server.runs:
        raise NotApplicable("the kit makes no runs when some are given with --run")
    run = str(uuid.uuid4())
    for spelling, status in ((run, 201), (run, 200), (run.upper(), 200)):
        response = await bench.http("PUT", f"/api/runs/{spelling}")
        require(response.status == status, "5.2", f"PUT of {spelling}: status {response.status}, not {status}")
        found = parse(response.body).get("runId")
        require(found == run, "5.2", f"runId in the answer is {found}, not {run}")


@case("http.errors", "5.1 5.6 4.21 6.1 8.24")
async def errors(bench: ServerBench) -> None:
    """Bad requests are answered with the right status and an HttpProblem"""
    run, nowhere = await bench.run(), "00000000-0000-4000-8000-000000000000"
    path = f"/api/runs/{run}/collaboration"
    publish, poll = f"{path}/publish", f"{path}/poll"
    twice = {"clientId": "c1", "messages": [chat(1), chat(1)]}
    many = {"clientId": "c1", "messages": [chat(number) for number in range(1, 66)]}
    bodies: list[Any] = [b"", b"{", b"[]", b"\xff", twice, many]
    bodies += [{"messages": []}, {"clientId": "a b"}, {"clientId": "c1", "messages": {}}]
    bodies.append({"clientId": "c1", "messages": [{"clientSequence": 0, "eventType": "CHAT", "data": {}}]})
    bodies.append({"clientId": "c1", "cursor": {"text": "x" * 600}})
    for body in bodies:
        clause = "8.24" if body is twice else "4.21"
        await bench.problem(4400, clause, "POST", publish, body=body)
    for query in ({"afterSequence": "many"}, {"afterSequence": -1}, {"waitMs": 25_001}, {"start": "middle"}, {"clientId": "a b"}):
        await bench.problem(4400, "4.21", "GET", poll, query=query)
    await bench.problem(4404, "6.1", "GET", f"/api/runs/{nowhere}/collaboration/poll")
    await bench.problem(4404, "6.1", "POST", f"/api/runs/{nowhere}/collaboration/publish", body={"clientId": "c1"})
    response = await bench.http("GET", "/api/no/such/call")
    require(response.status == 404, "5.1", f"a call that does not exist has status {response.status}")
    read_json(response, "HttpProblem")
    response = await bench.http("DELETE", poll)
    require(400 <= response.status < 500, "5.1", f"DELETE of a poll has status {response.status}")
    read_json(response, "HttpProblem")


@case("http.body_size", "5.6 6.1")
async def body_size(bench: ServerBench) -> None:
    """A body larger than bodyBytesMax is refused with 413"""
    run = await bench.run()
    peer = await bench.join(run)
    most = peer.welcome["limits"].get("bodyBytesMax")
    if most is None or most > 8 * 2**20:
        raise NotApplicable("the server tells no bodyBytesMax, or one above 8 MiB")
    body = json.dumps({"clientId": "c1", "filler": "x" * most}).encode()
    await bench.problem(4413, "6.1", "POST", f"/api/runs/{run}/collaboration/publish", body=body)


@case("http.operations", "5.2")
async def operations(bench: ServerBench) -> None:
    """healthz, readyz, metrics, openapi.json and docs answer without a token"""
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        response = await bench.http("GET", path, token=None)
        require(response.status == 200, "5.2", f"GET {path} has status {response.status}")
    paths = parse((await bench.http("GET", "/openapi.json", token=None)).body).get("paths", {})
    missing = [call for call in ("poll", "publish", "replay", "events") if not any(path.endswith(call) for path in paths)]
    require(not missing, "5.2", f"/openapi.json does not describe {', '.join(missing)}")


@case("http.admin", "5.10 5.2 5.1")
async def admin(bench: ServerBench) -> None:
    """The admin calls refuse a member with 4403, and answer an admin"""
    run, base = await bench.run(), "/api/admin/websocket"
    peer = await bench.join(run)
    session = peer.welcome["sessionId"]
    paths = ["/connections", f"/connections/{run}", "/metrics", "/health"]
    for path in paths:
        await bench.problem(4403, "5.2", "GET", base + path)
        await bench.problem(4401, "5.1", "GET", base + path, token=None)
    await bench.problem(4403, "5.2", "POST", f"{base}/cleanup-stale")
    token = bench.admin_token()
    for path in [*paths, f"/metrics/{session}?runId={run}"]:
        response = await bench.http("GET", base + path, token=token)
        require(response.status == 200, "5.10", f"GET {base}{path} of an admin has status {response.status}")
        parse(response.body)
    text = (await bench.http("GET", f"{base}/connections/{run}", token=token)).body.decode()
    require(session in text, "5.10", "a connected session is not among the connections of its run")


@case("poll.reads", "5.4 8.12 8.13 8.14 4.21 8.26")
async def reads(bench: ServerBench) -> None:
    """A poll without clientId reads with the rules of a hello, changes nothing and makes nobody present"""
    run = await bench.run()
    before = await bench.poll(run, start="head")
    results = await bench.publish_many(run, bench.client_id(), [chat(number, f"{number}") for number in (1, 2, 3)])
    head, epoch = results[-1]["sequenceNumber"], before["epoch"]
    watcher = await bench.join(run, user=0)
    at_head = await bench.poll(run, start="head", token=bench.token(1))
    require(at_head["outcome"] == "fresh" and not at_head["events"], "8.13", f"start head brought {shorten(at_head)}")
    whole = await bench.poll(run, start="snapshot")
    require(whole.get("snapshot") is not None, "8.13", "start snapshot brought no snapshot")
    resumed = await bench.poll(run, afterSequence=head - 2, epoch=epoch)
    numbers = [event["sequenceNumber"] for event in resumed["events"]]
    require(resumed["outcome"] == "resumed", "8.14", f"the outcome is {resumed['outcome']}, not resumed")
    require(numbers == [head - 1, head], "8.14", f"resumed after {head - 2}: the events {numbers}")
    current = await bench.poll(run, afterSequence=head - 1)
    require(current["outcome"] == "resumed", "4.21", "a position without epoch does not mean the current one")
    for reason, query in (
        ("epoch", {"epoch": "other", "afterSequence": 1}),
        ("ahead", {"epoch": epoch, "afterSequence": head + 9}),
    ):
        reset = await bench.poll(run, **query)
        found = reset["outcome"], reset.get("reason")
        require(found == ("reset", reason), "8.14", f"outcome and reason are {found}, not ('reset', '{reason}')")
        require(reset.get("snapshot") is not None, "8.14", "no snapshot after a reset")
    odd = await bench.poll(run, epoch="other", colour="red", start="head")
    require(odd["outcome"] == "fresh", "4.21", f"without afterSequence, an epoch and an unknown parameter: {odd['outcome']}")
    require(resumed["lastClientSequence"] == 0, "4.21", "lastClientSequence without clientId is not 0")
    require(resumed.get("sessionId") is None, "4.21", "a poll without clientId was given a session")
    joined = [user for frame in await watcher.settle() if frame["type"] == "presence" for user in frame.get("joined", [])]
    require(not joined, "5.4", f"a poll without clientId made {joined} present")


@case("poll.waits", "8.25 8.10 4.21")
async def waits(bench: ServerBench) -> None:
    """A poll with waitMs is answered when an event is appended, or after that time; presence and cursors do not end it"""
    run = await bench.run()
    place = await bench.poll(run, start="head")
    head, epoch = place["head"], place["epoch"]
    start_s = trio.current_time()
    empty = await bench.poll(run, afterSequence=head, epoch=epoch, waitMs=700)
    took_s = trio.current_time() - start_s
    require(not empty["events"], "8.25", "a poll after the head brought events")
    require(took_s > 0.6, "8.25", f"a poll with waitMs 700 was answered after {took_s:.2f} s, without an event")
    fresh_s = trio.current_time()
    await bench.poll(run, start="head", waitMs=5000)
    require(trio.current_time() - fresh_s < 4.5, "8.25", "a poll waited although its outcome is fresh")
    answered: list[tuple[float, Frame]] = []

    async def wait() -> None:
        polled = await bench.poll(run, afterSequence=head, epoch=epoch, waitMs=8000, within_s=20.0)
        answered.append((trio.current_time(), polled))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(0.3)
        author = await bench.join(run, user=0)
        await author.send("cursor", data={"line": 1})
        await author.quiet(0.7)
        require(not answered, "8.25", "presence or a cursor ended the wait of a poll")
        published_s = trio.current_time()
        answer = await author.publish(1)
    at_s, polled = answered[0]
    numbers = [event["sequenceNumber"] for event in polled["events"]]
    require(numbers == [answer["sequenceNumber"]], "8.25", f"the poll brought {numbers}, not the new event")
    require(at_s - published_s < bench.patience_s, "8.25", f"the poll was answered {at_s - published_s:.1f} s after the event")


@case("poll.session", "8.23 8.29 4.21 8.32 6.1")
async def poll_session(bench: ServerBench) -> None:
    """A poll with clientId keeps a session: its user is present; a higher generation takes a WebSocket's session over"""
    run, name = await bench.run(), bench.client_id()
    watcher = await bench.join(run, user=0)
    first = await bench.poll(run, token=bench.token(1), clientId=name, generation=1, start="head")
    require(first.get("sessionId") is not None, "4.21", "a poll with clientId was given no session")
    new = set(first["activeUsers"])
    await watcher.until(lambda: new <= watcher.present, f"presence of {sorted(new)}", "8.29")
    peer = await bench.join(run, user=1, client_id=name, generation=2)
    require(peer.welcome["sessionId"] == first["sessionId"], "8.23", "poll and WebSocket of one client have two sessions")
    for generation in (1, 2):
        polled = await bench.poll(run, token=bench.token(1), clientId=name, generation=generation, start="head")
        require(polled["outcome"] == "fresh", "8.23", f"a poll with generation {generation} got {shorten(polled)}")
    await peer.alive("8.23")
    polled = await bench.poll(run, token=bench.token(1), clientId=name, generation=3, start="head")
    require(polled.get("sessionId") == first["sessionId"], "8.23", "the poll that took the session over names another session")
    await peer.closed(4101, "8.23")
    lower = await bench.poll(run, token=bench.token(1), clientId=name, generation=2, start="head")
    require(lower.get("sessionId") is None, "8.23", "a poll with a lower generation than the session was given the session")
    back = await bench.join(run, user=1, client_id=name, generation=3)
    await back.alive("8.22")


@case("http.publish", "4.21 5.2 8.2 8.24 8.5 6.7")
async def publish(bench: ServerBench) -> None:
    """Publish over HTTP: one result per message, in their order, each as over WebSocket"""
    run, name = await bench.run(), bench.client_id()
    watcher = await bench.join(run, start="head")
    head = watcher.welcome["head"]
    messages = [
        {"clientSequence": 1, **graft("a")},
        {"clientSequence": 2, "eventType": "GRAFT", "data": {}},
        chat(3, "three"),
        chat(5, "five"),
        chat(6, "six", after=3),
    ]
    results = await bench.publish_many(run, name, messages)
    found = [result.get("code") or "accepted" for result in results]
    expected = ["accepted", "invalid_event", "accepted", "out_of_order", "accepted"]
    require(found == expected, "8.24", f"the results are {found}, not {expected}")
    await watcher.events_up_to(head + 3)
    numbers = [result["sequenceNumber"] for result in results if result["type"] == "accepted"]
    require(numbers == [head + 1, head + 2, head + 3], "4.21", f"the accepted ones have the numbers {numbers}")
    await bench.publish_many(run, name, [], cursor={"line": 4})
    await watcher.until(lambda: {"line": 4} in watcher.cursors.values(), "cursor that came over HTTP", "4.21")


@case("http.copies", "8.2 8.3 8.24")
async def copies(bench: ServerBench) -> None:
    """A copy over the other transport gets the first answer again"""
    run, name = await bench.run(), bench.client_id()
    peer = await bench.join(run, client_id=name)
    first = await peer.publish(1, "by WebSocket")
    [over_http] = await bench.publish_many(run, name, [chat(1, "by WebSocket")])
    _same(first, over_http)
    [second] = await bench.publish_many(run, name, [chat(2, "by HTTP")])
    _same(second, await peer.publish(2, "by HTTP"))
    polled = await bench.poll(run, clientId=name, generation=1, start="head")
    require(polled["lastClientSequence"] == 2, "4.21", f"lastClientSequence is {polled['lastClientSequence']}, not 2")
    await peer.settle()
    texts = [event["data"].get("text") for event in peer.events]
    for text in ("by WebSocket", "by HTTP"):
        require(texts.count(text) == 1, "8.2", f"the event {text!r} came {texts.count(text)} times")


def _same(first: Frame, copy: Frame) -> None:
    require(first["type"] == copy["type"] == "accepted", "8.2", f"first {shorten(first)}, copy {shorten(copy)}")
    require(copy.get("duplicate", False), "4.14", f"a copy over another transport is not marked: {shorten(copy)}")
    numbers = first["sequenceNumber"], copy["sequenceNumber"]
    require(numbers[0] == numbers[1], "8.2", f"the first was event {numbers[0]}, its copy {numbers[1]}")


@case("http.copies_in_flight", "8.2 8.24 8.16")
async def copies_in_flight(bench: ServerBench) -> None:
    """The same publishes over both transports at the same time: each is in the log once, and both get the same number"""
    run, name, count = await bench.run(), bench.client_id(), 40
    peer = await bench.join(run, client_id=name, start="head")
    over_http: list[Frame] = []

    async def by_http() -> None:
        for start in range(1, count + 1, 10):
            messages = [chat(number, f"{number}") for number in range(start, start + 10)]
            over_http.extend(await bench.publish_many(run, name, messages))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(by_http)
        for start in range(1, count + 1, 10):
            numbers = range(start, start + 10)
            await peer.send_frames([chat(number, f"{number}") | {"type": "publish"} for number in numbers])
            answers = await peer.answers(numbers)
            for answer in answers:
                retryable = answer.get("code") == "out_of_order"  # the other transport was ahead or behind
                require(answer["type"] == "accepted" or retryable, "8.2", f"a copy was answered with {shorten(answer)}")
    await peer.settle()
    for answer in over_http:
        if answer["type"] == "accepted":
            texts = [event["data"]["text"] for event in peer.events if event["sequenceNumber"] == answer["sequenceNumber"]]
            expected = [f"{answer['clientSequence']}"]
            require(texts == expected, "8.2", f"publish {expected} was accepted as an event with the texts {texts}")
    texts = [event["data"]["text"] for event in peer.events]
    require(len(set(texts)) == len(texts), "8.2", f"an event is in the log twice: {texts}")


@case("http.large_message", "6.7 4.21 9.4")
async def large_message(bench: ServerBench) -> None:
    """A message over HTTP whose data is larger than frameBytesMax is an invalid_event; the others are taken"""
    run = await bench.run()
    peer = await bench.join(run)
    limits = peer.welcome["limits"]
    most = limits["frameBytesMax"]
    if most * 2 > limits.get("bodyBytesMax", 0):
        raise NotApplicable("bodyBytesMax is not reported, or too small for such a message")
    results = await bench.publish_many(run, bench.client_id(), [chat(1), chat(2, "x" * (most + 1)), chat(3)])
    found = [result.get("code") or "accepted" for result in results]
    require(found == ["accepted", "invalid_event", "accepted"], "6.7", f"the results are {found}")


@case("http.optional_type", "4.21 3.3")
async def optional_type(bench: ServerBench) -> None:
    """A body may have its type, and fields that the server does not know"""
    run, name = await bench.run(), bench.client_id()
    [result] = await bench.publish_many(run, name, [chat(1, colour="red")], type="publishMany", colour="red", cursor=None)
    require(result["type"] == "accepted", "4.21", f"the result is {shorten(result)}")


@case("http.publish_generation", "8.24 6.1 5.6")
async def publish_generation(bench: ServerBench) -> None:
    """A publish request with a lower generation is refused with 4101; one with a higher takes the session over"""
    run, name = await bench.run(), bench.client_id()
    peer = await bench.join(run, client_id=name, generation=5)
    path = f"/api/runs/{run}/collaboration/publish"
    body = {"clientId": name, "generation": 4, "messages": [chat(1)]}
    await bench.problem(4101, "8.24", "POST", path, body=body)
    await peer.alive("8.24")
    await bench.publish_many(run, name, [chat(1)], generation=5)
    await peer.alive("8.24")
    await bench.publish_many(run, name, [chat(2)], generation=6)
    await peer.closed(4101, "8.24")


@case("http.replay", "5.5")
async def replay(bench: ServerBench) -> None:
    """Replay: events from a number on, in pages; without a number, the critical ones"""
    run, first = await _mixed(bench)
    path = f"/api/runs/{run}/collaboration/replay"
    page = await _page(bench, path, {"fromSequence": first, "limit": 4})
    require(_numbers(page) == list(range(first, first + 4)), "5.5", f"from {first}, limit 4: {_numbers(page)}")
    found = page["totalEvents"], page["hasMore"], page["nextSequence"]
    require(found == (9, True, first + 4), "5.5", f"totalEvents, hasMore, nextSequence are {found}")
    rest = await _page(bench, path, {"fromSequence": first + 4})
    require(_numbers(rest) == list(range(first + 4, first + 9)), "5.5", f"the second page is {_numbers(rest)}")
    require(rest["nextSequence"] is None, "5.5", f"nextSequence after the end is {rest['nextSequence']}")
    for query in ({}, {"criticalOnly": True}, {"criticalOnly": True, "fromSequence": first}):
        critical = await _page(bench, path, query)
        kinds = {event["isCritical"] for event in critical["events"]}
        require(kinds == {True}, "5.5", f"{query or 'without a number'}: events that are not critical")
    await bench.problem(4400, "5.5", "GET", path, query={"limit": 0})
    await bench.problem(4400, "5.5", "GET", path, query={"limit": 1001})


@case("http.events", "5.9")
async def events(bench: ServerBench) -> None:
    """Events by conditions: numbers, types, user, critical or not, time"""
    run, first = await _mixed(bench)
    path = f"/api/runs/{run}/collaboration/events"
    everything = await _page(bench, path, {"fromSequence": first})
    user, time = everything["events"][0]["userId"], everything["events"][-1]["timestamp"]
    last = first + 8
    conditions: list[tuple[Frame, list[int]]] = [
        ({"fromSequence": first + 2, "toSequence": first + 4}, [first + 2, first + 3, first + 4]),
        ({"fromSequence": first, "eventType": ["PRUNE", "FLAG"]}, [n for n in range(first, last + 1) if (n - first) % 3]),
        ({"fromSequence": first, "criticalOnly": True, "userId": user}, list(range(first, last + 1))),
        ({"fromSequence": first, "eventType": "CHAT"}, []),
        ({"fromSequence": first, "userId": "nobody-of-this-name"}, []),
        ({"fromSequence": first, "toTime": time}, list(range(first, last + 1))),
        ({"fromSequence": first, "fromTime": time + 1}, []),
        ({"fromSequence": first, "limit": 2}, [first, first + 1]),
    ]
    for query, expected in conditions:
        found = _numbers(await _page(bench, path, query))
        require(found == expected, "5.9", f"{query}: {found}, not {expected}")


async def _mixed(bench: ServerBench) -> tuple[str, int]:
    """A run with nine more events, GRAFT, PRUNE and FLAG in turn, all of one user; and the number of the first."""
    run = await bench.run()
    kinds: list[Frame] = [graft("p"), {"eventType": "PRUNE", "data": {"step": "s"}}, {"eventType": "FLAG", "data": {}}]
    messages = [{"clientSequence": number + 1, **kinds[number % 3]} for number in range(9)]
    results = await bench.publish_many(run, bench.client_id(), messages)
    first: int = results[0]["sequenceNumber"]
    return run, first


async def _page(bench: ServerBench, path: str, query: Frame) -> Frame:
    response = await bench.http("GET", path, query=query)
    require(response.status == 200, "5.5", f"{query}: status {response.status} {shorten(response.body.decode())}")
    return read_json(response, "Replay", "5.5")


def _numbers(page: Frame) -> list[int]:
    return [event["sequenceNumber"] for event in page["events"]]


@case("http.beside_websocket", "8.12 8.2 8.16 8.25")
async def beside_websocket(bench: ServerBench) -> None:
    """A poller and a WebSocket reader, while both kinds of authors publish, end with the same log"""
    run, count = await bench.run(), 60
    reader: ServerPeer = await bench.join(run, start="head")
    head, epoch = reader.welcome["head"], reader.welcome["epoch"]
    polled: list[Frame] = []

    async def poller() -> None:
        while len(polled) < count:
            answer = await bench.poll(run, afterSequence=head + len(polled), epoch=epoch, waitMs=1000, within_s=10.0)
            polled.extend(answer["events"])

    async def by_http(name: str) -> None:
        for number in range(1, count // 2 + 1, 5):
            await bench.publish_many(run, name, [chat(each) for each in range(number, number + 5)])

    async def by_websocket(peer: ServerPeer) -> None:
        for number in range(1, count // 2 + 1):
            await peer.publish(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller)
        nursery.start_soon(by_http, bench.client_id())
        nursery.start_soon(by_websocket, await bench.join(run))
    await reader.events_up_to(head + count)
    require(polled == reader.events, "8.12", "a poller and a WebSocket reader got different logs")


@case("http.content_type", "5.1 5.2")
async def json_bodies(bench: ServerBench) -> None:
    """Answers are JSON with the content type of JSON"""
    run = await bench.run()
    for path in ("poll", "replay", "events"):
        response = await bench.http("GET", f"/api/runs/{run}/collaboration/{path}")
        kind = response.headers.get("content-type", "")
        require("json" in kind, "5.1", f"{path} has the content type {kind!r}")
        try:
            parse(response.body)
        except BadFrame as error:
            require(False, "5.1", f"{path}: {error}")
