"""Execution of an experiment's runs: in this process, on all cores, or on a Dask cluster; and how they resume.

A run is a function of its scenario, seed and replication. So the rows do not depend on the machine, the number of workers or the
order in which they finish. Finished rows are written to Parquet files in a folder at intervals, each under the digest of its
task; an interrupted experiment that is started again with the same folder runs only the rest. Rows that another version of the
program wrote are not used (`identity`).
"""

import contextlib
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import msgspec
import pandas as pd
import pyarrow.parquet

from reference.protocol.errors import ConfigError
from simulation.results.frames import write_parquet
from simulation.scenario.presets import registered
from simulation.studies.identity import program_version

PROGRAM = b"steadywire.program"
"""The version of the program that wrote a file of rows, in the file's metadata."""
CHECKPOINT_S = 5.0
"""How often finished rows are written; at most this much work is lost when everything is killed."""
CHUNKS_PER_WORKER = 8
"""Into how many pieces the work of one worker is split: enough for balance, few enough that sending them costs nothing."""
CHUNK_MAX = 64
CONNECT_TIMEOUT_S = 10.0
"""How long a Dask scheduler may take to answer."""


class Task(msgspec.Struct, frozen=True):
    """One run. `point`: its place in the design. `scenario`: its text. `figures`: pickled, with the scale (`experiment`).
    `code`: the identity of figures, scale and registered policies, the same in every process. `program`: the version of
    steadywire."""

    point: int
    replication: int
    scenario: str
    figures: bytes
    code: str
    program: str

    @property
    def digest(self) -> str:
        """A name for exactly this run by this code."""
        parts = f"{self.program}/{self.replication}/{self.code}/{self.scenario}"
        return blake2b(parts.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Progress:
    """The progress of an experiment. `resumed`: of `done`, those found in the folder. `remaining_s`: None before the first
    run. `outdated`: runs in the folder that another version of the program made; they are not used."""

    done: int
    total: int
    failed: int
    resumed: int
    elapsed_s: float
    remaining_s: float | None
    outdated: int


Report = Callable[[Progress], None]
Row = dict[str, Any]
Run = Callable[[Task], Row]


@dataclass
class Backend:
    """`workers`: processes on this machine; 1 is this process itself, -1 one per core. `dask`: the address of a scheduler
    (`tcp://host:8786`), or "local" for a cluster of worker processes on this machine; it replaces `workers`."""

    workers: int = 1
    dask: str | None = None

    def __post_init__(self) -> None:
        if self.workers != -1 and not 1 <= self.workers <= 1024:
            raise ConfigError(f"workers = {self.workers}: from 1 to 1024, or -1 for one on each core")

    @property
    def processes(self) -> int:
        return (os.cpu_count() or 1) if self.workers == -1 else self.workers

    def map(self, run: Run, tasks: Sequence[Task]) -> Iterator[list[tuple[str, Row]]]:
        """Rows under the digests of their tasks, in chunks, as they finish."""
        if self.dask is not None:
            yield from self._on_dask(run, tasks)
        elif self.processes == 1:
            for task in tasks:
                yield _chunk(run, [task])
        else:
            pieces = _pieces(tasks, self.processes)
            own = _pickled_presets()
            calls = (joblib.delayed(_chunk)(run, piece, own) for piece in pieces)
            pool = joblib.Parallel(n_jobs=self.processes, backend="loky", return_as="generator_unordered", batch_size=1)
            yield from pool(calls)

    def _on_dask(self, run: Run, tasks: Sequence[Task]) -> Iterator[list[tuple[str, Row]]]:
        try:
            import distributed
        except ImportError:
            raise ConfigError("Dask is not installed; `pip install 'steadywire[cluster]'`") from None
        assert self.dask is not None
        with contextlib.ExitStack() as stack:
            try:
                if self.dask == "local":
                    processes = self.processes if self.workers != 1 else (os.cpu_count() or 1)
                    cluster = distributed.LocalCluster(  # type: ignore[no-untyped-call]  # distributed has no types
                        n_workers=processes, threads_per_worker=1, processes=True, dashboard_address=None
                    )
                    stack.enter_context(cluster)
                    client = stack.enter_context(distributed.Client(cluster))  # type: ignore[no-untyped-call]
                else:
                    client = stack.enter_context(distributed.Client(self.dask, timeout=CONNECT_TIMEOUT_S))  # type: ignore[no-untyped-call]
            except (OSError, TimeoutError, ValueError) as error:
                raise ConfigError(
                    f"no Dask scheduler answers at {self.dask!r} ({error}); start one with `dask scheduler`"
                ) from None
            own = _pickled_presets()
            workers = max(1, len(client.scheduler_info()["workers"]))
            futures = [client.submit(_chunk, run, piece, own, pure=False, retries=3) for piece in _pieces(tasks, workers)]
            for future in distributed.as_completed(futures):  # type: ignore[no-untyped-call]
                yield future.result()


class Rows:
    """The finished rows in a folder, or in memory if there is none. The folder is read once, here; rows are only added.

    `outdated`: runs in the folder that another version of the program made. They stay there and are not used."""

    def __init__(self, folder: str | Path | None) -> None:
        self._folder = None if folder is None else Path(folder)
        self._waiting: list[Row] = []
        self._written_at = time.monotonic()
        self.by_digest: dict[str, Row] = {}
        self.outdated = 0
        self._versions: set[str] = set()  # that made those
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"cannot make the folder {folder}: {error.strerror or error}; name another") from None
            self._read(self._folder)

    @property
    def note(self) -> str:
        """A sentence about runs that another version of the program made; empty if there are none."""
        if not self.outdated:
            return ""
        return (
            f"{self.outdated} runs in {self._folder} were made by another version of the program "
            f"({', '.join(sorted(self._versions))}; this is {program_version()}): they are not used, and are run again"
        )

    def add(self, rows: Sequence[tuple[str, Row]]) -> None:
        for digest, row in rows:
            self.by_digest[digest] = row
            if self._folder is not None:
                self._waiting.append({"task": digest, **row})
        if time.monotonic() - self._written_at > CHECKPOINT_S:
            self.write()

    def write(self) -> None:
        """Write the rows added since the last time, in one new file. Raises ConfigError if that is not possible."""
        self._written_at = time.monotonic()
        if self._folder is None or not self._waiting:
            return
        name = blake2b("".join(row["task"] for row in self._waiting).encode(), digest_size=8).hexdigest()
        path, partial = self._folder / f"rows-{name}.parquet", self._folder / f".{name}.partial"
        try:
            write_parquet(pd.DataFrame(self._waiting), partial, {PROGRAM.decode(): program_version()})
            partial.replace(path)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror or error}; the rows before it are kept") from None
        self._waiting = []

    def _read(self, folder: Path) -> None:
        for path in sorted(folder.glob("rows-*.parquet")):
            try:
                about = pyarrow.parquet.read_metadata(path)
                made_by = (about.metadata or {}).get(PROGRAM, b"unknown").decode()
                if made_by != program_version():
                    self.outdated += about.num_rows
                    self._versions.add(made_by)
                    continue
                table = pd.read_parquet(path)
            except (OSError, ValueError) as error:
                raise ConfigError(f"{path} cannot be read ({error}); remove it, and its runs are repeated") from None
            for row in table.to_dict("records"):
                digest = str(row.pop("task"))
                # an empty text may come back from Parquet as None; a missing number stays NaN
                self.by_digest[digest] = {str(name): "" if value is None else value for name, value in row.items()}


