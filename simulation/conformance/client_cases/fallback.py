"""Cases for a client: a WebSocket that does not get through, HTTP polling, probes, and the way back."""

import trio

from simulation.conformance.cases import NotApplicable, Registry, require
from simulation.conformance.client_bench import ClientBench
from simulation.conformance.client_connection import ClientExchange
from simulation.conformance.client_model import SLACK_S, START_S_MAX

registry: Registry[ClientBench] = Registry()
case = registry.case


async def _blocked(bench: ClientBench) -> ClientExchange:
    """Refuse upgrades, each in another way, until the client polls; the waits are checked. Returns the first poll."""
    most = bench.settings["fallback_after_failures"]
    if most is None:
        raise NotApplicable("this client never falls back to polling")
    last_s = 0.0
    for failures in range(most):
        latest_s = bench.latest_s(failures) if failures else START_S_MAX
        upgrade = await bench.upgrade("7.25", latest_s)
        if failures and bench.settings["policy"] == "full_jitter":
            waited_s = upgrade.at_s - last_s
            require(
                waited_s >= 0.24, "7.22", f"after {failures} failures the next attempt came after {waited_s:.2f} s, not 0.25 s"
            )
        match failures % 3:
            case 0:
                await upgrade.drop()
            case 1:
                await upgrade.refuse(426, 1002)
            case 2:
                await upgrade.answer(502, "a proxy that does not speak WebSocket")
        last_s = trio.current_time()
    return await _poll(bench, "7.25", bench.latest_s(most))


async def _poll(bench: ClientBench, clause: str, within_s: float) -> ClientExchange:
    """The next poll; upgrades (probes) are refused, publish requests answered."""
    with trio.move_on_after(within_s):
        while True:
            found = await bench.exchange(clause, within_s)
            if found.kind == "poll":
                bench.check_poll(found)
                return found
            await _serve(bench, found)
    require(False, clause, f"no poll within {within_s:g} s")
    raise AssertionError


@case("fallback.polls", "7.25 7.26 7.22 7.21 4.21 5.3 3.1", is_slow=True)
async def polls(bench: ClientBench) -> None:
    """After fallback_after_failures failed upgrades the client polls, with its position, and publishes over HTTP"""
    for tag in "ab":
        await bench.publish(tag)
    poll = await _blocked(bench)
    bench.log.append()
    bench.log.append()
    await bench.answer_poll(poll)
    answered_s = trio.current_time()
    await bench.delivered_up_to(2, "7.26")
    bench.memory.known_up_to = 2
    request = await bench.exchange("7.26", bench.settings["poll_interval_s"] + SLACK_S)
    require(request.kind == "publish", "7.26", f"{request.request.path} came; queued publishes leave after the first poll")
    bench.check_request(request)
    tags = [message["data"]["tag"] for message in request.frame["messages"]]
    require(tags == list("ab")[: len(tags)], "7.26", f"the messages are {tags}, not a, b")
    await bench.answer_publish(request)
    await bench.accepted("ab", "7.26")
    poll = await _poll(bench, "7.26", bench.settings["poll_interval_s"] + SLACK_S)
    waited_s = poll.at_s - answered_s
    least_s = bench.settings["poll_interval_s"] - 0.05
    require(waited_s >= least_s, "7.26", f"the next poll came after {waited_s:.2f} s, not {least_s:g} s")
    after = poll.frame.get("afterSequence")
    require(after is not None and after >= 2, "7.26", f"the next poll has afterSequence {after}; 2 was handed over")
    await bench.answer_poll(poll)
    await bench.delivered_up_to(4, "7.26")


