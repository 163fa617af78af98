"""Ownership: which of several server processes on one PostgreSQL serves which run.

One row says which process owns a run; a session advisory lock, on a connection used for nothing else, says whether that process
is alive. If one holds its lock and has not reported for `SILENCE_S_MAX`, another that needs one of its runs ends the connection
(docs/architecture.md, "Several processes", has all that may happen).

A process that lost its runs without knowing it could answer readers with outdated data. So it checks before each answer
(`is_held`) that it reported being alive less than `LEASE_S` ago, by a clock that runs while the machine sleeps, and that its
connection still exists. `LEASE_S` is below the time that others wait.

Every statement here is a transaction of its own. None waits for another process, except for a moment when two claim the same run.
So there are no deadlocks.
"""

import secrets
import select as select_module
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import psycopg
import trio
from sqlalchemy import URL, Connection, Engine, delete, exists, func, insert, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from reference.protocol.timers import NS_PER_S
from reference.store.base import ProcessAddress, StoreUnavailable, no_thread
from reference.store.postgresql import advice, postgresql_engine
from reference.store.tables import owners, processes, runs

T = TypeVar("T")

SEEN_INTERVAL_S = 2.0
"""How often a process reports that it is alive."""
ANSWER_S_MAX = 8.0
"""How long the database may take for that, before the process gives up its runs."""
SILENCE_S_MAX = 15.0
"""After this long without a report, others take a process for dead, though its connection exists."""
LEASE_S = SILENCE_S_MAX - 1.0
"""How long after its last report a process may answer for its runs; the difference is for clocks that differ."""
CLAIM_THREADS_MAX = 2
"""Threads that ask the database about owners, each with a connection."""
_TRIES_MAX = 5
"""How often the row of a run may change while this process claims it."""

_LOCK_CLASS = 0x5357
"""The first half of the key of our advisory locks; the second is the process id."""


