"""PostgreSQL as a durable log: how its connections are set up, and what its errors ask of the operator.

    synchronous_commit=on  COMMIT returns when the server has it on disk, whatever the server's default is
    statement_timeout      a statement that hangs gives up, and so does a wait for another server's lock
    keepalives             a server that is gone without a word is noticed; without them a thread would wait
                           for it for ever, and with it every commit after
    pre-ping               a connection that died while nobody used it is replaced before a transaction begins
                           on it, so a database that was restarted costs what was under way and nothing else

JSON is kept as JSONB, which reorders the keys of objects (nobody may rely on an order that JSON does not have)
and keeps numbers as decimals: 2e16 would come back as an integer. Numbers that need it are written in a way
that comes back as the same number.

A server that has become a standby answers as before and writes nothing. Such an answer counts as a lost
connection here, so the next one is made anew, to whichever host in the URL can be written.
"""

import re
from typing import Any

import msgspec
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext

CONNECT_S_MAX = 5
STATEMENT_S_MAX = 20
"""Below the 30 s that the writer waits for a commit, so that the database answers before it is given up."""
_SILENCE_S_MAX = 15
"""Until a connection to a server that takes or sends no bytes counts as lost."""

_NETWORK: dict[str, Any] = {
    "connect_timeout": CONNECT_S_MAX,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": _SILENCE_S_MAX * 1000,
    "application_name": "steadywire",
    "target_session_attrs": "read-write",
}
_SESSION = (
    "SET synchronous_commit = on; "
    f"SET statement_timeout = '{STATEMENT_S_MAX}s'; "
    f"SET idle_in_transaction_session_timeout = '{STATEMENT_S_MAX}s'"
)
_EXPONENT = re.compile(rb"\de\d")
_READ_ONLY = "25006"
_ADVICE: dict[str, str] = {
    _READ_ONLY: "the database cannot be written; name the primary server, not a standby",
    "28P01": "the password is wrong",
    "28000": "this user may not connect; see the server's pg_hba.conf",
    "3D000": "there is no such database; make it with createdb",
    "42501": "this user lacks a permission; let it own the database",
    "53100": "the disk is full; free some space",
    "53300": "the server has no connection left; raise its max_connections, or close some",
    "57014": f"a statement took longer than {STATEMENT_S_MAX} s; see what holds the database",
    "57P01": "the connection was ended by the server",
    "57P03": "the server is starting or stopping",
}


def postgresql_engine(url: URL, *, connections_max: int) -> Engine:
    """An engine on the database that `url` names; nothing is opened yet. What the URL's query says goes to
    libpq, and before the settings here.
    """
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=connections_max,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={name: value for name, value in _NETWORK.items() if name not in url.query},
        json_serializer=encode_jsonb,
        json_deserializer=msgspec.json.decode,
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "handle_error", _notice_standby)
    return engine


def encode_jsonb(value: object) -> str:
    """JSON text that JSONB gives back with every number of the same type and value."""
    encoded = msgspec.json.encode(value)
    if _EXPONENT.search(encoded):  # rarely, and sometimes only within a string
        encoded = msgspec.json.encode(_without_exponents(msgspec.to_builtins(value)))
    return encoded.decode()


def _without_exponents(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return msgspec.Raw(f"{value:.1f}".encode())
        case dict():
            return {key: _without_exponents(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_without_exponents(inner) for inner in value]
        case _:
            return value


def _set_up(connection: Any, _record: Any) -> None:
    connection.execute(_SESSION)
    connection.commit()


def _notice_standby(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


def advice(error: Exception, url: URL) -> str:
    """One line: what is wrong with the database at `url`, and what to do."""
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    what = _ADVICE.get(getattr(error, "sqlstate", None) or "")
    place = url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)
    if what is None:
        return f"{place}: {reason}; check that the database is there and can be reached"
    return f"{place}: {what} ({reason})"
