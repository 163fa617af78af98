"""The Python client as a program that the conformance kit can judge.

    steadywire conformance --client "python -m simulation.conformance.examples.python_client"

It joins the run that the kit names, obeys the commands that come on standard input, and prints what the application gets, one
JSON object on each line. It ends when its session has ended, or when standard input ends. Options change the client's settings,
which the first line then tells the kit: `--set ping_interval_s=2`.
"""

import argparse
import json
import os
import sys
from collections.abc import AsyncIterable, Callable
from typing import Any

import msgspec
import trio

from reference.client import Client, OpenStream, PublishFailedError, Ticket, connect, open_tcp_stream
from reference.protocol.client.outcomes import ResetReceived, SessionEnded, SnapshotReceived
from reference.protocol.config import ClientConfig
from reference.protocol.errors import SteadywireError
from reference.protocol.events import Event
from reference.protocol.policies.reconnect import ReconnectPolicy

Report = Callable[[str, dict[str, Any]], None]


async def take_part(
    url: str,
    run: str,
    token: str,
    commands: AsyncIterable[dict[str, Any]],
    report: Report,
    settings: dict[str, Any] | None = None,
    open_stream: OpenStream = open_tcp_stream,
    policy: ReconnectPolicy | None = None,
) -> None:
    """Run a client that obeys `commands` and reports its outcomes, until the session or the commands end."""
    settings = settings or {}
    tokens_in, tokens = trio.open_memory_channel[str](8)

    async def refresh_token() -> str:
        report("token", {})
        return await tokens.receive()

    async def settle(tag: str, ticket: Ticket) -> None:
        try:
            number = await ticket.accepted()
        except PublishFailedError as error:
            report("failed", {"tag": tag, "code": error.code, "mayHaveArrived": error.may_have_arrived})
        else:
            report("accepted", {"tag": tag, "sequenceNumber": number})

    async def obey(client: Client, reading: trio.CancelScope) -> None:
        async for command in commands:
            match command:
                case {"publish": {"tag": tag, "eventType": event_type, "data": data}}:
                    try:
                        settling.start_soon(settle, tag, client.publish_soon(event_type, data))
                    except SteadywireError:  # nothing was queued
                        report("failed", {"tag": tag, "code": "refused", "mayHaveArrived": False})
                case {"cursor": data}:
                    client.move_cursor(data)
                case {"token": new_token}:
                    await tokens_in.send(new_token)
                case {"close": _}:
                    break
        reading.cancel()

    report("ready", {"settings": settings})
    config = msgspec.convert(settings, ClientConfig)
    code: int | None = None
    async with (
        trio.open_nursery() as settling,  # ends by itself: the end of the session settles every publish
        connect(
            url,
            run,
            token=token,
            config=config,
            policy=policy,
            refresh_token=refresh_token,
            open_stream=open_stream,
            drain_s=0,  # `close` leaves at once
        ) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(obey, client, nursery.cancel_scope)
        async for delivery in client:
            match delivery:
                case Event():
                    report("event", msgspec.to_builtins(delivery))
                case SnapshotReceived():
                    report("snapshot", _moment(delivery))
                case ResetReceived():
                    report("reset", _moment(delivery))
                case SessionEnded():
                    code = delivery.code
        nursery.cancel_scope.cancel()
    report("ended", {"code": code})


def _moment(delivery: SnapshotReceived | ResetReceived) -> dict[str, Any]:
    snapshot = delivery.snapshot
    return {
        "sequenceNumber": snapshot.sequence_number,
        "state": msgspec.to_builtins(snapshot.state),
        "epoch": delivery.epoch,
        "reason": delivery.reason,
    }


async def _lines() -> Any:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream:
        rest = b""
        async for data in stream:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.strip():
                    yield json.loads(line)


def _print(name: str, content: dict[str, Any]) -> None:
    print(json.dumps({name: content}), flush=True)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of ClientConfig, value in JSON"
    )
    options = parser.parse_args()
    settings = {name: json.loads(value) for name, _, value in (text.partition("=") for text in options.set)}
    url, run, token = (os.environ[f"STEADYWIRE_{name}"] for name in ("URL", "RUN", "TOKEN"))
    trio.run(take_part, url, run, token, _lines(), _print, settings, restrict_keyboard_interrupt_to_checkpoints=True)


if __name__ == "__main__":
    main()
