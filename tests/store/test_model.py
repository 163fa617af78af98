"""A store on disk against a model of what it promises: several runs, group commits, two servers in turn, reopening, clocks
set back, and writers that are wrong.

The model keeps, for each run, the list of everything that was ever stored, and derives all else from it by the words of
the protocol (1.9, 1.10, 8.2, 8.3, 8.8). It shares no code with the stores.
"""

import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule, run_state_machine_as_test
from postgres_server import new_database
from sqlalchemy import URL
from sqlalchemy.engine import make_url

from reference.protocol.events import Event
from reference.protocol.records import Append, LogEntry, RunState, Snapshot, StoredRun
from reference.store import StoreConflict
from reference.store.kept import parsed
from reference.store.sql import SqlStore

ANSWERS = 64
WINDOW = 40
"""Events that a run of the model keeps at least; trims come in pieces of 100."""


@dataclass
class RunModel:
    """All that a run ever was."""

    epoch: str
    entries: list[LogEntry] = field(default_factory=list)
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(0, RunState()))
    oldest: int = 1
    forgotten: dict[str, int] = field(default_factory=dict)
    """Up to which event nothing is remembered of a client."""

    def takes(self, batch: Append) -> bool:
        last = {entry.client_id: entry.client_sequence for entry in self.entries}
        last |= dict.fromkeys(batch.forgotten, 0)
        for number, entry in enumerate(batch.entries, len(self.entries) + 1):
            if entry.event.sequence_number != number or entry.client_sequence <= last.get(entry.client_id, 0):
                return False
            last[entry.client_id] = entry.client_sequence
        end = len(self.entries) + len(batch.entries)
        return batch.epoch == self.epoch and (batch.snapshot is None or batch.snapshot.sequence_number <= end)

    def take(self, batch: Append) -> None:
        self.forgotten |= dict.fromkeys(batch.forgotten, len(self.entries))
        self.entries += batch.entries
        if batch.snapshot is not None and batch.snapshot.sequence_number > self.snapshot.sequence_number:
            self.snapshot = batch.snapshot
        wanted = batch.oldest if batch.oldest <= self.snapshot.sequence_number else self.snapshot.sequence_number + 1
        if wanted > self.oldest:
            self.oldest = wanted

    def is_stored_as(self, stored: StoredRun) -> None:
        assert (stored.epoch, stored.head) == (self.epoch, len(self.entries))
        assert stored.snapshot == self.snapshot
        assert stored.events == tuple(entry.event for entry in self.entries[self.oldest - 1 :])
        found = {client.client_id: client for client in stored.clients}
        assert len(found) == len(stored.clients)
        known = [entry for entry in self.entries if entry.sequence_number > self.forgotten.get(entry.client_id, 0)]
        assert set(found) == {entry.client_id for entry in known}
        for client_id, client in found.items():
            published = [entry for entry in known if entry.client_id == client_id]
            assert client.user_id == published[0].event.user_id
            assert client.last_client_sequence == published[-1].client_sequence
            kept = [(entry.client_sequence, entry.event.sequence_number) for entry in published]
            assert list(client.answers) == kept[-ANSWERS:]
            assert client.used_at == max(entry.event.timestamp for entry in published)


counts = st.sampled_from([0, 1, 2, 3, 30, 70, 110])
values = st.sampled_from([0, -0.0, 1e22, 5e-324, 0.1, 2**63 - 1, "é\U0001f388", "1e5", None, [], {"b": 1, "a": [1e30]}])


