"""Cases for a server: the upgrade, `hello`, versions, tokens and origins."""

import h11
import trio

from simulation.conformance.cases import NotApplicable, Registry, require
from simulation.conformance.frames import Frame
from simulation.conformance.server_bench import BAD_TOKEN, ServerBench, read_problem
from simulation.conformance.wire import SUBPROTOCOL, Lost, RawHttp, Response, UpgradeRefused

registry: Registry[ServerBench] = Registry()
case = registry.case

FOREIGN_ORIGIN = "https://conformance-kit.invalid"


@case("upgrade.subprotocol", "3.1 3.8 4.9 8.13")
async def subprotocol(bench: ServerBench) -> None:
    """An upgrade that offers the subprotocol gets it, also among others"""
    run = await bench.shared_run()
    for offered in ((SUBPROTOCOL,), ("collab.v0.json", SUBPROTOCOL, "chat")):
        peer = await bench.upgraded(run, subprotocols=offered)
        chosen = peer.websocket.subprotocol
        require(chosen == SUBPROTOCOL, "3.1", f"offered {', '.join(offered)}, the server chose {chosen}")
        await peer.hello(clientId=bench.client_id(), token=bench.token())


@case("upgrade.no_subprotocol", "3.1 6.1")
async def no_subprotocol(bench: ServerBench) -> None:
    """Without the subprotocol the connection is closed with 4406"""
    run = await bench.shared_run()
    for offered in ((), ("chat", "collab.v2.json")):
        peer = await bench.upgraded(run, subprotocols=offered)
        await peer.closed(4406, "3.1")


@case("upgrade.plain_request", "3.1 5.6 5.1")
async def plain_request(bench: ServerBench) -> None:
    """A request to the WebSocket's address that is no upgrade is answered with 426 and code 1002"""
    run = await bench.shared_run()
    path = f"/ws/runs/{run}/collaboration"
    await bench.problem(1002, "3.1", "GET", path)
    websocket = [
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", SUBPROTOCOL),
    ]
    await bench.problem(1002, "3.1", "GET", path, headers=[*websocket, ("Connection", "Upgrade")])
    await bench.problem(1002, "3.1", "GET", path, headers=[*websocket, ("Upgrade", "websocket")])
    lines = [("Upgrade", "websocket"), ("Connection", "Upgrade"), *websocket]
    response = await _http_1_0(bench, bench.server.target.base_path + path, lines)
    read_problem(response, 1002, "3.1", "an upgrade in HTTP/1.0")


async def _http_1_0(bench: ServerBench, path: str, headers: list[tuple[str, str]]) -> Response:
    authority = bench.server.target.authority
    lines = "".join(f"{name}: {value}\r\n" for name, value in [("Host", authority), *headers])
    stream = await bench.dial()
    connection = RawHttp(stream, authority)
    with trio.fail_after(bench.patience_s):
        # h11 writes HTTP/1.1 only, so the head is written here; h11 must have sent a request to read its answer.
        await stream.send_all(f"GET {path} HTTP/1.0\r\n{lines}\r\n".encode())
        connection.expect_answer_to(h11.Request(method="GET", target=path, headers=[("Host", authority)]))
        try:
            return await connection.response()
        except Lost as error:
            require(False, "3.1", f"an upgrade in HTTP/1.0 was not answered: {error}")
            raise
        finally:
            await connection.aclose()


@case("upgrade.run_id_in_upper_case", "3.1")
async def upper_case(bench: ServerBench) -> None:
    """A run's id in upper case names the same run (1.1)"""
    run = await bench.shared_run()
    first = await bench.join(run)
    second = await bench.join(run.upper())
    epochs = first.welcome["epoch"], second.welcome["epoch"]
    require(epochs[0] == epochs[1], "3.1", f"the epochs are {epochs[0]} and {epochs[1]}: not the same run (1.1)")


@case("upgrade.unknown_run", "6.1 3.10 4.20")
async def unknown_run(bench: ServerBench) -> None:
    """A run that does not exist is refused with 4404"""
    await bench.turned_away("00000000-0000-4000-8000-000000000000", 4404, "6.1", token=bench.token())


