"""The front door over HTTP: answers, limits and errors, as a client sees them."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from reference.protocol.limits import Limit
from reference.server.wire.exchange import AppFault
from reference.server.wire.limits import DoorLimits
from reference.server.wire.memory_stream import memory_pair
from reference.server.wire.request_head import HttpRefusal, RequestHead
from reference.server.wire.websocket import Accept

from .helpers import KEY, UPGRADE, read_answer, read_frame, read_to_end, read_until, respond, running_front_door, text

LIMITS = DoorLimits(head_bytes_max=1000, body_bytes_max=2000, head_timeout_s=10, keep_alive_timeout_s=30, request_timeout_s=60)


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def post(body: bytes, *headers: str) -> bytes:
    return get("/echo", f"Content-Length: {len(body)}", *headers, method="POST") + body


# ---- what works ----


async def test_requests_follow_each_other_on_one_connection() -> None:
    async with running_front_door() as running:
        client = running.connect()
        for request, body in [
            (get("/a%20b?c=%20d"), b"GET /a b?c=%20d"),
            (get("http://other/absolute?q"), b"GET /absolute?q"),
            (post(b"hello"), b"hello"),
            (get("/chunks"), b"onetwo"),
            (get("/echo", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        ]:
            await client.send_all(request)
            answer = await read_answer(client)
            assert (answer.status, answer.body) == (200, body)
            assert "date" in answer.headers
        assert running.door.statistics().connections == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with running_front_door() as running:
        client = running.connect()
        await client.send_all(get("/1") + post(b"2") + get("/3", "Connection: close") + get("/4"))
        bodies = [(await read_answer(client)).body for _ in range(3)]
        assert bodies == [b"GET /1?", b"2", b"GET /3?"]
        await client.send_eof()
        assert await read_to_end(client) == b"", "nothing is answered after Connection: close"


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    async with running_front_door() as running:
        client = running.connect()
        for path in ("/x", "/chunks"):
            await client.send_all(get(path, method="HEAD"))
            answer = await read_answer(client, has_body=False)
            assert answer.status == 200
            assert answer.headers.keys() & {"content-length", "transfer-encoding"}
        await client.send_all(get("/raises", method="HEAD"))
        await client.send_eof()
        answer = await read_answer(client, has_body=False)
        assert answer.status == 500
        assert await read_to_end(client) == b""


async def test_http_1_0_is_answered_and_closed() -> None:
    async with running_front_door() as running:
        client = running.connect()
        await client.send_all(b"GET /chunks HTTP/1.0\r\n\r\n")
        await client.send_eof()
        assert (await read_to_end(client)).endswith(b"\r\n\r\nonetwo")


async def test_status_204_drops_the_body() -> None:
    async with running_front_door() as running:
        client = running.connect()
        await client.send_all(get("/no-content") + get("/next"))
        assert (await read_answer(client)).status == 204
        assert (await read_answer(client)).body == b"GET /next?"


async def test_100_continue_comes_when_the_application_reads() -> None:
    async with running_front_door() as running:
        client = running.connect()
        await client.send_all(get("/echo", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        assert await read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
        await client.send_all(b"hello")
        assert (await read_answer(client)).body == b"hello"


async def test_100_continue_that_nobody_asked_for_ends_the_connection(autojump_clock: MockClock) -> None:
    async with running_front_door() as running:
        client = running.connect()
        await client.send_all(get("/x", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        assert (await read_answer(client)).status == 200
        assert await read_to_end(client) == b""


async def test_a_body_that_the_application_does_not_read_is_skipped() -> None:
    async with running_front_door() as running:
        client = running.connect()
        body = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
        await client.send_all(get("/x", f"Content-Length: {len(body)}") + body + get("/y"))
        assert (await read_answer(client)).body == b"GET /x?"
        assert (await read_answer(client)).body == b"GET /y?"
        await client.send_eof()
        assert await read_to_end(client) == b"", "nothing else was taken for a request"


async def test_an_upgrade_may_follow_requests_on_the_same_connection(autojump_clock: MockClock) -> None:
    async with running_front_door() as running:
        client = running.connect()
        await client.send_all(get("/first") + UPGRADE + text("hello"))
        assert (await read_answer(client)).body == b"GET /first?"
        assert (await read_until(client, b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await read_frame(client) == (0x1, b"hello")
        assert running.door.statistics().websockets == 1


async def test_an_upgrade_to_something_else_is_an_ordinary_request() -> None:
    async with running_front_door() as running:
        client = running.connect()
        await client.send_all(get("/x", "Connection: Upgrade", "Upgrade: h2c") + get("/y"))
        assert (await read_answer(client)).body == b"GET /x?"
        assert (await read_answer(client)).body == b"GET /y?"


async def test_a_half_closed_client_is_still_answered() -> None:
    async with running_front_door() as running:
        client = running.connect()
        await client.send_all(get("/x"))
        await client.send_eof()
        assert (await read_to_end(client)).endswith(b"GET /x?")


# ---- what clients do wrong ----


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, 4400),
        (b"garbage\r\n\r\n", 400, 4400),
        (b"GET / HTTP/1.1\r\n\r\n", 400, 4400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, 4406),
        (get("/", "Content-Length: 1", "Transfer-Encoding: chunked"), 400, 4400),
        (get("/", "Content-Length: 1", "Content-Length: 2"), 400, 4400),
        (get("/", "Transfer-Encoding: gzip"), 501, 4400),
        (get("x:1", method="CONNECT"), 501, 4400),
        (get("/" + "x" * 1000), 431, 4413),
        (get("/", "X: " + "x" * 1000), 431, 4413),
        (get("/" + "x" * 5000)[:-4], 431, 4413),
        (get("/echo", "Content-Length: 2001"), 413, 4413),
        (get("/echo", "Content-Length: 99999999999999999999"), 413, 4413),
        (get("/echo", "Transfer-Encoding: chunked") + b"7d1\r\n" + b"x" * 2001, 413, 4413),
        (get("/echo", "Transfer-Encoding: chunked") + b"xyz\r\n", 400, 4400),
        (UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"), 426, 1002),
        (UPGRADE.replace(b"keep-alive, Upgrade", b"keep-alive"), 426, 1002),
        (UPGRADE.replace(KEY, b"short"), 400, 4400),
        (UPGRADE.replace(KEY, b"\xff" * 24), 400, 4400),
        (UPGRADE.replace(b"Host: x", b"Host: x\r\nContent-Length: 3"), 400, 4400),
        (UPGRADE.replace(b"Version: 13", b"Version: 8"), 426, 4406),
    ],
)
async def test_a_bad_request_is_refused_with_a_code_and_the_connection_ends(
    request_bytes: bytes, status: int, code: int, autojump_clock: MockClock
) -> None:
    async with running_front_door(limits=LIMITS) as running:
        client = running.connect()
        await client.send_all(request_bytes + b"more" * 20_000)  # still sending: it must read the answer even so
        answer = await read_answer(client)
        assert (answer.status, answer.problem["code"]) == (status, code)
        assert answer.headers["connection"] == "close"
        assert await read_to_end(client) == b""
        assert running.problems == []


async def test_a_refusal_at_the_limits_exact_byte() -> None:
    async with running_front_door(limits=LIMITS) as running:
        fixed = len(get("/", "X: "))
        assert (await running.ask(get("/", "X: " + "x" * (1000 - fixed)))).status == 200
        assert (await running.ask(get("/", "X: " + "x" * (1001 - fixed)))).status == 431
        assert (await running.ask(post(b"x" * 2000))).body == b"x" * 2000
        assert (await running.ask(post(b"x" * 2001))).status == 413


async def test_a_head_that_drips_is_timed_out_with_408(autojump_clock: MockClock) -> None:
    async with running_front_door(limits=LIMITS) as running:
        client = running.connect()
        start = trio.current_time()

        async def drip() -> None:
            for byte in get("/", "X: " + "x" * 500):
                await client.send_all(bytes([byte]))
                await trio.sleep(1)

        async def drip_until_refused() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await drip()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip_until_refused)
            answer = await read_answer(client)
            assert (answer.status, answer.problem["code"]) == (408, 4008)
            assert trio.current_time() - start == pytest.approx(10)


async def test_silent_connections_are_closed_without_an_answer(autojump_clock: MockClock) -> None:
    async with running_front_door(limits=LIMITS) as running:
        client = running.connect()
        assert await read_to_end(client) == b""
        assert trio.current_time() == pytest.approx(LIMITS.head_timeout_s)
        client = running.connect()
        await client.send_all(get("/"))
        await read_answer(client)
        start = trio.current_time()
        assert await read_to_end(client) == b""
        assert trio.current_time() - start == pytest.approx(LIMITS.keep_alive_timeout_s)


async def test_a_body_that_never_ends_is_timed_out(autojump_clock: MockClock) -> None:
    async with running_front_door(limits=LIMITS) as running:
        client = running.connect()
        await client.send_all(get("/echo", "Content-Length: 100", method="POST") + b"x")
        answer = await read_answer(client)
        assert (answer.status, answer.problem["code"]) == (408, 4008)
        assert trio.current_time() == pytest.approx(LIMITS.request_timeout_s)
    assert running.problems == [], "it is no fault of the application's"
    assert running.limits == [Limit.REQUEST_TIME]


async def test_a_client_that_goes_while_its_answer_is_sent_is_no_slow_reader(autojump_clock: MockClock) -> None:
    """The application goes on, and is too slow: that is its own fault, and nobody waits for it."""

    async def dawdling(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
        await trio.sleep(1000)

    async with running_front_door(dawdling, limits=LIMITS) as running:
        client = running.connect(capacity_bytes=3000)
        await client.send_all(get("/"))
        await trio.sleep(1)
        client.abort()
        await running.wait_until_empty()
    assert running.limits == []
    assert len(running.problems) == 1


async def test_a_client_that_does_not_read_its_answer_is_cut_off(autojump_clock: MockClock) -> None:
    async def talkative(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})

    async with running_front_door(talkative, limits=LIMITS) as running:
        client = running.connect(capacity_bytes=3000)
        await client.send_all(get("/"))
        other = running.connect()
        await running.wait_until_empty()
        assert trio.current_time() < 70
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(client)
        other.close()
    assert running.problems == [], "it is no fault of the application's"
    assert running.limits == [Limit.SLOW_READER]


async def test_a_client_that_goes_in_the_middle_of_its_body() -> None:
    async with running_front_door() as running:
        for go in ("close", "abort"):
            client = running.connect()
            await client.send_all(get("/echo", "Content-Length: 100", method="POST") + b"x")
            await wait_all_tasks_blocked()
            getattr(client, go)()
            await wait_all_tasks_blocked()
            assert running.door.statistics().connections == 0
        assert [str(problem.error) for problem in running.problems] == ["the client went away in the middle of its body"] * 2, (
            "the application said so itself"
        )


# ---- what applications do wrong ----


@pytest.mark.parametrize("path", ["/raises", "/raises-after-start", "/silent", "/bad-header"])
async def test_an_application_that_fails_before_its_answer_is_a_500(path: str) -> None:
    async with running_front_door() as running:
        answer = await running.ask(get(path))
        assert (answer.status, answer.problem) == (500, {"code": 1011, "message": "internal error"})
        (problem,) = running.problems
        assert problem.request == f"GET {path}"


async def test_an_application_that_fails_after_its_answer_has_begun_is_a_cut() -> None:
    async with running_front_door() as running:
        client = running.connect()
        await client.send_all(get("/raises-in-body"))
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(client)
        assert len(running.problems) == 1


async def test_an_application_that_fails_after_its_answer_is_reported_only() -> None:
    async with running_front_door() as running:
        client = running.connect()
        await client.send_all(get("/raises-after-answer") + get("/next"))
        assert (await read_answer(client)).body == b"done"
        assert (await read_answer(client)).body == b"GET /next?"
        assert len(running.problems) == 1


async def test_an_application_that_takes_too_long_is_a_503(autojump_clock: MockClock) -> None:
    async with running_front_door(limits=LIMITS) as running:
        answer = await running.ask(get("/hangs"))
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert answer.problem["retryAfterMs"] == 5000
        assert isinstance(running.problems[0].error, AppFault)


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.body"}],
        [{"type": "http.response.start", "status": 200}, {"type": "http.response.start", "status": 200}],
        [{"type": "http.response.start", "status": 100}],
        [{"type": "http.response.start", "status": "x"}],
        [{"type": "websocket.accept"}],
        [{"type": "http.response.start", "status": 200, "headers": [("text", "text")]}],
    ],
)
async def test_messages_that_are_not_asgi_are_a_500(messages: list[dict[str, Any]]) -> None:
    async def confused(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async with running_front_door(confused) as running:
        assert (await running.ask(get("/"))).status == 500
        assert len(running.problems) == 1


async def test_an_answer_with_the_wrong_length_is_a_cut() -> None:
    async def liar(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"four"})

    async with running_front_door(liar) as running:
        client = running.connect()
        await client.send_all(get("/"))
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(client)
        assert len(running.problems) == 1


async def test_a_log_that_fails_does_not_matter() -> None:
    async with running_front_door() as running:

        def fail(problem: object) -> None:
            raise RuntimeError("disk full")

        running.door._on_problem = fail
        assert (await running.ask(get("/raises"))).status == 500
        assert (await running.ask(get("/"))).status == 200


async def test_an_upgrade_decision_may_refuse_or_fail() -> None:
    def decide(head: RequestHead) -> Accept:
        if head.header(b"origin") is not None:
            raise HttpRefusal(403, 4403, "this origin is not allowed")
        raise RuntimeError("secret")

    async with running_front_door() as running:
        running.door._on_upgrade = decide
        refused = await running.ask(UPGRADE.replace(b"Host: x", b"Host: x\r\nOrigin: https://evil"))
        assert (refused.status, refused.problem["code"]) == (403, 4403)
        assert (await running.ask(UPGRADE)).status == 500
        assert len(running.problems) == 1


# ---- long polls ----


@pytest.mark.parametrize("how", ["close", "abort", "send_eof"])
async def test_a_long_poll_learns_that_its_client_has_gone(how: str) -> None:
    reported = trio.Event()

    async def poll(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        reported.set()
        await respond(send, b"for nobody")

    async with running_front_door(poll) as running:
        client = running.connect()
        await client.send_all(get("/poll"))
        await wait_all_tasks_blocked()
        if how == "send_eof":
            await client.send_eof()
            assert (await read_to_end(client)).endswith(b"for nobody"), "it may be half closed only"
        else:
            getattr(client, how)()
        with trio.fail_after(5):
            await reported.wait()
        await wait_all_tasks_blocked()
        assert running.door.statistics().connections == 0
        assert running.problems == []


async def test_an_application_may_leave_a_client_that_has_gone_without_an_answer() -> None:
    """It was reported as a fault of the server; a relayed poll ends like this."""

    async def poll(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with running_front_door(poll) as running:
        client = running.connect()
        await client.send_all(get("/poll"))
        await client.send_eof()
        assert (await read_answer(client)).status == 408, "it may be half closed only"
        await wait_all_tasks_blocked()
        assert running.problems == []


async def test_a_long_poll_is_not_disturbed_by_the_next_request() -> None:
    answer_now = trio.Event()

    async def poll(scope: Any, receive: Any, send: Any) -> None:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass

            await answer_now.wait()
            await respond(send, scope["path"].encode())

    async with running_front_door(poll) as running:
        client = running.connect()
        await client.send_all(get("/1"))
        await wait_all_tasks_blocked()
        await client.send_all(get("/2"))
        await wait_all_tasks_blocked()
        answer_now.set()
        assert (await read_answer(client)).body == b"/1"
        assert (await read_answer(client)).body == b"/2"


async def test_watching_for_a_disconnect_ends_with_the_answer() -> None:
    has_returned = trio.Event()

    async def poll(scope: Any, receive: Any, send: Any) -> None:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass

            await wait_all_tasks_blocked()
            await respond(send, b"answer")
        has_returned.set()

    async with running_front_door(poll) as running:
        client = running.connect()
        await client.send_all(get("/"))
        assert (await read_answer(client)).body == b"answer"
        with trio.fail_after(5):
            await has_returned.wait()


# ---- the server itself ----


async def test_beyond_connections_max_the_answer_is_503_and_beyond_refusals_max_a_cut(
    autojump_clock: MockClock,
) -> None:
    limits = DoorLimits(connections_max=2, refusals_max=1, retry_after_ms=1500)
    async with running_front_door(limits=limits) as running:
        clients = []
        for _ in range(4):
            clients.append(running.connect())
            await wait_all_tasks_blocked()  # or they would come in any order
        answer = await read_answer(clients[2])
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
        assert answer.headers["access-control-allow-origin"] == "*", "a page of any origin learns when to come back"
        assert answer.headers["access-control-expose-headers"] == "retry-after"
        assert answer.problem == {"code": 4030, "message": "too many connections", "retryAfterMs": 1500}
        with pytest.raises(trio.BrokenResourceError):
            await clients[3].receive_some()
        for client in clients:
            client.close()
        await wait_all_tasks_blocked()
        assert (await running.ask(get("/"))).status == 200


async def test_of_one_address_refusals_max_are_refused_and_more_are_cut(autojump_clock: MockClock) -> None:
    """Each refusal takes up to two seconds: one address could fill the door with connections that are being refused."""
    limits = DoorLimits(connections_max=100, connections_per_address_max=1, refusals_max=2)
    async with running_front_door(limits=limits) as running:
        clients = []
        for _ in range(5):
            client, theirs = memory_pair()
            theirs.peer = ("203.0.113.7", 40_000)
            running.nursery.start_soon(running.door.serve, theirs)
            await wait_all_tasks_blocked()
            clients.append(client)
        for client in clients[1:3]:
            assert (await read_answer(client)).status == 503
        for client in clients[3:]:
            with pytest.raises(trio.BrokenResourceError):
                await client.receive_some()
        assert (await running.ask(get("/"))).status == 200, "other addresses are not affected"
        assert running.limits == 4 * [Limit.ADDRESS_CONNECTIONS]
        for client in clients:
            client.close()


async def test_when_the_server_stops_a_waiting_request_is_asked_to_come_back() -> None:
    async with running_front_door() as running:
        client = running.connect()
        idle = running.connect()
        await client.send_all(get("/hangs"))
        await wait_all_tasks_blocked()
        running.nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):  # this test runs in that nursery too
            answer = await read_answer(client)
            assert (answer.status, answer.problem["code"]) == (503, 4001)
            assert await read_to_end(client) == b""
            assert await read_to_end(idle) == b""


async def test_a_failure_together_with_a_cancellation_stays_inside() -> None:
    async def failing_cleanup(scope: Any, receive: Any, send: Any) -> None:
        async def clean_up() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise RuntimeError("failed while being cancelled")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(clean_up)
            nursery.start_soon(trio.sleep_forever)

    async with running_front_door(failing_cleanup) as running:
        client = running.connect()
        await client.send_all(get("/"))
        await wait_all_tasks_blocked()
    assert len(running.problems) == 1


def test_the_scope_is_asgi() -> None:
    head = RequestHead("GET", b"/a%2Fb%FF?q=1", "1.1", ((b"host", b"x"),), ("1.2.3.4", 5), ("6.7.8.9", 10))
    scope = head.asgi_scope()
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a/b�", b"/a%2Fb%FF", b"q=1")
    assert (scope["client"], scope["server"]) == (("1.2.3.4", 5), ("6.7.8.9", 10))
    assert RequestHead("GET", b"http://[", "1.1", ()).path == "/"
    assert RequestHead("OPTIONS", b"*", "1.1", ()).path == "*"
