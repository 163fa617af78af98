"""The lifetime of a client: connecting and leaving.

connect     one nursery for all tasks of the client, until the block ends; exceptions of the block are raised unchanged
leaving     at the end of the block: wait for open answers (`drain_s`), send `bye`, close
result      publishes that were given up, and whose result no task has awaited, are raised; logged if the block itself has raised
cancelled   the connection is cut at once; the server notices, and ends the user's presence after the grace period
"""

import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from hashlib import blake2b

import msgspec
import trio

from reference.client.addresses import Address, OpenStream, check_run_id, check_token, open_tcp_stream
from reference.client.client import Client
from reference.client.http import HttpClient, RequestLost, read_refusal
from reference.client.mailbox import Mailbox, Ticket, UndeliveredError
from reference.client.outbox_store import OutboxStore
from reference.client.polling import PollingTransport
from reference.client.settings import ClientSettings
from reference.client.transport import ClientTransport, Tap
from reference.client.trio_io import TrioIO, log
from reference.client.websocket import WebSocketTransport
from reference.protocol.actions import Open
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig
from reference.protocol.errors import ConfigError, LocalError, RemoteError, SessionClosed, SteadywireError
from reference.protocol.events import DEFAULT_REGISTRY, EventRegistry
from reference.protocol.policies.fallback import FallbackPolicy
from reference.protocol.policies.keepalive import HeartbeatPolicy
from reference.protocol.policies.reconnect import RandomSource, ReconnectPolicy
from reference.protocol.states import Transport

OUTCOMES_WAITING_MAX = 1024
CREATE_RUN_S_MAX = 10.0
DRAIN_S = 10.0
"""How long the end of a block waits for open answers by default, in seconds."""

RefreshToken = Callable[[], Awaitable[str]]


class CreateRunFailed(SteadywireError):
    """The server did not create the run; `code` is the protocol's, None if the server itself did not answer."""

    def __init__(self, code: int | None, message: str) -> None:
        super().__init__(message)
        self.code = code


@asynccontextmanager
async def connect(
    url: str,
    run_id: str,
    *,
    token: str | None = None,
    client_id: str | None = None,
    config: ClientConfig | None = None,
    policy: ReconnectPolicy | None = None,
    fallback: FallbackPolicy | None = None,
    heartbeat: HeartbeatPolicy | None = None,
    settings: ClientSettings | None = None,
    registry: EventRegistry = DEFAULT_REGISTRY,
    seed: int | None = None,
    random_source: RandomSource | None = None,
    refresh_token: RefreshToken | None = None,
    open_stream: OpenStream = open_tcp_stream,
    drain_s: float = DRAIN_S,
    outcomes_waiting_max: int = OUTCOMES_WAITING_MAX,
    outbox_store: OutboxStore | None = None,
    tap: Tap | None = None,
) -> AsyncIterator[Client]:
    """A client in the run `run_id` of the server at `url`, within an `async with` block.

    The block begins at once, whether the server can be reached or not. `client_id` identifies this client until it loses its
    memory (default: a new one). `policy` decides when to reconnect (default: full jitter), `fallback` when HTTP polling takes
    over, and `heartbeat` when to ping (both default to what `config` says). `settings`: all four from a file; parameters given in
    addition take precedence. With a `seed`, or your own `random_source`, the waits are reproducible. `refresh_token` is called
    when the server needs another token; an exception from it ends the block. `drain_s`: for how many seconds the end of the block
    waits for unsettled publishes; 0: not at all. `outcomes_waiting_max`: how many outcomes may wait to be read. `outbox_store`:
    where outbox and position survive a restart. `tap` is called with every input and output of the session.

    Raises ConfigError for parameters that cannot work, LocalError outside of trio. At the end of the block raises
    UndeliveredError if publishes were given up without being awaited; if the block itself raises, they are logged instead.
    """
    if not trio.lowlevel.in_trio_run():
        raise LocalError("connect() works under trio only: start the program with trio.run, or anyio.run(..., backend='trio')")
    address = Address.parse(url)
    run_id = check_run_id(run_id)
    check_token(token)
    if outcomes_waiting_max < 1:
        raise ConfigError(f"outcomes_waiting_max = {outcomes_waiting_max}: must be >= 1")
    if not 0 <= drain_s < float("inf"):
        raise ConfigError(f"drain_s = {drain_s}: must be >= 0 and finite")
    if seed is not None and random_source is not None:
        raise ConfigError("give a seed or a random source, not both")
    settings = settings or ClientSettings()
    config = config or settings.config
    policy = policy or settings.policy
    fallback = fallback or settings.fallback
    heartbeat = heartbeat or settings.heartbeat
    if config.refreshes_token and refresh_token is None:
        raise ConfigError("refreshes_token is set, but there is no refresh_token to call")
    failure: BaseException | None = None
    refreshing = _Refreshing(refresh_token)
    name, saved = client_id or secrets.token_hex(16), None
    async with AsyncExitStack() as stack:
        if outbox_store is not None:
            saved = outbox_store.load(run_id, name)
            stack.callback(outbox_store.close)
            if client_id not in (None, saved.client_id):
                raise ConfigError(f"this outbox is of client {saved.client_id}, not of {client_id}; leave client_id out")
        nursery = await stack.enter_async_context(trio.open_nursery())
        session = ClientSession(
            name if saved is None else saved.client_id,
            config=msgspec.structs.replace(config, refreshes_token=refresh_token is not None),
            policy=policy,
            random_source=random_source or KeyedRandomSource(seed),
            fallback=fallback,
            heartbeat=heartbeat,
            registry=registry,
            token=token,
            outcomes_waiting_max=outcomes_waiting_max,
            saves=saved is not None,
        )

        def make_transport(action: Open, io: TrioIO) -> ClientTransport:
            kind = WebSocketTransport if action.transport is Transport.WEBSOCKET else PollingTransport
            return kind(action.connection_id, address, run_id, action.token, open_stream, io)

        mailbox = Mailbox()
        io = TrioIO(
            session,
            mailbox,
            nursery=nursery,
            make_transport=make_transport,
            get_token=lambda: refreshing.start(nursery, io),
            tap=tap,
            run_id=run_id,
            store=outbox_store,
        )
        nursery.start_soon(io.run_alarm)
        restored: tuple[Ticket, ...] = ()
        if saved is not None:
            session.restore(saved, io.now())
            restored = tuple(io.tickets.issue(each.ticket) for each in saved.publishes)
        client = Client(run_id, session, io, mailbox, policy, fallback, heartbeat, restored)
        io.feed(session.start, io.now())
        try:
            yield client
        except BaseException as error:  # raised unchanged below, not in a group of the nursery
            failure = error
        try:
            if failure is None and drain_s > 0:
                await _drain(client, drain_s)
        finally:
            if failure is None:
                io.handled()
            io.feed(session.close, io.now())
        if not isinstance(failure, trio.Cancelled):
            await io.wait_for_transports()
        nursery.cancel_scope.cancel()
    if io.failure is not None:
        raise io.failure
    if refreshing.failure is not None:
        raise refreshing.failure
    failures = [ticket.failure for ticket in io.unseen if ticket.is_lost_unseen]
    if failure is not None:
        if failures and not isinstance(failure, trio.Cancelled):
            log.warning("run %s: %d publishes were given up: %s", run_id, len(failures), failures[0].message)
        raise failure
    if failures and outbox_store is not None:
        log.info("run %s: %d publishes are saved and will be sent when the program starts again", run_id, len(failures))
    elif failures:
        raise UndeliveredError(failures, drain_s)


