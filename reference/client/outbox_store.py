"""An outbox that survives a restart: what a client saves of its session, and a file to keep it.

    async with connect(url, run_id, token=token, outbox_store=FileOutboxStore("ada.outbox")) as client:
        for ticket in client.restored: ...                  # publishes from before the restart that are not settled

With a store a client keeps its client id. So publishes that were sent but not answered before the program ended are sent again,
and the server recognises copies by their numbers: each is in the log once. The client also continues from the last event that the
application has handled: an event counts as handled when the application asks for the next one, or leaves the block of `connect`.

`FileOutboxStore` is a journal: each change is one line, written at once, so it survives a crash of the program. With `sync=True`
each line is also forced to the disk, so it survives a loss of power and costs a disk write per publish. When the journal is
several times larger than its contents, it is rewritten to a new file that replaces it atomically. The file is locked while it is
used.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import Annotated, Protocol

import msgspec

from reference.protocol.errors import ConfigError, SteadywireError
from reference.protocol.saved_session import (
    Change,
    GenerationSaved,
    NumberSaved,
    PositionSaved,
    PublishForgotten,
    PublishSaved,
    SavedPublish,
    SavedSession,
)
from reference.protocol.timers import NS_PER_MS

try:
    import fcntl
except ImportError:  # Windows: two programs that use one file are not detected
    fcntl = None  # type: ignore[assignment]  # the module, or None on systems without it

FORMAT_VERSION = 1
"""Higher when an older program would misread a file. A field that was added later (`tries`) has a default, for files from before
it, and an older program leaves it out."""
JOURNAL_BYTES_MIN = 256 * 1024
"""A smaller journal is not rewritten; a larger one when it is four times as large as its contents."""
_GROWTH = 4


class OutboxStoreFailed(SteadywireError):
    """A change could not be saved, so the block of `connect` has ended: the application relies on saving. The message says
    why."""


class OutboxStore(Protocol):
    """Where a client saves its session. Used by one client at a time; no method may take long, because the client waits for
    it."""

    def load(self, run_id: str, client_id: str) -> SavedSession:
        """The saved session of this run; a new session with `client_id` if there is none. Raises ConfigError, and then leaves
        nothing open: `close` is called only after a session was loaded."""

    def save(self, change: Change) -> None:
        """Save one change. After it returns, the change survives the program. Raises OSError."""

    def close(self) -> None:
        """The client has ended. May be called again."""


class _Header(msgspec.Struct, frozen=True, tag_field="change", tag="outbox", rename="camel"):
    """The first line."""

    run_id: str
    client_id: str
    next_sequence: Annotated[int, msgspec.Meta(ge=1)] = 1
    format_version: int = FORMAT_VERSION


_Line = _Header | Change
_decoder: "msgspec.json.Decoder[_Line]" = msgspec.json.Decoder(_Line)
_encoder = msgspec.json.Encoder()


class _Contents:
    """The contents of a journal. Bounded by the outbox whose changes it gets."""

    def __init__(self, header: _Header) -> None:
        self.header = header
        self.generation = 0
        self.next_sequence = header.next_sequence
        self.position: PositionSaved | None = None
        self.queued: dict[int, PublishSaved] = {}
        self.numbers: dict[int, NumberSaved] = {}

    def take(self, change: Change) -> None:
        match change:
            case PublishSaved(ticket=ticket):
                self.queued[ticket] = change
            case NumberSaved(ticket=ticket, client_sequence=number):
                self.numbers[ticket] = change
                self.next_sequence = max(self.next_sequence, number + 1)
            case PublishForgotten(ticket=ticket):
                self.queued.pop(ticket, None)
                self.numbers.pop(ticket, None)
            case GenerationSaved(generation=generation):
                self.generation = max(self.generation, generation)
            case PositionSaved():
                self.position = change

    def lines(self) -> bytes:
        """The shortest journal with these contents."""
        header = msgspec.structs.replace(self.header, next_sequence=self.next_sequence)
        lines: list[_Line] = [header, GenerationSaved(self.generation)]
        if self.position is not None:
            lines.append(self.position)
        for ticket, publish in self.queued.items():
            lines.append(publish)
            if ticket in self.numbers:
                lines.append(self.numbers[ticket])
        return b"".join(_encoder.encode(line) + b"\n" for line in lines)

    def session(self, now_ms: int) -> SavedSession:
        publishes = []
        for ticket, publish in self.queued.items():
            number = self.numbers.get(ticket)
            publishes.append(
                SavedPublish(
                    ticket=ticket,
                    event_type=publish.event_type,
                    data=publish.data,
                    age_ms=max(0, now_ms - publish.at_ms),
                    client_sequence=None if number is None else number.client_sequence,
                    is_perhaps_lost=number is not None and number.is_perhaps_lost,
                    tries=0 if number is None else number.tries,
                )
            )
        # Sent publishes come first, in the order of their numbers; the others were queued after them.
        publishes.sort(key=lambda each: (each.client_sequence is None, each.client_sequence or each.ticket))
        return SavedSession(
            client_id=self.header.client_id,
            generation=self.generation,
            next_sequence=self.next_sequence,
            epoch=None if self.position is None else self.position.epoch,
            last=0 if self.position is None else self.position.last,
            publishes=tuple(publishes),
        )


class FileOutboxStore:
    """See the module. `path`: the journal, created if it does not exist; one file for each client and run."""

    def __init__(self, path: Path | str, *, sync: bool = False) -> None:
        self.path = Path(path)
        self._sync = sync
        self._file = -1
        self._lock = -1
        self._size = 0
        self._contents: _Contents | None = None

    def load(self, run_id: str, client_id: str) -> SavedSession:
        """Raises ConfigError: the file is used by another client, belongs to another run, is damaged, or cannot be opened."""
        if self._lock >= 0:
            raise self._in_use()  # that client goes on
        try:
            self._take_lock()
            content = self.path.read_bytes() if self.path.exists() else b""
            contents = self._read(content) or _Contents(_Header(run_id=run_id, client_id=client_id))
            if contents.header.run_id != run_id:
                raise ConfigError(
                    f"{self.path} is the outbox of run {contents.header.run_id}; name another file for run {run_id}"
                )
            self._contents = contents
            self._rewrite()
        except OSError as error:
            self.close()
            raise ConfigError(f"the outbox {self.path} cannot be used: {error.strerror or error}") from None
        except ConfigError:
            self.close()
            raise
        return contents.session(time.time_ns() // NS_PER_MS)

    def save(self, change: Change) -> None:
        """Raises OSError: the change may not be saved; the changes before it are."""
        assert self._contents is not None, "loaded before"
        if isinstance(change, PublishSaved):
            change = msgspec.structs.replace(change, at_ms=time.time_ns() // NS_PER_MS)
        self._append(_encoder.encode(change) + b"\n")
        self._contents.take(change)
        if self._size > JOURNAL_BYTES_MIN and self._size > _GROWTH * len(self._contents.lines()):
            self._rewrite()

    def close(self) -> None:
        for name in ("_file", "_lock"):
            descriptor = getattr(self, name)
            setattr(self, name, -1)
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def _take_lock(self) -> None:
        self._lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        if fcntl is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._in_use() from None

    def _in_use(self) -> ConfigError:
        return ConfigError(f"the outbox {self.path} is used by another client; give each client a file of its own")

    def _read(self, content: bytes) -> _Contents | None:
        """None if it is empty. A last line without its end was being written when the program ended."""
        *lines, _ = content.split(b"\n")
        contents: _Contents | None = None
        for number, line in enumerate(lines, start=1):
            try:
                decoded = _decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeError) as error:
                raise ConfigError(f"line {number} of the outbox {self.path} is damaged: {error}; move the file away") from None
            if isinstance(decoded, _Header):
                if decoded.format_version != FORMAT_VERSION:
                    version = decoded.format_version
                    raise ConfigError(f"the outbox {self.path} has format version {version}; this program reads {FORMAT_VERSION}")
                contents = _Contents(decoded)
            elif contents is None:
                raise ConfigError(f"{self.path} is no outbox: its first line is not that of one; name another file")
            else:
                contents.take(decoded)
        return contents

    def _append(self, line: bytes) -> None:
        try:
            _write(self._file, line)
            if self._sync:
                os.fsync(self._file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)  # a part of the line would damage the line after it
            raise
        self._size += len(line)

    def _rewrite(self) -> None:
        """Replace this journal by the shortest one, atomically. Raises OSError; then the old one is used as before."""
        assert self._contents is not None, "loaded before"
        beside = Path(f"{self.path}.new")
        content = self._contents.lines()
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _write(file, content)
            os.fsync(file)
            beside.replace(self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(file)
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
        old, self._file, self._size = self._file, file, len(content)
        if old >= 0:
            os.close(old)
        if self._sync:
            _force_rename_in(self.path.parent)


def _write(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]


def _force_rename_in(folder: Path) -> None:
    """After a loss of power the old file could be back, without the lines written since. Windows cannot open a folder."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
