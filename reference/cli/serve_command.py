"""`steadywire serve` and `steadywire token`: from command line options to a server, and from failures to one line.

0   stopped by SIGTERM or SIGINT, gracefully; or the token is printed
2   it could not start: an invalid setting, a port in use, a store that cannot be written
"""

import contextlib
import logging
import resource
import sys
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
import trio

from reference.protocol.errors import SteadywireError
from reference.server.access.auth import Role, check_secret, make_token, read_key_file
from reference.server.app import Server, serve
from reference.server.monitoring.logs import LogQueue, log_event
from reference.server.registry import canonical_run_id
from reference.server.settings import ServerSettings, load_settings
from reference.store import hide_password

CANNOT_START = 2
SWITCH_INTERVAL_S = 0.0005
"""How long the thread of the event loop may keep the store's thread waiting for the interpreter. Python's default of 5 ms counts
several times for each commit while the loop is busy."""
_CONTROL = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) != "\n"}


def serve_command(*, config: Path | None = None, log_json: bool = False, **given: Any) -> int:
    """Serve until a signal arrives; returns the exit code.

    Prints one line with the address once connections are accepted. The settings are those of the file `config`, if there is one;
    those in `given` (as for `load_settings`) take precedence. Files in `given` are relative to the working directory.
    """
    descriptors = _allow_many_connections()
    log = _log_to_stderr(as_json=log_json or not sys.stderr.isatty())
    try:
        wanted = load_settings(config, **_absolute(given))
        settings = within_descriptors(wanted, descriptors)
        few_descriptors = None if settings is wanted else descriptors
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        trio.run(_serve_and_announce, settings, few_descriptors, log, restrict_keyboard_interrupt_to_checkpoints=True)
    except SteadywireError as error:
        log.close()
        print(f"steadywire serve: {error}", file=sys.stderr)
        return CANNOT_START
    finally:
        log.close()
    return 0


def token_command(*, user: str, secret_file: Path, runs: tuple[str, ...] = (), role: Role = "member", ttl_s: int = 3600) -> int:
    """Print a token for `user`, for development; returns the exit code."""
    try:
        secret = read_key_file(secret_file, "secret file")
        check_secret(secret)
        ids = [canonical_run_id(run) for run in runs] or None
        token = make_token(secret, user, role=role, runs=ids, issued_at_s=int(time.time()), ttl_s=ttl_s)
    except SteadywireError as error:
        print(f"steadywire token: {error}", file=sys.stderr)
        return CANNOT_START
    print(token)
    return 0


def _absolute(given: dict[str, Any]) -> dict[str, Any]:
    """File names on a command line are relative to the working directory, not to the settings file."""
    files = {name: value for name, value in given.items() if name.endswith(("_file", "_files")) and value is not None}
    return given | {
        name: value.absolute() if isinstance(value, Path) else [file.absolute() for file in value]
        for name, value in files.items()
    }


async def _serve_and_announce(settings: ServerSettings, few_descriptors: int | None, log: LogQueue) -> None:
    failure: SteadywireError | None = None
    async with trio.open_nursery() as nursery:
        try:
            server: Server = await nursery.start(serve, settings)
        except SteadywireError as error:
            failure = error
        else:
            log.on_drop = server.monitor.log_line_dropped
            if few_descriptors is not None:
                log_event(
                    "connections_max lowered to the limit of file descriptors",
                    descriptors=few_descriptors,
                    connections_max=settings.door.connections_max,
                    hint="raise it with ulimit -n or LimitNOFILE",
                )
            tokens = "dev:<user>, on this machine only" if settings.is_development else "signed"
            print(f"steadywire listens on {server.url} (store {hide_password(settings.store)}; tokens {tokens})", flush=True)
    if failure is not None:
        raise failure


def _allow_many_connections() -> int | None:
    """Raise the limit of file descriptors: each connection needs one, and the default limit is often 1024.

    Returns the new limit; None if there is none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # then the limit stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return None if soft == resource.RLIM_INFINITY else soft


def within_descriptors(settings: ServerSettings, descriptors: int | None) -> ServerSettings:
    """`settings` with no more connections than `descriptors` allow, so that a full server reports it and still answers probes.

    Three quarters are for connections, which take two each if they are relayed, an eighth for refused ones; the rest is for the
    store, relayed requests and files.
    """
    if descriptors is None:
        return settings
    door = settings.door
    connections = max(1, descriptors * 3 // (8 if settings.is_shared else 4))
    refusals = max(1, descriptors // 8)
    if door.connections_max <= connections and door.refusals_max <= refusals:
        return settings
    lowered = replace(door, connections_max=min(door.connections_max, connections), refusals_max=min(door.refusals_max, refusals))
    return replace(settings, door=lowered)


def _log_to_stderr(*, as_json: bool) -> LogQueue:
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.processors.LogfmtRenderer()
    queue = LogQueue(sys.stderr, dropped_line=_dropped_as_json if as_json else _dropped_as_logfmt)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            *([] if as_json else [_printable]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(queue),  # type: ignore[arg-type]  # it has what is used of a text stream: write and flush
    )
    return queue


def _printable(logger: object, method: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Without characters that control a terminal: a line may have a path in it, which anybody can send. JSON escapes them."""
    return {name: value.translate(_CONTROL) if isinstance(value, str) else value for name, value in line.items()}


def _dropped_as_json(count: int) -> str:
    return f'{{"event": "log lines dropped", "level": "warning", "count": {count}}}\n'


def _dropped_as_logfmt(count: int) -> str:
    return f'event="log lines dropped" level=warning count={count}\n'
