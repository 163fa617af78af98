"""Cases for a client: opening a connection, losing it, coming back, and the end of a session."""

import trio

from simulation.conformance.cases import KitCase, NotApplicable, Registry, require
from simulation.conformance.client_bench import ClientBench
from simulation.conformance.client_connection import ClientConnection, ClientExchange
from simulation.conformance.client_model import SLACK_S, START_S_MAX

registry: Registry[ClientBench] = Registry()
case = registry.case

TERMINAL = (4101, 4400, 4403, 4404, 4406, 4413, 4499)
NO_ATTEMPT_S = 4.0
"""How long a client that must not come back is watched: longer than any wait after one failure."""


@case("connect.first", "3.1 3.4 3.6 4.2 7.31 7.16 10.1")
async def first(bench: ClientBench) -> None:
    """The first connection: address, subprotocol, token, hello without a position, and a ping after the welcome"""
    connection = await (await bench.upgrade("3.1", START_S_MAX)).greeted()
    await trio.sleep(0.5)  # a frame before the welcome would be a failure
    require("afterSequence" not in connection.hello, "4.2", "the first hello has a position")
    await connection.welcome()
    ping = await connection.expect("ping", "7.31")
    require("roundTripMs" not in ping, "4.6", "the first ping reports a round trip, but no ping was answered yet")


@case("connect.unknown_fields", "3.3 4.9 3.10 3.12 4.20")
async def unknown_fields(bench: ClientBench) -> None:
    """Fields that the client does not know, and missing limits, change nothing"""
    connection = await bench.first(colour="red", limits={"frameBytesMax": 65_536, "newLimit": 7})
    await connection.send("events", events=[bench.log.append() | {"colour": "red"}], shade={"a": 1})
    connection.note_sent(bench.log.events)
    await bench.delivered_up_to(1, "3.3")
    await connection.websocket.send_ping()
    await connection.websocket.send_pong()
    await connection.send("error", code=4400, message="an error frame alone changes nothing", reason=None)
    await connection.append()
    await bench.delivered_up_to(2, "3.10")


@case("connect.wrong_subprotocol", "3.1 7.21")
async def wrong_subprotocol(bench: ClientBench) -> None:
    """A WebSocket on which the subprotocol was not chosen is left, and the client tries again"""
    upgrade = await bench.upgrade("3.1", START_S_MAX)
    await (await upgrade.accept(None)).left("3.1", 5.0)
    await bench.connection("3.1", bench.latest_s(1))


@case("connect.no_welcome", "7.20 7.21 6.4", is_slow=True)
async def no_welcome(bench: ClientBench) -> None:
    """Without a welcome the client leaves after connect_timeout_s, and tries again"""
    upgrade = await bench.upgrade("3.1", START_S_MAX)
    connection = await upgrade.greeted()
    await connection.left("7.20", bench.settings["connect_timeout_s"] + SLACK_S)
    await bench.connection("7.21", bench.latest_s(1))


@case("connect.frames_before_welcome", "3.9 6.4")
async def frames_before_welcome(bench: ClientBench) -> None:
    """Anything but welcome, goaway and error before the welcome is a bad frame: leave and resume"""
    connection = await (await bench.upgrade("3.1", START_S_MAX)).greeted()
    await connection.send("heartbeat", head=0)
    await connection.left("3.9", 5.0, (4400, None))
    await bench.connection("6.4", bench.latest_s(1))


@case("resume.after_a_cut", "4.2 7.12 6.3 7.22 7.31")
async def after_a_cut(bench: ClientBench) -> None:
    """A connection that is cut without a code is resumed: position, session, a higher generation, nothing twice"""
    connection = await bench.first()
    for _ in range(3):
        await connection.append()
    await bench.delivered_up_to(3)
    await connection.cut()
    bench.memory.known_up_to = 3
    bench.log.append()
    connection = await bench.again(connection, "7.22")
    await connection.append()
    delivered = await bench.delivered_up_to(5)
    require(delivered == [1, 2, 3, 4, 5], "7.12", f"the application was given the events {delivered}")