class StoreMachine(RuleBasedStateMachine):
    """Made by `machine_for`, which says on which database."""

    url: URL
    servers: int

    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, RunModel] = {}
        self.clock_ms = 1_700_000_000_000
        self.client_numbers = itertools.count(1)
        self.groups: list[tuple[int, list[Append]]] = []
        self.portal = Portal()
        self.stores = [self.portal.call(SqlStore.open, self.url) for _ in range(self.servers)]

    @initialize(target=runs)
    def make_two_runs(self) -> Any:
        return multiple(self._make_run(), self._make_run())

    def _make_run(self) -> str:
        run_id, epoch = str(uuid.uuid4()), uuid.uuid4().hex
        assert self.portal.call(self.stores[0].create_run, run_id, epoch)
        assert not self.portal.call(self.stores[-1].create_run, run_id, "another")
        self.models[run_id] = RunModel(epoch)
        return run_id

    @rule(step_ms=st.sampled_from([-3_600_000, -1, 0, 1, 60_000]))
    def set_clock(self, step_ms: int) -> None:
        self.clock_ms += step_ms

    @rule(
        server=st.integers(0, 1),
        batches=st.lists(
            st.fixed_dictionaries(
                {
                    "run": runs,
                    "count": counts,
                    "clients": st.integers(1, 3),
                    "wrong": st.sampled_from([None] * 7 + ["epoch", "ahead", "behind", "client", "snapshot"]),
                    "snapshot": st.booleans(),
                    "forgets": st.sampled_from([()] * 5 + [("client 0",), ("client 1", "client 2")]),
                    "value": values,
                }
            ),
            min_size=1,
            max_size=4,
        ),
    )
    def commit(self, server: int, batches: list[dict[str, Any]]) -> None:
        """Hand one group to one of the servers; what fits is stored, and nothing else."""
        expected, group = [], []
        for drawn in batches:
            batch = self._batch(drawn)
            model = self.models[drawn["run"]]
            fits = model.takes(batch)
            if fits:
                model.take(batch)
            expected.append(fits)
            group.append(batch)
        outcomes = self.portal.call(self.stores[server % len(self.stores)].append, group)
        assert [outcome is None for outcome in outcomes] == expected, outcomes
        assert all(outcome is None or isinstance(outcome, StoreConflict) for outcome in outcomes)

    @rule()
    def reopen(self) -> None:
        for store in self.stores:
            self.portal.call(store.aclose)
        self.stores = [self.portal.call(SqlStore.open, self.url) for _ in self.stores]

    @rule(run=runs, server=st.integers(0, 1))
    def load(self, run: str, server: int) -> None:
        self._check(run, self.stores[server % len(self.stores)])

    def teardown(self) -> None:
        try:
            for run in self.models:
                self._check(run, self.stores[0])
        finally:
            for store in self.stores:
                self.portal.call(store.aclose)
            self.portal.close()

    def _check(self, run: str, store: SqlStore) -> None:
        stored = self.portal.call(store.load_run, run)
        assert stored is not None
        self.models[run].is_stored_as(parsed(stored))

    def _batch(self, drawn: dict[str, Any]) -> Append:
        model, wrong = self.models[drawn["run"]], drawn["wrong"]
        # "behind": from a server that does not know of the last events
        first = max(1, len(model.entries) + 1 + {"ahead": 1, "behind": -2}.get(wrong, 0))
        entries = []
        for number in range(first, first + drawn["count"]):
            client = f"client {number % drawn['clients']}"
            event = Event("CHAT", f"user {client}", self.clock_ms, number, {"value": drawn["value"]}, number % 3 == 0)
            entries.append(LogEntry(event, client, 1 if wrong == "client" and number > 3 else next(self.client_numbers)))
        last = first + drawn["count"] - 1
        at = last + 1 if wrong == "snapshot" else last
        snapshot = Snapshot(at, RunState(grafts={"p": {"at": at, "value": drawn["value"]}})) if drawn["snapshot"] else None
        epoch = "wrong" if wrong == "epoch" else model.epoch
        return Append(drawn["run"], epoch, tuple(entries), snapshot, max(1, last - WINDOW), drawn["forgets"])


class Portal:
    """Lets a state machine, which is not asynchronous, use a store that lives in one trio run."""

    def __init__(self) -> None:
        from anyio.from_thread import start_blocking_portal

        self._context = start_blocking_portal("trio")
        self._portal = self._context.__enter__()

    def call(self, work: Any, *arguments: Any) -> Any:
        return self._portal.call(work, *arguments)

    def close(self) -> None:
        self._context.__exit__(None, None, None)


def machine_for(url: URL, servers: int) -> type[StoreMachine]:
    return type("StoreMachineOnADatabase", (StoreMachine,), {"url": url, "servers": servers})


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.slow, pytest.mark.parallel])])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[type[StoreMachine]]:
    if request.param == "sqlite":
        yield machine_for(URL.create("sqlite", database=str(tmp_path / "model.sqlite3")), 1)
    else:
        with new_database() as url:
            yield machine_for(make_url(url), 2)


def test_a_store_is_what_its_model_says(machine: type[StoreMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
        ),
    )
