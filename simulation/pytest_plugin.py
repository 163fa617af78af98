"""The pytest plugin: fixtures for the tests of other programs. pytest finds it if steadywire is installed.

    def test_the_upload_survives_an_outage(bad_network):
        network = bad_network("127.0.0.1:8000", latency_s=0.1)
        with network.outage():
            ...

`docs/tools.md` describes them. Nothing of steadywire is imported until a test uses a fixture, so the plugin does not slow other
tests down.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from simulation.processes.fixtures import BadNetworks, TestServer, VirtualTime


@pytest.fixture
def steadywire_server() -> "Iterator[TestServer]":
    """A development server on a free loopback port, with its events in memory, in a background thread."""
    from simulation.processes.fixtures import open_test_server

    with open_test_server() as server:
        yield server


@pytest.fixture
def bad_network() -> "Iterator[BadNetworks]":
    """Call it with a server's address and a path: returns a proxy whose network can be changed and broken."""
    from simulation.processes.fixtures import open_bad_networks

    with open_bad_networks() as networks:
        yield networks


@pytest.fixture
def virtual_time() -> "VirtualTime":
    """Runs trio programs in which waiting takes no time."""
    from simulation.processes.fixtures import VirtualTime

    return VirtualTime()