@case("fallback.returns", "7.28 7.29 7.25 7.26 2.6", is_slow=True)
async def returns(bench: ClientBench) -> None:
    """A probe that is welcomed takes over: position and outbox go on, nothing twice, and polling ends after a pong"""
    poll = await _blocked(bench)
    bench.log.append()
    await bench.answer_poll(poll)
    await bench.delivered_up_to(1)
    bench.memory.known_up_to = 1
    connection = await (await _probe(bench)).greeted("7.28")
    require(
        connection.hello.get("afterSequence") == 1,
        "7.28",
        f"the probe's hello says after {connection.hello.get('afterSequence')}",
    )
    connection.answers_pings = False
    await connection.welcome()
    ping = await connection.expect("ping", "7.29")
    await bench.publish("by the probe")
    await connection.expect("publish", "7.29")
    await connection.send("pong", nonce=ping["nonce"], serverTime=1)
    connection.answers_pings = True
    await connection.append()
    delivered = await bench.delivered_up_to(3)
    require(delivered == [1, 2, 3], "7.29", f"the application was given the events {delivered}")
    with trio.move_on_after(1.0):
        while True:  # a poll that was under way
            late = await bench.exchange("7.29", 60.0)
            require(late.kind == "poll", "7.29", f"{late.request.path} came after the probe was welcomed")
            await late.drop()
    await bench.nothing(bench.settings["poll_interval_s"] + 1.0, "7.29", "although a ping was answered on the WebSocket")


@case("fallback.failed_probe", "7.30 7.28 7.27 2.6", is_slow=True)
async def failed_probe(bench: ClientBench) -> None:
    """After a probe that failed, polling goes on with a generation above that of the probe"""
    await bench.answer_poll(await _blocked(bench))
    upgrade = await _probe(bench)
    connection = await upgrade.greeted("7.28")
    probe_generation = connection.hello["generation"]
    await connection.cut()
    poll = await _poll(bench, "7.30", bench.settings["poll_interval_s"] + bench.latest_s(1))
    found = poll.frame.get("generation", 1)
    require(found > probe_generation, "7.30", f"a poll after the probe has generation {found}, the probe had {probe_generation}")
    await bench.answer_poll(poll)


async def _probe(bench: ClientBench) -> ClientExchange:
    """The next upgrade of a client on polling; polls and publish requests are answered."""
    probe_s = bench.settings["probe_interval_s"] * (1 + bench.settings["probe_jitter"]) + SLACK_S
    deadline_s = trio.current_time() + probe_s
    while True:
        found = await bench.exchange("7.28", max(0.1, deadline_s - trio.current_time()))
        if found.kind == "upgrade":
            return found
        await _serve(bench, found)


@case("fallback.retry_after", "7.23 7.27 5.7 5.8", is_slow=True)
async def retry_after(bench: ClientBench) -> None:
    """A poll that is refused with a wait: no request of any kind before it; then polling goes on"""
    poll = await _blocked(bench)
    await bench.answer_poll(poll)
    poll = await _poll(bench, "7.26", bench.settings["poll_interval_s"] + SLACK_S)
    asked_s = trio.current_time()
    await poll.refuse(503, 4030, retry_after_ms=4000)
    await trio.sleep(0.5)  # the answer is on its way, and a request may be, too
    await bench.publish("later")
    found = await bench.exchange("7.23", 4.0 + bench.latest_s(1))
    waited_s = found.at_s - asked_s
    require(waited_s >= 3.99, "7.23", f"{found.request.path} came after {waited_s:.2f} s; retryAfterMs was 4000")
    await _serve(bench, found)


@case("fallback.lost_answer", "7.26 7.27 7.1 7.4 7.8 8.2", is_slow=True)
async def lost_answer(bench: ClientBench) -> None:
    """A publish request whose answer is lost is sent again under the same numbers, and settled once by the copies' answers"""
    for tag in "abc":
        await bench.publish(tag)
    await bench.answer_poll(await _blocked(bench))
    request = await _publish(bench)
    for message in request.frame["messages"][:2]:
        bench.log.take(message)  # taken, and the answer is lost
    await request.drop()
    again = await _publish(bench)
    numbers = [message["clientSequence"] for message in again.frame["messages"]]
    require(numbers[:1] == [1], "7.8", f"after a lost answer the messages are {numbers}; 1 is the oldest unanswered one")
    await bench.answer_publish(again)
    for _ in range(2):
        await bench.answer_poll(await _poll(bench, "7.26", bench.settings["poll_interval_s"] + bench.latest_s(1)))
    delivered = await bench.delivered_up_to(3, "7.26")
    require(delivered == [1, 2, 3], "7.12", f"the application was given the events {delivered}")
    await bench.accepted("abc", "7.1")


