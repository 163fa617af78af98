"""A pytest plugin: records every client session that the tests make, into the file that STEADYWIRE_RECORDING names.

Tests that call methods of a session's parts are left out: a recording has the verbs of the session only.
"""

import inspect
import os
import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from .recording import Recording, dump, recorded

_CALLS_PARTS = re.compile(r"\bsession\._\w+\.[\w.]+\(")
_stack = ExitStack()
_recording: list[Recording] = []


def pytest_configure(config: pytest.Config) -> None:
    _recording.append(_stack.enter_context(recorded()))


def pytest_runtest_setup(item: pytest.Item) -> None:
    function = getattr(item, "function", None)
    _recording[0].is_paused = function is None or _CALLS_PARTS.search(inspect.getsource(function)) is not None


def pytest_unconfigure(config: pytest.Config) -> None:
    _stack.close()
    Path(os.environ["STEADYWIRE_RECORDING"]).write_text(dump(_recording.pop()), "utf-8")
