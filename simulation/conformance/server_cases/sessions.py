"""Cases for a server: sessions, takeover, presence, cursors, tokens on a living connection, and silence."""

import trio

from simulation.conformance.cases import NotApplicable, Registry, require
from simulation.conformance.frames import Frame, shorten
from simulation.conformance.server_bench import BAD_TOKEN, ServerBench

registry: Registry[ServerBench] = Registry()
case = registry.case

QUIET_S = 1.5
"""How long nothing must come where nothing may come."""
SLOWEST_PRESENCE_S = 5.0


@case("session.takeover", "8.22 6.1 3.11")
async def takeover(bench: ServerBench) -> None:
    """A hello with the same or a higher generation takes the session over; the old WebSocket is closed with 4101"""
    run, name = await bench.run(), bench.client_id()
    old = await bench.join(run, client_id=name, generation=3)
    session = old.welcome["sessionId"]
    for generation in (3, 4, 9):
        new = await bench.join(run, client_id=name, generation=generation)
        await old.closed(4101, "8.22")
        found = new.welcome["sessionId"]
        require(found == session, "8.22", f"the session {session} is called {found} after the takeover")
        answer = await new.publish(generation, after=0)
        require(answer["type"] == "accepted", "8.22", f"after a takeover a publish was rejected: {shorten(answer)}")
        old = new
    await old.alive("8.22")


@case("session.lower_generation", "8.22 6.1")
async def lower_generation(bench: ServerBench) -> None:
    """A hello with a lower generation than the session has is closed with 4101; the session stays where it is"""
    run, name = await bench.run(), bench.client_id()
    owner = await bench.join(run, client_id=name, generation=5)
    await bench.turned_away(run, 4101, "8.22", clientId=name, generation=4, token=bench.token())
    await owner.alive("8.22")


@case("session.nothing_from_the_old", "8.22 8.2 3.11")
async def nothing_from_the_old(bench: ServerBench) -> None:
    """Publishes of the superseded connection are not taken after the takeover, and it gets no more events"""
    run, name = await bench.run(), bench.client_id()
    old = await bench.join(run, client_id=name, start="head")
    new = await bench.join(run, client_id=name, generation=2, start="head")
    await old.send("publish", clientSequence=1, eventType="CHAT", data={"text": "from the old"})
    answer = await new.publish(1, "from the new")
    require(not answer.get("duplicate", False), "8.22", "a publish of the superseded connection was taken")
    await new.events_up_to(answer["sequenceNumber"])
    text = new.events[-1]["data"]["text"]
    require(text == "from the new", "8.22", f"the event is that {text}")
    await old.closed(4101, "8.22")
    require(not old.events, "8.22", "the superseded connection got an event after the takeover")


@case("session.names", "4.9 8.22 10.4")
async def names(bench: ServerBench) -> None:
    """A server that does not know a client takes over the session's name; the name alone gives no right (2.4)"""
    run, wanted = await bench.run(), f"session-{bench.client_id()}"
    first = await bench.join(run, sessionId=wanted)
    found = first.welcome["sessionId"]
    require(found == wanted, "4.9", f"the unknown client named its session {wanted}, the server {found} (2.4)")
    await bench.join(run, sessionId=wanted)
    await first.alive("10.4")


@case("session.one_user_per_client_id", "10.3 6.1")
async def one_user(bench: ServerBench) -> None:
    """A client id that another user has used is refused with 4403, over WebSocket and HTTP (2.3)"""
    run, name = await bench.run(), bench.client_id()
    owner = await bench.join(run, client_id=name)
    await owner.publish(1)
    await bench.turned_away(run, 4403, "10.3", clientId=name, generation=9, token=bench.token(1))
    path = f"/api/runs/{run}/collaboration"
    body = {"clientId": name, "generation": 9, "messages": []}
    await bench.problem(4403, "10.3", "POST", f"{path}/publish", body=body, token=bench.token(1))
    query = {"clientId": name, "generation": 9}
    await bench.problem(4403, "10.3", "GET", f"{path}/poll", query=query, token=bench.token(1))
    await owner.alive("10.3")


@case("session.client_id_binding", "10.3 8.31 6.1")
async def client_id_binding(bench: ServerBench) -> None:
    """A client id that has published stays its user's after the session; one that has not is free again (2.3)"""
    run, used, unused = await bench.run(), bench.client_id(), bench.client_id()
    for name in (used, unused):
        owner = await bench.join(run, client_id=name)
        if name == used:
            await owner.publish(1)
        await owner.send("bye")
        await owner.closed(1000, "4.8")
    await bench.turned_away(run, 4403, "10.3", clientId=used, generation=9, token=bench.token(1))
    await bench.join(run, user=1, client_id=unused)


