"""What a test does to the logging of its process ends with it: files run in any order, on any of the processes."""

import sys

import pytest
import structlog


@pytest.mark.parametrize("which", ["the first", "the next"])
def test_logging_is_not_configured_at_first(which: str) -> None:
    assert not structlog.is_configured(), f"{which} has found what another left"
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