async def _resumes_after(bench: ClientBench, codes: tuple[int, ...]) -> None:
    connection = await bench.first()
    for failures, code in enumerate(codes, 1):
        await connection.append()
        await bench.delivered_up_to(bench.log.head)
        bench.memory.known_up_to = bench.log.head
        await connection.close(code)
        connection = await bench.again(connection, "6.2", failures=failures)
    require(connection.hello.get("afterSequence") == len(codes), "6.2", "the client did not resume from its position")


@case("resume.codes", "6.1 6.2 6.3", is_slow=True)
async def codes(bench: ClientBench) -> None:
    """After 4001, 4003, 4008 and 4030 the client comes back and resumes"""
    await _resumes_after(bench, (4001, 4003, 4008, 4030))


@case("resume.unknown_codes", "6.3 6.1", is_slow=True)
async def unknown_codes(bench: ClientBench) -> None:
    """After WebSocket's own codes, and codes of the 40 family that it does not know, the client resumes"""
    await _resumes_after(bench, (1011, 4099, 1000))


@case("resume.new_session", "6.2 6.3 6.1")
async def new_session(bench: ClientBench) -> None:
    """After 4102, or an unknown code of the 41 family, the client comes back with its position and no session id"""
    connection = await bench.first()
    for failures, code in enumerate((4102, 4199), 1):
        await connection.append()
        await bench.delivered_up_to(bench.log.head)
        bench.memory.session_id = None
        await connection.close(code)
        connection = await bench.again(connection, "6.2", failures=failures, sessionId=f"another-{failures}")
        found = connection.hello.get("sessionId")
        require(found is None, "6.2", f"after {code} hello names the session {found}")
        require(connection.hello.get("afterSequence") == failures, "6.2", f"after {code} hello has no position")


def _add_terminal(code: int) -> None:
    async def terminal(bench: ClientBench) -> None:
        connection = await bench.first()
        await connection.send("error", code=code, message="the conformance kit ends this session")
        await connection.close(code)
        ended = await bench.report("ended", "7.39")
        require(ended.get("code") == code, "7.39", f"the session ended with {code}, the application got {ended.get('code')}")
        await bench.nothing(NO_ATTEMPT_S, "6.2", f"although {code} ends the session")

    summary = f"After {code} the client never comes back, and tells its application"
    registry.add(KitCase(f"end.{code}", ("6.2", "6.1", "7.39", *(("6.3",) if code == 4499 else ())), summary, terminal))


for _code in TERMINAL:
    _add_terminal(_code)


@case("end.before_welcome", "6.2 6.1 3.10")
async def before_welcome(bench: ClientBench) -> None:
    """A refusal with 4404 before the welcome ends the session, too"""
    connection = await (await bench.upgrade("3.1", START_S_MAX)).greeted()
    await connection.send("error", code=4404, message="there is no such run")
    await connection.close(4404)
    await bench.report("ended", "6.2")
    await bench.nothing(NO_ATTEMPT_S, "6.2", "although 4404 ends the session")


@case("end.bye", "7.38 4.8 6.5 7.39 6.8")
async def bye(bench: ClientBench) -> None:
    """When its application leaves, the client sends bye; the outbox fails as closed, and says whether a copy may have arrived"""
    connection = await bench.first()
    connection.answers_publishes = False
    await bench.publish("sent")
    await connection.expect("publish", "7.4")
    await bench.close()
    await connection.expect("bye", "7.38")
    failed = await bench.report("failed", "7.39")
    require(failed["code"] == "closed", "6.8", f"the unanswered publish failed as {failed['code']}, not as closed")
    require(failed["mayHaveArrived"] is True, "7.39", "a publish that was sent and never answered may have arrived")
    await bench.report("ended", "7.39")
    await bench.nothing(2.0, "7.38", "although the application has left")


@case("goaway.waits", "7.23 4.19 6.5 7.21", is_slow=True)
async def goaway(bench: ClientBench) -> None:
    """After goaway the client leaves with 1000, and does not come back before retryAfterMs, nor after spreadMs more"""
    connection = await bench.first()
    await connection.append()
    await bench.delivered_up_to(1)
    asked_s = trio.current_time()
    await connection.send("goaway", code=4001, retryAfterMs=3000, spreadMs=1500)
    await connection.left("4.19", 2.0, (1000,))
    upgrade = await bench.upgrade("7.23", 4.5 + SLACK_S)
    waited_s = upgrade.at_s - asked_s
    require(waited_s >= 2.99, "7.23", f"the client came back after {waited_s:.2f} s; retryAfterMs was 3000")
    connection = await upgrade.greeted()
    await connection.welcome()
    require(connection.hello.get("afterSequence") == 1, "6.2", "the client did not resume from its position")