class Ownership:
    """One process's membership. All methods belong to the trio thread; none blocks it."""

    def __init__(self, url: URL, *, clock_ns: Callable[[], int] | None = None) -> None:
        """`clock_ns`: counts ns, also while the machine sleeps; by default the system's."""
        self._url = url
        self._clock_ns = clock_ns or _clock_that_counts_sleep
        self._held_until_ns = 0
        self._end_of_lease: Callable[[], bool] = lambda: True
        engine = postgresql_engine(url, connections_max=CLAIM_THREADS_MAX + 1)
        self._engine: Engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._claim_limiter = trio.CapacityLimiter(CLAIM_THREADS_MAX)
        self._lease_limiter = trio.CapacityLimiter(1)
        self._lease: Connection | None = None
        self._me: ProcessAddress | None = None

    @property
    def place(self) -> ProcessAddress | None:
        """The address of this process; None while it is not a member."""
        return self._me

    @property
    def is_held(self) -> bool:
        """Whether this process certainly still owns its runs: checked before each answer for one of them."""
        return self._me is not None and self._clock_ns() < self._held_until_ns and not self._end_of_lease()

    async def join(self, host: str, port: int) -> None:
        """Become a member, reachable at this address. Raises StoreUnavailable."""
        await self._run(self._join, host, port, limiter=self._lease_limiter)

    async def keep(self) -> None:
        """Stay a member as long as possible; always ends with StoreUnavailable, which says why."""
        assert self._lease is not None, "join comes first"
        connection: Any = self._lease.connection.dbapi_connection
        while True:
            with trio.move_on_after(SEEN_INTERVAL_S):
                try:
                    await trio.lowlevel.wait_readable(connection.fileno())  # readable: the connection ends
                except psycopg.Error as error:
                    raise StoreUnavailable(advice(error, self._url)) from error
            answered = False
            with trio.move_on_after(ANSWER_S_MAX):
                await self._run(self._report_alive, limiter=self._lease_limiter)
                answered = True
            if not answered:
                raise StoreUnavailable(f"the database did not answer within {ANSWER_S_MAX:g} s")

    async def leave(self) -> None:
        """Leave; others may take the runs. Raises nothing; if the database cannot be reached, others find out by themselves."""
        me, self._me = self._me, None
        lease, self._lease = self._lease, None
        self._end_of_lease = lambda: True  # before its descriptor number is reused
        if me is not None and lease is not None:
            with trio.move_on_after(ANSWER_S_MAX):
                try:
                    await self._run(self._leave, me, lease, limiter=self._lease_limiter)
                except StoreUnavailable:  # without a thread: closing takes no time
                    lease.invalidate()
                    lease.close()

    async def claim(self, run_id: str) -> ProcessAddress | None:
        """Claim the run `run_id` if no process serves it. None: this process owns it, or it does not exist; else its owner.

        Raises StoreUnavailable.
        """
        return await self._run(self._claim, run_id, limiter=self._claim_limiter)

    async def find(self, run_id: str) -> ProcessAddress | None:
        """The other living process that serves the run. Raises StoreUnavailable."""
        return await self._run(self._find, run_id, limiter=self._claim_limiter)

    async def others(self) -> tuple[ProcessAddress, ...]:
        """The other living processes, by their number. Raises StoreUnavailable."""
        return await self._run(self._others, limiter=self._claim_limiter)

    async def release(self, run_id: str) -> None:
        """Let others own this run. Raises StoreUnavailable; then this process keeps it, which does no harm."""
        await self._run(self._release, run_id, limiter=self._claim_limiter)

    async def aclose(self) -> None:
        """Leave, and close every connection; finishes even when cancelled."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + ANSWER_S_MAX):
            await self.leave()
            for limiter, threads in ((self._claim_limiter, CLAIM_THREADS_MAX), (self._lease_limiter, 1)):
                for _ in range(threads):  # an abandoned thread still holds a connection
                    await limiter.acquire_on_behalf_of(object())
            with suppress(RuntimeError):  # without a thread, the end of the process closes them
                await trio.to_thread.run_sync(self._dispose, abandon_on_cancel=True)

    async def _run(self, work: Callable[..., T], *arguments: object, limiter: trio.CapacityLimiter) -> T:
        try:
            return await trio.to_thread.run_sync(work, *arguments, limiter=limiter, abandon_on_cancel=True)
        except SQLAlchemyError as error:
            cause: Any = getattr(error, "orig", None) or error
            raise StoreUnavailable(advice(cause, self._url)) from error
        except RuntimeError as error:
            raise no_thread(error) from error

    # Everything below runs in a worker thread.

    def _join(self, host: str, port: int) -> None:
        connection = self._engine.connect()
        reported_at_ns = self._clock_ns()
        try:
            sequence = func.pg_get_serial_sequence(processes.name, "process_id")
            process_id: int = connection.execute(select(func.nextval(sequence))).scalar_one()
            connection.execute(select(func.pg_advisory_lock(_LOCK_CLASS, process_id)))
            connection.execute(delete(processes).where(_is_dead(processes.c.process_id)))
            place = ProcessAddress(process_id, host, port, secrets.token_urlsafe(24))
            now = func.now()
            connection.execute(insert(processes).values(**msgspec.structs.asdict(place), joined_at=now, seen_at=now))
        except BaseException:
            connection.invalidate()  # which also releases the lock
            connection.close()
            raise
        driver: Any = connection.connection.dbapi_connection
        self._end_of_lease = _hang_up_seen(driver.fileno())
        self._held_until_ns = reported_at_ns + round(LEASE_S * NS_PER_S)
        self._lease, self._me = connection, place

    def _report_alive(self) -> None:
        lease, me = self._lease, self._me
        if lease is None or me is None:
            raise StoreUnavailable("this server process has left the cluster")
        reported_at_ns = self._clock_ns()
        seen = lease.execute(update(processes).where(processes.c.process_id == me.process_id).values(seen_at=func.now()))
        if seen.rowcount != 1:
            raise StoreUnavailable("other processes have given this one up, because it was silent for too long")
        self._held_until_ns = reported_at_ns + round(LEASE_S * NS_PER_S)

    def _leave(self, me: ProcessAddress, lease: Connection) -> None:
        try:
            lease.execute(delete(processes).where(processes.c.process_id == me.process_id))
        except SQLAlchemyError:
            pass  # the connection is gone, so others see that too
        finally:
            lease.invalidate()
            lease.close()

    def _dispose(self) -> None:
        if self._me is not None and self._lease is not None:  # a join that was abandoned has succeeded after all
            self._leave(self._me, self._lease)
        self._engine.dispose()

    def _claim(self, run_id: str) -> ProcessAddress | None:
        me = self._me
        if me is None:
            raise StoreUnavailable("this process is not connected to the others now")
        if not self.is_held:
            raise StoreUnavailable("this process has been silent for so long that others may have its runs")
        with self._engine.connect() as connection:
            for _ in range(_TRIES_MAX):
                place, is_alive = _owner(connection, run_id)
                if place is None:
                    if self._insert(connection, run_id, me):
                        return None
                elif place.process_id == me.process_id:
                    return None
                elif is_alive:
                    return place
                else:
                    _give_up(connection, place.process_id)
        raise StoreUnavailable(f"run {run_id}: its owner keeps changing; retry later")

    def _insert(self, connection: Connection, run_id: str, me: ProcessAddress) -> bool:
        row = select(runs.c.run_id, literal(me.process_id)).where(runs.c.run_id == run_id)
        statement = postgresql_insert(owners).from_select(["run_id", "process_id"], row).on_conflict_do_nothing()
        try:
            if connection.execute(statement).rowcount == 1:
                return True
        except IntegrityError:
            raise StoreUnavailable("other processes have given this one up") from None
        # Another process was faster, or the run does not exist and needs no owner.
        return not connection.execute(select(exists().where(runs.c.run_id == run_id))).scalar_one()

    def _find(self, run_id: str) -> ProcessAddress | None:
        with self._engine.connect() as connection:
            place, is_alive = _owner(connection, run_id)
        is_other = place is not None and (self._me is None or place.process_id != self._me.process_id)
        return place if is_alive and is_other else None

    def _others(self) -> tuple[ProcessAddress, ...]:
        columns = processes.c
        query = select(columns.process_id, columns.host, columns.port, columns.secret).order_by(columns.process_id)
        with self._engine.connect() as connection:
            rows = connection.execute(query.where(~_is_dead(columns.process_id), ~_is_silent())).all()
        return tuple(ProcessAddress(*row) for row in rows if self._me is None or row[0] != self._me.process_id)

    def _release(self, run_id: str) -> None:
        me = self._me
        if me is not None:
            with self._engine.connect() as connection:
                connection.execute(delete(owners).where(owners.c.run_id == run_id, owners.c.process_id == me.process_id))


def _clock_that_counts_sleep() -> int:
    # CLOCK_MONOTONIC stops while the machine is suspended; other processes do not wait for it.
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _hang_up_seen(descriptor: int) -> Callable[[], bool]:
    """A function that returns whether the peer of this socket has closed the connection. Costs a microsecond."""
    poll = select_module.poll()
    poll.register(descriptor, select_module.POLLRDHUP)
    return lambda: bool(poll.poll(0))


def _is_dead(process_id: Any) -> Any:
    """An SQL condition: the lock of that process is free. The statement takes it, shared, so that several may check at once."""
    return func.pg_try_advisory_xact_lock_shared(_LOCK_CLASS, process_id)


def _is_silent() -> Any:
    """An SQL condition: that process has not reported for too long that it is alive."""
    return processes.c.seen_at < func.now() - text(f"interval '{SILENCE_S_MAX} s'")


def _owner(connection: Connection, run_id: str) -> tuple[ProcessAddress | None, bool]:
    """The owner of the run, and whether that process is alive."""
    columns = processes.c
    query = (
        select(columns.process_id, columns.host, columns.port, columns.secret, _is_dead(columns.process_id), _is_silent())
        .join_from(owners, processes)
        .where(owners.c.run_id == run_id)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None, False
    process_id, host, port, secret, is_dead, silent = row
    return ProcessAddress(process_id, host, port, secret), not (is_dead or silent)


def _give_up(connection: Connection, process_id: int) -> None:
    """Take all runs from a process that is dead or silent, and end its connection if it still exists."""
    connection.execute(delete(processes).where(processes.c.process_id == process_id))
    locks = text(
        "SELECT pg_terminate_backend(pid) FROM pg_locks"
        " WHERE locktype = 'advisory' AND classid = :class AND objid = :process AND granted AND pid <> pg_backend_pid()"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    connection.execute(locks, {"class": _LOCK_CLASS, "process": process_id})