@case("upgrade.foreign_origin", "3.5 10.5")
async def foreign_origin(bench: ServerBench) -> None:
    """An upgrade from a web page of an unknown origin is refused with 403"""
    run = await bench.shared_run()
    try:
        await bench.connect(run, headers=[("Origin", FOREIGN_ORIGIN)])
    except UpgradeRefused as refused:
        status = refused.response.status
        require(status == 403, "3.5", f"refused with HTTP status {status}, not with 403")
        read_problem(refused.response, 4403, "5.1", "an upgrade of a foreign origin")
        return
    require(False, "3.5", f"a page of {FOREIGN_ORIGIN} got a WebSocket")


@case("hello.protocol_version", "4.2 6.1 3.10")
async def protocol_version(bench: ServerBench) -> None:
    """A hello with another protocol version is refused with 4406"""
    run = await bench.shared_run()
    for version in (0, 2):
        await bench.turned_away(run, 4406, "4.2", protocol=version, token=bench.token())


@case("hello.comes_first", "3.6 3.7 4.20")
async def comes_first(bench: ServerBench) -> None:
    """Any other frame before hello is a bad frame"""
    run = await bench.shared_run()
    early: list[Frame] = [
        {"type": "ping", "nonce": 1},
        {"type": "bye"},
        {"type": "publish", "clientSequence": 1, "eventType": "CHAT", "data": {}},
    ]
    for frame in early:
        peer = await bench.upgraded(run, user=0)
        await peer.send_frames([frame])
        await peer.closed(4400, "3.7")


@case("hello.twice", "3.7")
async def twice(bench: ServerBench) -> None:
    """A second hello on a connection is a bad frame"""
    name = bench.client_id()
    peer = await bench.join(await bench.shared_run(), client_id=name)
    await peer.send("hello", protocol=1, clientId=name, token=bench.token())
    await peer.closed(4400, "3.7")


@case("hello.timeout", "3.6 6.1", is_slow=True)
async def timeout(bench: ServerBench) -> None:
    """A connection that is not welcomed in time is closed with 4003, and not too early"""
    run = await bench.shared_run()
    limits = (await bench.join(run)).welcome
    timeout_s = limits["limits"].get("helloTimeoutMs", 10_000) / 1000
    if timeout_s > 40:
        raise NotApplicable(f"the server waits {timeout_s:g} s for hello, longer than this case")
    peer = await bench.upgraded(run)
    start = trio.current_time()
    await peer.closed(4003, "3.6", timeout_s + bench.patience_s)
    took_s = trio.current_time() - start
    require(took_s > 0.8 * timeout_s - 0.5, "3.6", f"closed after {took_s:.1f} s; hello may take {timeout_s:g} s")


@case("token.in_header", "3.4 8.33 8.35")
async def in_header(bench: ServerBench) -> None:
    """With a token in the header of the upgrade, hello needs none; a token in hello takes precedence"""
    run = await bench.shared_run()
    peer = await bench.upgraded(run, user=0)
    await peer.hello(clientId=bench.client_id())
    await bench.turned_away(run, 4401, "8.33", upgrade={"headers": [("Authorization", f"Bearer {BAD_TOKEN}")]})
    await bench.turned_away(run, 4401, "8.35", upgrade={"user": 0}, token=BAD_TOKEN)


@case("token.missing_or_bad", "3.4 8.33 6.1")
async def missing_or_bad(bench: ServerBench) -> None:
    """Without a token, and with a bad one, nobody is welcomed: 4401"""
    run = await bench.shared_run()
    for token in (None, BAD_TOKEN, ""):
        await bench.turned_away(run, 4401, "8.33", token=token)


@case("token.in_url", "3.4 10.1")
async def in_url(bench: ServerBench) -> None:
    """A token in the URL is not taken"""
    run = await bench.shared_run()
    for name in ("token", "access_token"):
        try:
            peer = await bench.connect(run, query=f"?{name}={bench.token()}")
        except UpgradeRefused:
            continue
        await peer.send("hello", protocol=1, clientId=bench.client_id())
        await peer.closed((4401, 4400), "3.4")


