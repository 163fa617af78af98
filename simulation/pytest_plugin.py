"""The pytest plugin: fixtures for the tests of other people's programs. pytest finds it by itself where steadywire is installed.

    def test_the_upload_survives_an_outage(bad_network):
        network = bad_network("127.0.0.1:8000", latency_s=0.1)
        with network.outage():
            ...

`docs/tools.md` says more. Nothing of steadywire is imported until a test asks for a fixture, so the plugin costs other tests
nothing.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from simulation.processes.fixtures import BadNetworks, TestServer, VirtualTime


@pytest.fixture
def steadywire_server() -> "Iterator[TestServer]":
    """A development server on a free port of loopback, which keeps its events in memory, in a thread of its own."""
    from simulation.processes.fixtures import open_test_server

    with open_test_server() as server:
        yield server


@pytest.fixture
def bad_network() -> "Iterator[BadNetworks]":
    """Call it with where a server is and with a path: gives a proxy whose network can be changed and broken."""
    from simulation.processes.fixtures import open_bad_networks

    with open_bad_networks() as networks:
        yield networks


@pytest.fixture
def virtual_time() -> "VirtualTime":
    """Runs trio programs in which waiting takes no time."""
    from simulation.processes.fixtures import VirtualTime

    return VirtualTime()
