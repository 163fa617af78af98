"""The interface of all event stores: their guarantees, and how they fail.

A store keeps, for each run, what `StoredRun` names: the epoch, the newest snapshot, the retained window of
events, and the deduplication memory of every client. The run machine decides what is written (`Append`); the store
makes it durable, and guarantees only this:

    durable      what `append` confirms survives a crash of the process and of the machine, at any time
    whole        a batch is stored with all its entries, its snapshot and its answers, or not at all
    in order     a batch is stored only where it directly follows what is stored, in the same epoch

The last guarantee makes a second writer harmless: the later one gets `StoreConflict` and nothing is
overwritten. It is checked in one place for all stores, `position.Position`.

Many batches share one transaction (group commit), because a transaction costs one wait for the disk, whether
it carries one event or two hundred. A batch that does not fit fails alone; the others in its group are stored
as if it did not exist.

`StoreUnavailable` for a batch means "not confirmed", not "not stored": a connection that dies during COMMIT
leaves both possible; `load_run` shows which. Sending such a batch again is safe: it gives
`StoreConflict` if the first one had arrived.
"""

import re
from collections.abc import Sequence
from typing import Protocol

import msgspec

from reference.protocol.errors import LocalError, SteadywireError
from reference.protocol.records import Append, StoredRun

_RUN_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class StoreError(SteadywireError):
    """The base of every error of a store."""


class StoreConflict(StoreError):
    """The batch does not follow the stored events: there was another writer, or the run in memory is outdated."""


class StoreUnavailable(StoreError):
    """The store did not confirm: it cannot be opened, read or written. The message is one line that says what to do."""


class StoreOverloaded(StoreError):
    """More batches wait to be written than the limit allows; this batch was not taken."""


class ProcessAddress(msgspec.Struct, frozen=True):
    """A server process, for the others that share its database. A request with `secret` comes from one of them."""

    process_id: int
    host: str
    port: int
    secret: str


class EventStore(Protocol):
    """The durable log of many runs. All methods belong to the trio thread; none blocks it."""

    async def create_run(self, run_id: str, epoch: str) -> bool:
        """Create the run `run_id` (a UUID in its canonical form), empty, with `epoch`; durable on return.

        True if it is new; False if it was there already, in which case the stored epoch stays. Raises
        LocalError if `run_id` is not a canonical UUID, StoreUnavailable if the store did not confirm.
        """

    async def delete_run(self, run_id: str) -> bool:
        """Remove a run and everything that is kept of it; durable on return.

        False if there was none. A later batch for it gives StoreConflict. Raises StoreUnavailable.
        """

    async def load_run(self, run_id: str) -> StoredRun | None:
        """The durable state of a run at one moment; None if there is no such run.

        The window always connects with the snapshot: no event between them is missing. Raises
        StoreUnavailable.
        """

    async def append(self, batches: Sequence[Append]) -> list[StoreError | None]:
        """Make `batches` durable in one transaction; one outcome for each, in the same order. None means
        durable.

        The batches are checked one after the other, so two for one run may follow each other within a group. A
        batch that does not fit gives StoreConflict and harms no other. Any other failure
        gives StoreUnavailable, for all batches concerned. Never raises a StoreError. A caller that is cancelled
        here does not learn the outcome: shield the call, as `writer.GroupCommit` does.
        """

    async def check(self) -> None:
        """Return if the store can be written to now; raise StoreUnavailable with what to do otherwise."""

    async def aclose(self) -> None:
        """Finish and release everything. May be called again; finishes even when cancelled. Afterwards every other call raises
        StoreUnavailable."""


def is_run_id(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form, lower case with hyphens: one run, one spelling."""
    return _RUN_ID.fullmatch(text) is not None


def check_run_id(text: str) -> None:
    """Raise LocalError unless `text` may name a run."""
    if not is_run_id(text):
        example = "01234567-89ab-cdef-0123-456789abcdef"
        raise LocalError(f"the run id {text!r} is not a UUID in lower case with hyphens, like {example}")


def closed() -> StoreUnavailable:
    """The error of every call on a store after `aclose`."""
    return StoreUnavailable("this store has been closed; open it again with open_store")


def no_thread(error: RuntimeError) -> StoreUnavailable:
    """The error of work for which the system refused a thread."""
    return StoreUnavailable(f"the system gives no thread ({error}); raise its limit of processes and threads")
