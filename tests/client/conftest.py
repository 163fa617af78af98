"""Every test here runs in virtual time: nothing waits for a real clock or a real socket."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from reference.client import Client, connect
from tests.client.harness import RUN_ID, URL, Server

Connect = Callable[..., AbstractAsyncContextManager[Client]]


def in_virtual_time(main: Callable[[], Any], *, clock: trio.abc.Clock | None = None, instruments: Sequence[Any] = ()) -> Any:
    return trio.run(main, clock=clock or trio.testing.MockClock(autojump_threshold=0), instruments=instruments)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before pytest-trio's own choice, after a test's own: `@pytest.mark.trio(run=trio.run)` is real time."""
    for item in items:
        is_ours = item.path.is_relative_to(Path(__file__).parent) and inspect.iscoroutinefunction(getattr(item, "function", None))
        if is_ours and not any("run" in marker.kwargs for marker in item.iter_markers("trio")):
            item.add_marker(pytest.mark.trio(run=in_virtual_time))


@pytest.fixture
async def server(nursery: trio.Nursery) -> Server:
    return Server(nursery)


@pytest.fixture
def join(server: Server) -> Connect:
    """`connect` to that server, with a seed."""
    return partial(connect, URL, RUN_ID, open_stream=server.open_stream, seed=1)
