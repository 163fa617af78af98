"""Files that commands read and write. An error names the file and, where possible, comes before a long run and not after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reference.protocol.errors import ConfigError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """For a block that reads `path`. Raises ConfigError for its OSError."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """For a block that writes to `path`. Raises ConfigError for its OSError."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}; choose another place") from None


def check_writable(*paths: Path | None) -> None:
    """Raise ConfigError unless each of these files can be written; no file is changed, and none remains that was not there."""
    for path in paths:
        if path is not None:
            was_there = path.exists()
            with writing(path):
                path.open("ab").close()
                if not was_there:
                    path.unlink()