async def create_run(
    url: str, run_id: str | None = None, token: str | None = None, *, open_stream: OpenStream = open_tcp_stream
) -> str:
    """Create a run and return its id (default: a new one). Creating one that exists changes nothing.

    Raises CreateRunFailed, ConfigError, or LocalError outside of trio.
    """
    if not trio.lowlevel.in_trio_run():
        raise LocalError("create_run() works under trio only: start the program with trio.run")
    address = Address.parse(url)
    run_id = str(uuid.uuid4()) if run_id is None else check_run_id(run_id)
    check_token(token)
    with trio.move_on_after(CREATE_RUN_S_MAX):
        async with HttpClient(address, token, open_stream) as http:
            try:
                answer = await http.request("PUT", address.run_path(run_id), b"{}")
            except (RequestLost, RemoteError) as error:
                raise CreateRunFailed(None, str(error)) from None
        if 200 <= answer.status < 300:
            try:
                return msgspec.json.decode(answer.body, type=_CreatedRun).run_id
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                raise CreateRunFailed(None, f"{address} answered with something that is not of this protocol") from None
        refusal = read_refusal(answer.status, answer.headers, answer.body)
        raise CreateRunFailed(refusal.code, f"{address} did not create run {run_id}: {refusal.message}")
    raise CreateRunFailed(None, f"{address} did not answer within {CREATE_RUN_S_MAX:g} s")


class _CreatedRun(msgspec.Struct, frozen=True, rename="camel"):
    """The server's answer; it has the run id in canonical form."""

    run_id: str


class _Refreshing:
    """Gets tokens from the application, one at a time."""

    def __init__(self, refresh_token: RefreshToken | None) -> None:
        self._refresh_token = refresh_token
        self._is_running = False
        self.failure: BaseException | None = None

    def start(self, nursery: trio.Nursery, io: TrioIO) -> None:
        if not self._is_running:  # else the token under way serves both requests
            self._is_running = True
            nursery.start_soon(self._run, nursery, io)

    async def _run(self, nursery: trio.Nursery, io: TrioIO) -> None:
        assert self._refresh_token is not None, "the session asks only if there is someone to ask"
        try:
            token = await self._refresh_token()
            check_token(token)
        except Exception as error:
            self.failure = error
            nursery.cancel_scope.cancel()
            return
        self._is_running = False
        io.feed(io.session.handle_token, token, io.now())


async def _drain(client: Client, drain_s: float) -> None:
    with trio.move_on_after(drain_s):
        with suppress(SessionClosed):  # then every publish is settled
            await client.wait_until(lambda client: not client.queued_messages)


_UNIT = 2.0**-53  # a float in [0, 1) holds exactly 53 bits


class KeyedRandomSource:
    """The random source of a client: a pure function of (key, purpose, index), so no sample changes another.

    The key is secret and different for each client, so that a fleet does not act in step; with a seed every wait of the client is
    reproducible.
    """

    def __init__(self, seed: int | None = None) -> None:
        """`seed`: any integer of up to 63 bytes; None for a secret key."""
        self._key = secrets.token_bytes(32) if seed is None else seed.to_bytes(63, "little", signed=True)

    def uniform(self, purpose: str, index: int) -> float:
        """A number in [0, 1)."""
        digest = blake2b(f"{purpose}/{index}".encode(), key=self._key, digest_size=8).digest()
        return (int.from_bytes(digest, "little") >> 11) * _UNIT