@case("token.of_other_runs", "6.1 8.33")
async def of_other_runs(bench: ServerBench) -> None:
    """A token for other runs only is refused with 4403, over WebSocket and HTTP"""
    run = await bench.shared_run()
    token = bench.signed(runs=["00000000-0000-4000-8000-000000000000"])
    await bench.turned_away(run, 4403, "6.1", token=token)
    await bench.problem(4403, "6.1", "GET", f"/api/runs/{run}/collaboration/poll", token=token)


@case("token.not_valid_now", "8.33 6.1")
async def not_valid_now(bench: ServerBench) -> None:
    """A token that has ended, or was signed with another secret, is refused with 4401"""
    run = await bench.shared_run()
    ended = bench.signed(life_s=60, begins_s=-3600)
    header, content, signature = bench.signed().split(".")
    forged = f"{header}.{content}.{signature[::-1]}"
    for token in (ended, forged):
        await bench.turned_away(run, 4401, "8.33", token=token)


@case("token.expires", "8.38 8.39 4.18 4.7 6.1", is_slow=True)
async def expires(bench: ServerBench) -> None:
    """A token that ends: expiring near its end, 4401 after its end and a grace period, unless auth brings a new one"""
    run, life_s = await bench.shared_run(), 10
    kept, renewed = await bench.upgraded(run), await bench.upgraded(run)
    for peer in (kept, renewed):
        await peer.hello(clientId=bench.client_id(), token=bench.signed(life_s=life_s))
    start_s = trio.current_time()
    for peer in (kept, renewed):
        frame = await peer.expect("expiring", "8.38", life_s)
        require(frame["inMs"] <= 1000 * life_s, "8.38", f"inMs is {frame['inMs']}; the token lives {life_s} s")
    await renewed.send("auth", token=bench.signed())
    await renewed.alive("4.7")
    while kept.ended is None and trio.current_time() < start_s + life_s + 45:
        for peer in (kept, renewed):  # neither may be closed for its silence
            await peer.send("ack", sequenceNumber=0)
        await kept.quiet(5)
    await kept.closed(4401, "8.39", 0.1)
    took_s = trio.current_time() - start_s
    require(took_s > life_s - 2, "8.39", f"closed {took_s:.1f} s after the welcome; the token lives {life_s} s")
    await renewed.alive("4.7")


@case("welcome.content", "4.9 4.1 8.13 4.10 9.4")
async def welcome_content(bench: ServerBench) -> None:
    """The first welcome of a client: a fresh place, its own user present, limits that make sense"""
    peer = await bench.join(await bench.shared_run())
    welcome = peer.welcome
    require(welcome["outcome"] == "fresh", "8.13", f"outcome {welcome['outcome']} without a position")
    require(welcome["lastClientSequence"] == 0, "4.9", "lastClientSequence of a new client id is not 0")
    limits = welcome["limits"]
    require(limits["frameBytesMax"] >= 1024, "9.3", f"frameBytesMax is {limits['frameBytesMax']}")
    require(1 <= limits["unansweredMax"] <= 64, "9.3", f"unansweredMax is {limits['unansweredMax']}")
    require(limits["publishesPerS"] > 0, "9.3", f"publishesPerS is {limits['publishesPerS']}")
    require(welcome["activeUsers"], "4.9", "activeUsers leaves the client's own user out")
    require(peer.snapshot is not None, "8.13", "no snapshot after a fresh welcome with start snapshot")


@case("welcome.new_run", "4.9 8.13 4.10")
async def new_run(bench: ServerBench) -> None:
    """A new run has no events: head 0, oldest 1, an empty snapshot 0 (1.9, 1.10)"""
    peer = await bench.join(await bench.run(empty=True))
    welcome = peer.welcome
    assert peer.snapshot is not None
    found = welcome["head"], welcome["oldest"], welcome["afterSequence"]
    require(found == (0, 1, 0), "4.9", f"head, oldest, afterSequence of a new run are {found}, not (0, 1, 0)")
    state = peer.snapshot["state"]
    require(not any(state.values()), "4.10", f"the state of a new run is {state}, not empty")