async def _publish(bench: ClientBench) -> ClientExchange:
    """The next publish request with a message; polls are answered, probes refused."""
    within_s = 3 * bench.settings["poll_interval_s"] + bench.latest_s(2)
    deadline_s = trio.current_time() + within_s
    while True:
        found = await bench.exchange("7.26", max(0.1, deadline_s - trio.current_time()))
        if found.kind == "publish" and found.frame.get("messages"):
            bench.check_request(found)
            return found
        await _serve(bench, found)


async def _serve(bench: ClientBench, found: ClientExchange) -> None:
    if found.kind == "poll":
        bench.check_poll(found)
        await bench.answer_poll(found)
    elif found.kind == "publish":
        bench.check_request(found)
        await bench.answer_publish(found)
    else:
        await found.drop()


@case("fallback.reset", "7.15 7.26 5.8 4.21", is_slow=True)
async def reset(bench: ClientBench) -> None:
    """A poll's answer with the outcome reset moves the client into the other epoch, and the application is notified"""
    poll = await _blocked(bench)
    bench.log.append()
    bench.log.append()
    await bench.answer_poll(poll)
    await bench.delivered_up_to(2)
    bench.log.lose_history(1)
    bench.memory.known_up_to = 0
    for _ in range(2):  # one poll may have been answered before
        await bench.answer_poll(await _poll(bench, "7.26", bench.settings["poll_interval_s"] + SLACK_S))
    content = await bench.report("reset", "7.15")
    require(content["sequenceNumber"] == 1, "7.15", f"the snapshot was at 1, the application got {content['sequenceNumber']}")
    poll = await _poll(bench, "7.26", bench.settings["poll_interval_s"] + SLACK_S)
    found = poll.frame.get("epoch"), poll.frame.get("afterSequence")
    require(found == (bench.log.epoch, 1), "7.15", f"after the reset a poll has the position {found}")
    await bench.answer_poll(poll)


@case("fallback.ends_for_good", "5.8 6.2 7.39", is_slow=True)
async def ends_for_good(bench: ClientBench) -> None:
    """A poll that is refused with 4403 ends the session"""
    poll = await _blocked(bench)
    await poll.refuse(403, 4403)
    ended = await bench.report("ended", "5.8")
    require(ended.get("code") == 4403, "5.8", f"the application got {ended.get('code')}, not 4403")
    await bench.nothing(4.0, "6.2", "although 4403 ends the session")


@case("fallback.failed_requests", "7.27 5.7", is_slow=True)
async def failed_requests(bench: ClientBench) -> None:
    """Polls that fail without a code, or with malformed answers, are repeated after a wait, from the same position"""
    poll = await _blocked(bench)
    bench.log.append()
    await bench.answer_poll(poll)
    await bench.delivered_up_to(1)
    bench.memory.known_up_to = 1
    failed_s = 0.0
    for failures in range(3):
        poll = await _poll(bench, "7.27", bench.settings["poll_interval_s"] + bench.latest_s(failures + 1))
        require(poll.frame.get("afterSequence") == 1, "7.27", f"a poll after a failed one has {poll.frame.get('afterSequence')}")
        if failures:
            waited_s = poll.at_s - failed_s
            least_s = bench.settings["poll_interval_s"] - 0.05
            require(waited_s >= least_s, "7.27", f"after a failed poll the next came after {waited_s:.2f} s, not {least_s:g} s")
        match failures:
            case 0:
                await poll.answer(502, "a bad gateway")
            case 1:
                await poll.answer(200, {"events": "none"})
            case 2:
                await bench.answer_poll(poll)
        failed_s = trio.current_time()