@case("goaway.in_place_of_welcome", "7.23 4.19 3.9", is_slow=True)
async def goaway_early(bench: ClientBench) -> None:
    """A goaway that comes instead of a welcome is obeyed, too"""
    connection = await (await bench.upgrade("3.1", START_S_MAX)).greeted()
    asked_s = trio.current_time()
    await connection.send("goaway", code=4030, retryAfterMs=4000, spreadMs=500)
    await connection.close(4030)
    upgrade = await bench.upgrade("7.23", 4.5 + SLACK_S)
    waited_s = upgrade.at_s - asked_s
    require(waited_s >= 3.99, "7.23", f"the client came back after {waited_s:.2f} s; retryAfterMs was 4000")


async def _refusable(bench: ClientBench) -> ClientExchange:
    """The first upgrade, of a client that can read why it is refused."""
    upgrade = await bench.upgrade("3.1", START_S_MAX)
    if not bench.settings["sees_refused_upgrades"]:
        raise NotApplicable("the client's environment does not show it the answer to a refused upgrade (sees_refused_upgrades)")
    return upgrade


@case("upgrade.retry_after", "7.23 5.7 5.8", is_slow=True)
async def retry_after(bench: ClientBench) -> None:
    """An upgrade that is refused with 4030 and a wait is not tried again before that"""
    upgrade = await _refusable(bench)
    asked_s = trio.current_time()
    await upgrade.refuse(503, 4030, retry_after_ms=3000)
    upgrade = await bench.upgrade("7.23", 3.0 + bench.latest_s(1))
    waited_s = upgrade.at_s - asked_s
    require(waited_s >= 2.99, "7.23", f"the client came back after {waited_s:.2f} s; retryAfterMs was 3000")


@case("upgrade.retry_after_of_a_proxy", "5.7 7.23", is_slow=True)
async def retry_after_of_a_proxy(bench: ClientBench) -> None:
    """Retry-After in seconds is believed from anyone"""
    upgrade = await _refusable(bench)
    asked_s = trio.current_time()
    await upgrade.answer(503, "a load balancer", [("Retry-After", "3")])
    upgrade = await bench.upgrade("5.7", 3.0 + bench.latest_s(1))
    waited_s = upgrade.at_s - asked_s
    require(waited_s >= 2.99, "5.7", f"the client came back after {waited_s:.2f} s; Retry-After was 3")


@case("upgrade.refused_for_good", "5.8 5.7 6.2")
async def refused_for_good(bench: ClientBench) -> None:
    """An upgrade that is refused with an HttpProblem of 4404 ends the session"""
    await (await _refusable(bench)).refuse(404, 4404)
    ended = await bench.report("ended", "5.8")
    require(ended.get("code") == 4404, "5.8", f"the application got {ended.get('code')}, not 4404")
    await bench.nothing(NO_ATTEMPT_S, "6.2", "although 4404 ends the session")


@case("upgrade.refused_by_a_proxy", "5.7 7.21")
async def refused_by_a_proxy(bench: ClientBench) -> None:
    """A 404 or 403 that has no HttpProblem comes from something in between: the client tries again"""
    upgrade = await bench.upgrade("3.1", START_S_MAX)
    await upgrade.answer(403, "forbidden by a proxy")
    upgrade = await bench.upgrade("5.7", bench.latest_s(1))
    await upgrade.answer(404, {"code": 1404, "message": "not a code of the protocol"})
    await bench.connection("5.7", bench.latest_s(2))


@case("token.refused", "7.40 6.1 6.2", is_slow=True)
async def token_refused(bench: ClientBench) -> None:
    """After 4401 before the welcome the client gets another token, and tries again at once"""
    connection = await (await bench.upgrade("3.1", START_S_MAX)).greeted()
    await connection.close(4401)
    await bench.report("token", "7.40")
    await bench.nothing(2.0, "7.40", "before the application has given a new token")
    bench.token = "dev:kit-another-token"
    await bench.give_token(bench.token)
    connection = await bench.connection("7.40", SLACK_S)
    _uses(connection, bench.token)