def carry_out(run: Run, tasks: Sequence[Task], backend: Backend, rows: Rows, report: Report | None = None) -> list[Row]:
    """The rows of all tasks, in their order; those that `rows` has are not run again. Raises ConfigError.

    An interruption (KeyboardInterrupt) leaves finished rows in the folder.
    """
    digests = [task.digest for task in tasks]
    missing = [task for task, digest in zip(tasks, digests, strict=True) if digest not in rows.by_digest]
    resumed, began, done = len(tasks) - len(missing), time.monotonic(), 0
    failed = sum(bool(rows.by_digest[digest].get("error")) for digest in digests if digest in rows.by_digest)

    def report_progress() -> None:
        if report is not None:
            elapsed_s = time.monotonic() - began
            remaining_s = elapsed_s / done * (len(missing) - done) if done else None
            report(Progress(resumed + done, len(tasks), failed, resumed, elapsed_s, remaining_s, rows.outdated))

    report_progress()
    try:
        for finished in backend.map(run, missing):
            rows.add(finished)
            done += len(finished)
            failed += sum(bool(row.get("error")) for _, row in finished)
            report_progress()
    finally:
        rows.write()
    return [rows.by_digest[digest] for digest in digests]


def _chunk(run: Run, tasks: Sequence[Task], own_presets: bytes | None = None) -> list[tuple[str, Row]]:
    """Some runs one after the other, in any process. Raises ConfigError if that has another version of the program."""
    for task in tasks:
        if task.program != program_version():
            raise ConfigError(
                f"a worker has version {program_version()} of the program, and the experiment {task.program}: install the same "
                "on every machine, and start the workers again"
            )
    if own_presets is not None:
        pickle.loads(own_presets).adopt()
    return [(task.digest, run(task)) for task in tasks]


def _pickled_presets() -> bytes:
    """The presets that a user has registered, with their classes: another process may not be able to import their file."""
    own = registered()
    modules = [
        sys.modules[name]
        for name in sorted(own.modules)
        if name in sys.modules and name.partition(".")[0] not in ("reference", "simulation", "builtins", "__main__")
    ]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        return pickled(own)
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _pieces(tasks: Sequence[Task], workers: int) -> Iterator[list[Task]]:
    size = min(CHUNK_MAX, max(1, len(tasks) // (workers * CHUNKS_PER_WORKER)))
    for start in range(0, len(tasks), size):
        yield list(tasks[start : start + size])


def pickled(value: Any) -> bytes:
    """Functions with everything that they need, for other processes."""
    pickled: bytes = cloudpickle.dumps(value)
    return pickled


def duration(seconds: float) -> str:
    """A length of time for a reader."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
