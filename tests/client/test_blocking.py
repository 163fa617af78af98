"""The client without `async`, over sockets, against the server that users run."""

import threading
import uuid
from collections.abc import Iterator
from functools import partial

import pytest

from reference.client.connecting import create_run
from reference.client.mailbox import UndeliveredError
from reference.client.without_trio.blocking import BlockingClient, PortalTimeout, TrioPortal, connect_blocking
from reference.protocol.client.outcomes import SessionEnded, SnapshotReceived
from reference.protocol.errors import ConfigError, InvalidEvent, SessionClosed
from reference.protocol.states import ClientState, Transport
from reference.server.app import Server, open_server
from reference.server.settings import ServerSettings


@pytest.fixture
def portal() -> Iterator[TrioPortal]:
    with TrioPortal() as portal:
        yield portal


@pytest.fixture
def server(portal: TrioPortal) -> Server:
    return portal.enter(open_server(ServerSettings(port=0, store="memory:")))


@pytest.fixture
def run_id(portal: TrioPortal, server: Server) -> str:
    return portal.call(partial(create_run, server.url, token="dev:ada"))


def test_two_clients_and_a_server_in_one_portal(portal: TrioPortal, server: Server, run_id: str) -> None:
    ada = connect_blocking(server.url, run_id, portal=portal, token="dev:ada")
    ben = connect_blocking(server.url, run_id, portal=portal, token="dev:ben")
    assert ada.publish("CHAT", {"n": 1}) == 1
    tickets = [ada.publish_soon("CHAT", {"n": n}) for n in range(2, 101)]
    assert [ada.accepted(ticket) for ticket in tickets] == list(range(2, 101))
    ben.wait_until(lambda client: client.position[1] == 100)
    assert [event.data["n"] for event in ben.events()] == list(range(1, 101))[100 - len(ben.events()) :]
    assert ben.state in (ClientState.PROVING, ClientState.LIVE)
    ben.wait_until(ClientState.LIVE)
    assert set(ben.active_users) <= {"ada", "ben"}
    assert ada.queued_messages == 0
    assert ada.health.delivery_rate == 1.0
    assert ada.health.transport == Transport.WEBSOCKET
    assert ben.position == ada.position
    assert "live" in repr(ben)
    ada.move_cursor({"x": 1})

    ada.close()
    ada.close()
    assert any(isinstance(item, SnapshotReceived) for item in ada.received())
    assert isinstance(ada.received()[-1], SessionEnded)
    assert ben.publish("CHAT", {}) == 101
    with pytest.raises(SessionClosed):
        ada.publish("CHAT", {})


def test_the_end_waits_for_unsettled_publishes_as_long_as_drain_s_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a `drain_s` above CLOSE_S_MAX the portal cut the client, and its publishes, before that time."""
    monkeypatch.setattr("reference.client.without_trio.portal.CLOSE_S_MAX", 0.3)
    client = connect_blocking("http://127.0.0.1:1", str(uuid.uuid4()), drain_s=0.6)
    client.publish_soon("CHAT", {})
    with pytest.raises(UndeliveredError, match=r"within the 0\.6 s of drain_s"):
        client.close()
    assert isinstance(client.received()[-1], SessionEnded), "what came while it closed can be read"


def test_a_client_with_a_portal_of_its_own(server: Server, run_id: str) -> None:
    before = threading.active_count()
    with connect_blocking(server.url, run_id, token="dev:ada", received_max=3) as client:
        for n in range(1, 6):
            assert client.publish("CHAT", {"n": n}) == n
        client.wait_until(lambda client: client.position[1] == 5)
    assert threading.active_count() == before
    assert len(client.received()) == 3, "the newest only"
    assert isinstance(client.received()[-1], SessionEnded)
    assert [event.sequence_number for event in client.events()] == [4, 5]
    assert client.state is ClientState.CLOSED
    assert client.health.delivery_rate == 1.0


def test_limits_of_waiting(portal: TrioPortal, server: Server, run_id: str) -> None:
    """Nobody answers: what waits is limited, what is queued is not lost."""
    with portal_to_nowhere(portal, run_id) as client:
        with pytest.raises(PortalTimeout, match=r"wait_until took longer than 0.05 s"):
            client.wait_until(ClientState.LIVE, timeout_s=0.05)
        with pytest.raises(PortalTimeout):
            client.publish("CHAT", {}, timeout_s=0.05)
        assert client.queued_messages == 1
        with pytest.raises(InvalidEvent):
            client.publish("NO_SUCH_TYPE", {})


def test_what_cannot_work(portal: TrioPortal) -> None:
    before = threading.active_count()
    with pytest.raises(ConfigError, match="received_max"):
        connect_blocking("http://127.0.0.1:1", "run", received_max=0)
    with pytest.raises(ConfigError, match="run_id"):
        connect_blocking("http://127.0.0.1:1", "", portal=portal)
    with pytest.raises(ConfigError, match="run_id"):
        connect_blocking("http://127.0.0.1:1", "")
    assert threading.active_count() == before


def portal_to_nowhere(portal: TrioPortal, run_id: str) -> BlockingClient:
    return connect_blocking("http://127.0.0.1:1", run_id, portal=portal, drain_s=0.05)