@case("token.refused_twice", "7.40 7.22", is_slow=True)
async def refused_twice(bench: ClientBench) -> None:
    """If the new token is refused, too, the client waits as after any failed attempt"""
    for number in (1, 2):
        connection = await (await bench.upgrade("7.40", START_S_MAX)).greeted()
        await connection.close(4401)
        await bench.report("token", "7.40")
        bench.token = f"dev:kit-token-{number}"
        given_s = trio.current_time()
        await bench.give_token(bench.token)
    upgrade = await bench.upgrade("7.40", bench.latest_s(2))
    waited_s = upgrade.at_s - given_s
    if bench.settings["policy"] == "full_jitter":
        require(waited_s >= 0.24, "7.40", f"after the second refusal the client came back after {waited_s:.2f} s, not 0.25 s")
    connection = await upgrade.greeted()
    await connection.welcome()
    _uses(connection, bench.token)


@case("token.ended", "7.40 6.2 7.36")
async def token_ended(bench: ClientBench) -> None:
    """After 4401 on a welcomed connection the client gets another token, and resumes with it"""
    connection = await bench.first()
    await connection.append()
    await bench.delivered_up_to(1)
    await connection.close(4401)
    await bench.report("token", "7.40")
    bench.token = "dev:kit-another-token"
    await bench.give_token(bench.token)
    connection = await bench.again(connection, "7.40")
    _uses(connection, bench.token)
    require(connection.hello.get("afterSequence") == 1, "7.40", "the client did not resume from its position")


@case("token.expiring", "7.36 4.18 4.7")
async def expiring(bench: ClientBench) -> None:
    """On expiring the client asks its application for a token, and sends it with auth"""
    connection = await bench.first()
    await connection.send("expiring", inMs=60_000)
    await bench.report("token", "7.36")
    await bench.give_token("dev:kit-another-token")
    frame = await connection.expect("auth", "7.36")
    require(frame["token"] == "dev:kit-another-token", "7.36", f"auth brought the token {frame['token']!r}")
    await connection.append()
    await bench.delivered_up_to(1)


def _uses(connection: ClientConnection, token: str) -> None:
    found = connection.hello.get("token") or connection.request.headers.get("authorization", "").removeprefix("Bearer ")
    require(found == token, "7.40", f"the client came with the token {found!r}, not with the new one")


@case("half_open.is_left", "7.32 6.4 6.6", is_slow=True)
async def half_open(bench: ClientBench) -> None:
    """When nothing comes back any more, the client leaves in the time of its keepalive policy, and resumes"""
    connection = await bench.first()
    await connection.append()
    await bench.delivered_up_to(1)
    connection.fall_silent()
    limit_s = bench.settings["ping_interval_s"] + bench.settings["ping_timeout_s"]
    if limit_s > 40:
        raise NotApplicable(f"the client waits {limit_s:g} s, longer than this case")
    left_s = limit_s + SLACK_S
    with trio.move_on_after(left_s):
        upgrade = await bench.upgrade("7.32", left_s)
        connection = await upgrade.greeted()
        await connection.welcome()
        await connection.append()
        await bench.delivered_up_to(2)
        return
    require(False, "7.32", f"after {left_s:g} s without a byte the client is still on the dead connection")


@case("ping.interval", "7.31 4.6 4.17", is_slow=True)
async def ping_interval(bench: ClientBench) -> None:
    """The client pings in its interval, and tells the round trip of the ping that was answered last"""
    connection = await bench.first()
    first = await connection.expect("ping", "7.31")
    second = await connection.expect("ping", "7.31", bench.settings["ping_interval_s"] + SLACK_S)
    require(second["nonce"] != first["nonce"], "4.6", f"two pings with the nonce {first['nonce']}")
    require("roundTripMs" in second, "4.6", "the second ping does not tell the round trip of the first")


@case("backoff.after_steady", "7.22 7.21 4.9", is_slow=True)
async def after_steady(bench: ClientBench) -> None:
    """After a steady connection the first attempt is spread over retry.firstSpreadMs of the last welcome"""
    connection = await bench.first(first_spread_ms=500)
    await connection.expect("ping", "7.31")
    await trio.sleep(bench.settings["steady_after_s"] + 1.0)
    await connection.cut()
    await bench.upgrade("7.22", bench.latest_s(0, 0.5))