@case("session.takeover_in_flight", "8.22 8.2 8.5 4.9")
async def takeover_in_flight(bench: ServerBench) -> None:
    """A client that changes connections during bursts, and resends unanswered publishes, loses and doubles nothing"""
    run, name, count = await bench.run(), bench.client_id(), 60
    reader = await bench.join(run, start="head")
    frames: list[Frame] = [
        {"type": "publish", "clientSequence": n, "eventType": "CHAT", "data": {"n": n}} for n in range(1, count + 1)
    ]
    settled, generation = 0, 1
    while settled < count:
        peer = await bench.join(run, client_id=name, generation=generation, start="head")
        taken = peer.welcome["lastClientSequence"]
        require(taken >= settled, "4.9", f"lastClientSequence is {taken}, although {settled} was accepted")
        burst = frames[settled : settled + 20]
        await peer.send_frames(burst)
        if generation < 6:  # leave before the answers are there, as soon as some are
            for frame in burst[: generation % 3]:
                await peer.answer(frame["clientSequence"])
        else:
            await peer.answers(frame["clientSequence"] for frame in burst)
            settled += len(burst)
        generation += 1
    late = await bench.join(run, start="head")
    await reader.events_up_to(late.welcome["head"])
    numbers = [event["data"]["n"] for event in reader.events]
    require(numbers == list(range(1, count + 1)), "8.2", f"the log has the publishes {numbers}")


@case("session.ids_are_secret", "10.3 4.11 4.12")
async def ids_are_secret(bench: ServerBench) -> None:
    """No frame to others names a client id or a session id"""
    run, secret, session = await bench.run(), bench.client_id() + "-secret", bench.client_id() + "-session"
    watcher = await bench.join(run, user=0)
    author = await bench.join(run, client_id=secret, sessionId=session)
    answer = await author.publish(1)
    await author.send("cursor", data={"line": 1})
    await author.send("bye")
    await watcher.events_up_to(answer["sequenceNumber"])
    await watcher.quiet(QUIET_S)
    for frame in watcher.seen:
        require(secret not in shorten(frame, 10**9), "10.3", f"a frame tells another's client id: {shorten(frame)}")
        require(session not in shorten(frame, 10**9), "10.3", f"a frame tells another's session id: {shorten(frame)}")


@case("session.bye", "4.8 6.5 8.31")
async def bye(bench: ServerBench) -> None:
    """After bye the server closes with 1000, and the session ends at once"""
    run = await bench.run()
    watcher = await bench.join(run, user=0)
    user = await _user_of(bench, run, 1)
    leaver = await bench.join(run, user=1)
    await watcher.until(lambda: user in watcher.present, f"presence of {user}", "8.29", SLOWEST_PRESENCE_S)
    await leaver.send("bye")
    await leaver.closed(1000, "4.8")
    await watcher.until(lambda: user not in watcher.present, f"the leave of {user}", "8.31", SLOWEST_PRESENCE_S)


@case("session.silence", "8.21 6.1", is_slow=True)
async def silence(bench: ServerBench) -> None:
    """A client that sends nothing is closed with 4003 after silenceMaxMs; one that sends anything is not"""
    run = await bench.run()
    silent, talker = await bench.join(run), await bench.join(run)
    silence_s = silent.welcome["limits"].get("silenceMaxMs", 35_000) / 1000
    if silence_s > 50:
        raise NotApplicable(f"a client may be silent for {silence_s:g} s, longer than this case")
    start_s = trio.current_time()

    async def talk() -> None:
        while True:
            await talker.send("ack", sequenceNumber=0)
            await talker.quiet(silence_s / 3)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk)
        await silent.closed(4003, "8.21", silence_s + bench.patience_s)
        nursery.cancel_scope.cancel()
    took_s = trio.current_time() - start_s
    require(took_s > 0.9 * silence_s - 0.5, "8.21", f"closed after {took_s:.1f} s of silence; {silence_s:g} s are allowed")
    await talker.alive("8.21")


async def _user_of(bench: ServerBench, run: str, user: int) -> str:
    """The name by which the server knows the n-th user: that of an event which they publish."""
    [result] = await bench.publish_many(
        run, bench.client_id(), [{"clientSequence": 1, "eventType": "CHAT", "data": {}}], token=bench.token(user)
    )
    number = result["sequenceNumber"]
    polled = await bench.poll(run, afterSequence=number - 1)
    name: str = polled["events"][0]["userId"]
    return name


