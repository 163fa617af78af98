"""`steadywire serve`: from the words of a command line to a server, and from its failures to one line and an exit code.

0   stopped by SIGTERM or SIGINT, gracefully
2   it could not start: a setting that cannot work, a port in use, a store that cannot be written
"""

import contextlib
import logging
import sys
from pathlib import Path

import structlog
import trio

from reference.protocol.errors import ConfigError, SteadywireError
from reference.server.app import Server, serve
from reference.server.settings import ServerSettings

CANNOT_START = 2


def serve_command(
    host: str = "127.0.0.1",
    port: int = 8765,
    store: str = "steadywire.sqlite3",
    secret_file: str | Path | None = None,
    allowed_origins: tuple[str, ...] = (),
) -> int:
    """Serve until a signal comes; returns the exit code.

    Prints one line with the address once connections are accepted. `secret_file` holds the secret that signs tokens; without
    one, every token dev:<user> is believed, and only loopback is listened on.
    """
    _log_to_stderr()
    _allow_many_connections()
    try:
        secret = None if secret_file is None else read_secret(Path(secret_file))
        settings = ServerSettings(host=host, port=port, store=store, secret=secret, allowed_origins=tuple(allowed_origins))
        trio.run(_serve_and_tell, settings)
    except SteadywireError as error:
        print(f"steadywire serve: {error}", file=sys.stderr)
        return CANNOT_START
    return 0


def read_secret(path: Path) -> bytes:
    """The secret in that file, without the end of its line. Raises ConfigError."""
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"the secret file {path} cannot be read: {error.strerror}; create it, or name another") from error


async def _serve_and_tell(settings: ServerSettings) -> None:
    failure: SteadywireError | None = None
    async with trio.open_nursery() as nursery:
        try:
            server: Server = await nursery.start(serve, settings)
        except SteadywireError as error:
            failure = error
        else:
            tokens = "dev:<user>, on this machine only" if settings.secret is None else "signed with the secret"
            print(f"steadywire listens on {server.url} (store {settings.store}; tokens {tokens})", flush=True)
    if failure is not None:
        raise failure


def _allow_many_connections() -> None:
    """Each connection is a file descriptor, and the usual limit is 1024; a process may raise it as far as it is allowed."""
    try:
        import resource
    except ImportError:
        return  # no Unix, no such limit
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # then the limit stays as it is, and the door says when it is reached
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _log_to_stderr() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