@case("presence.users", "8.29 4.12 4.9 8.28")
async def users(bench: ServerBench) -> None:
    """Arrivals and departures reach the others; a user with two sessions is present until both have ended"""
    run = await bench.run()
    watcher = await bench.join(run, user=0)
    me = (await _user_of(bench, run, 0)), await _user_of(bench, run, 1)
    require(me[0] in watcher.welcome["activeUsers"], "4.9", "activeUsers of welcome leaves its own user out")
    first, second = await bench.join(run, user=1), await bench.join(run, user=1)
    require(me[1] in second.welcome["activeUsers"], "4.9", "a user with a session is missing in activeUsers")
    await watcher.until(lambda: me[1] in watcher.present, f"presence of {me[1]}", "8.29", SLOWEST_PRESENCE_S)
    await first.send("bye")
    await first.closed(1000, "4.8")
    for frame in await watcher.quiet(QUIET_S):
        left = frame.get("left", []) if frame["type"] == "presence" else []
        require(me[1] not in left, "8.29", f"{me[1]} was reported to have left, but has another session")
    await second.send("bye")
    await watcher.until(lambda: me[1] not in watcher.present, f"the leave of {me[1]}", "8.29", SLOWEST_PRESENCE_S)


@case("presence.grace", "8.32 2.4", is_slow=True)
async def grace(bench: ServerBench) -> None:
    """A session outlives its cut connection for the grace period: its user leaves only if the client does not return"""
    run, name = await bench.run(), bench.client_id()
    watcher = await bench.join(run, user=0)
    user = await _user_of(bench, run, 1)
    first = await bench.join(run, user=1, client_id=name)
    await watcher.until(lambda: user in watcher.present, f"presence of {user}", "8.29", SLOWEST_PRESENCE_S)
    await first.cut()
    heard = await watcher.quiet(QUIET_S)
    if any(user in frame.get("left", []) for frame in heard):
        raise NotApplicable("the server's grace period is shorter than this case can tell")
    second = await bench.join(run, user=1, client_id=name, generation=2)
    found, before = second.welcome["sessionId"], first.welcome["sessionId"]
    require(found == before, "8.32", f"within the grace period the session is called {found}, not {before}")
    await second.cut()
    with trio.move_on_after(60):
        while user in watcher.present:
            await watcher.quiet(5)
            await watcher.settle()
        return
    require(False, "8.32", f"{user} is still present 60 s after the connection was cut (the default grace is 30 s)")


@case("cursor.latest", "4.4 4.13 8.28 8.29 8.30")
async def cursor(bench: ServerBench) -> None:
    """Cursors reach others as latest values without a number, gathered, and are forgotten when their user leaves"""
    run = await bench.run()
    watcher = await bench.join(run, user=0)
    user = await _user_of(bench, run, 1)
    mover = await bench.join(run, user=1)
    position = watcher.position
    await mover.send_frames([{"type": "cursor", "data": {"line": line}} for line in range(100)])
    last = {"line": 99}
    await watcher.until(lambda: watcher.cursors.get(user) == last, f"the last cursor of {user}", "8.29", SLOWEST_PRESENCE_S)
    count = sum(user in frame.get("moved", {}) for frame in watcher.seen)
    require(count <= 20, "8.29", f"100 moves at once came as {count} frames; they are gathered")
    answer = await mover.publish(1)
    await watcher.events_up_to(answer["sequenceNumber"])
    found = answer["sequenceNumber"] - position
    require(found <= 2, "8.28", "cursors were given numbers of the log")
    late = await bench.join(run, user=0)
    require(late.cursors.get(user) == last, "4.9", f"cursorPositions of a new welcome has {late.cursors.get(user)}")
    await mover.send("bye")
    await watcher.until(lambda: user not in watcher.present, f"the leave of {user}", "8.31", SLOWEST_PRESENCE_S)
    later = await bench.join(run, user=0)
    require(user not in later.cursors, "8.30", "the cursor of a user who left is still there")


@case("cursor.largest", "4.4 9.4")
async def largest(bench: ServerBench) -> None:
    """A cursor of 512 bytes of JSON is taken"""
    peer = await bench.join(await bench.run())
    await peer.send_raw('{"type":"cursor","data":{"t":"' + "x" * (512 - 8) + '"}}')
    await peer.alive("4.4")


@case("token.of_hello_goes_first", "8.35 10.2")
async def of_hello_goes_first(bench: ServerBench) -> None:
    """When upgrade and hello bring tokens of two users, the events are those of the user of hello"""
    run = await bench.run()
    user = await _user_of(bench, run, 1)
    peer = await bench.upgraded(run, user=0)
    await peer.hello(clientId=bench.client_id(), token=bench.token(1), start="head")
    answer = await peer.publish(1)
    event = (await peer.events_up_to(answer["sequenceNumber"]))[-1]
    require(event["userId"] == user, "8.35", f"the event is of {event['userId']}; the token of hello names {user}")


@case("auth.new_token", "4.7 8.36 6.1")
async def new_token(bench: ServerBench) -> None:
    """auth with a good token keeps the connection; with a bad one it is closed with 4401, with another user's 4403"""
    run = await bench.run()
    peer = await bench.join(run)
    await peer.send("auth", token=bench.token())
    await peer.alive("4.7")
    await peer.send("auth", token=BAD_TOKEN)
    await peer.closed(4401, "8.36")
    peer = await bench.join(run)
    await peer.send("auth", token=bench.token(1))
    await peer.closed(4403, "8.36")
