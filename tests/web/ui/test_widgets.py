"""The notebook's widgets without a notebook: what they send to a page, and when; the network that can be cut."""

import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import trio

from reference.client import connect, create_run
from reference.client.without_trio.blocking import TrioPortal, connect_blocking
from reference.protocol.config import ClientConfig
from reference.protocol.errors import ConfigError, LocalError
from reference.protocol.states import ClientState
from reference.server.app import open_server
from reference.server.settings import ServerSettings
from reference.web.jupyter import HealthWidget, LiveRun
from reference.web.jupyter.cuttable_network import CuttableNetwork

FAST = ClientConfig(ping_interval_s=0.2, ping_timeout_s=5.0)  # a busy machine must not lose its connection

pytestmark = pytest.mark.filterwarnings(
    "ignore:There is no current event loop:DeprecationWarning"
)  # ipywidgets, without a kernel


def until(condition: Callable[[], bool], within_s: float = 10) -> None:
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.fixture
def live() -> Iterator[LiveRun]:
    live = LiveRun(user="ada", config=FAST)
    yield live
    live.close()


def test_the_health_follows_the_client(live: LiveRun) -> None:
    shown = live.health
    until(lambda: shown.health["status"] == "Connected" and shown.health["roundTrip"]["samples"] > 1)
    assert shown.health["transport"] == "websocket"
    assert len(shown.health["roundTripsMs"]) >= 2
    assert shown.health["reason"] is shown.health["nextAttemptInMs"] is shown.health["end"] is None
    live.cut_network()
    until(lambda: shown.health["status"] == "Disconnected" and shown.health["nextAttemptInMs"] is not None)
    assert shown.health["reason"]
    live.client.publish_soon("GRAFT", {"position": "a"})
    until(lambda: shown.health["queuedMessages"] == 1)
    live.restore_network()
    until(lambda: shown.health["status"] == "Reconnected" and shown.health["queuedMessages"] == 0)
    live.client.close()
    until(lambda: shown.health["end"] is not None)
    assert (shown.health["status"], shown.health["reason"]) == ("Disconnected", "closed by the application")


@pytest.mark.slow
@pytest.mark.parallel
def test_it_sends_at_most_ten_pictures_a_second(live: LiveRun) -> None:
    pictures: list[object] = []
    live.health.observe(lambda change: pictures.append(change), "health")
    begun = time.monotonic()
    while time.monotonic() < begun + 1.5 or len(pictures) < 3:
        live.client.publish("CHAT", {"text": "again"})
    live.health.unobserve_all()
    assert 3 <= len(pictures) <= (time.monotonic() - begun) * 10 + 2


def test_a_health_widget_of_any_client() -> None:
    with TrioPortal() as portal:
        server = portal.enter(open_server(ServerSettings(port=0, store="memory:")))
        run_id = portal.call(create_run, server.url, str(uuid.uuid4()), "dev:bob")
        with connect_blocking(server.url, run_id, portal=portal, token="dev:bob", config=FAST) as client:
            widget = HealthWidget(client, label="Bob's connection")
            until(lambda: widget.health["status"] == "Connected")
            widget.close()
            client.publish("CHAT", {"text": "the client goes on"})
    with pytest.raises(LocalError, match="closed"):
        HealthWidget(client)


def test_the_buttons_of_the_widget(live: LiveRun) -> None:
    view = live.children[1]
    ask = view._handle_custom_msg  # what a page's message ends up in
    ask({"do": "publish", "type": "GRAFT", "step": "step-1", "text": "by a button"}, [])
    ask({"do": "publish", "type": "PRUNE", "step": "step-2", "text": ""}, [])
    until(lambda: [(one["number"], one["type"]) for one in view.events] == [(1, "GRAFT"), (2, "PRUNE")])
    assert view.users == ["ada"]
    ask({"do": "cut"}, [])
    assert view.is_cut
    until(lambda: live.health.health["status"] == "Disconnected")
    ask({"do": "restore"}, [])
    until(lambda: live.health.health["status"] == "Reconnected")
    for garbage in (
        None,
        7,
        {},
        {"do": "publish", "type": "CHAT", "step": "a", "text": "b"},
        {"do": "publish", "type": "GRAFT", "step": 1},
    ):
        ask(garbage, [])
    ask({"do": "publish", "type": "GRAFT", "step": "", "text": ""}, [])
    assert "position" in view.complaint
    assert len(live.client.events()) == 2


def test_two_live_runs_in_one_run() -> None:
    with TrioPortal() as portal:
        ada = LiveRun(user="ada", portal=portal, config=FAST)
        bob = LiveRun(ada.url, ada.run_id, user="bob", portal=portal, config=FAST)
        bob.client.publish("FLAG", {"note": "seen by both"})
        for one in (ada, bob):
            until(lambda one=one: len(one.children[1].events) == 1 and one.children[1].users == ["ada", "bob"])
        bob.close()
        ada.close()
        ada.close()
        assert not portal.is_closed, "whose portal it is closes it"


def test_what_a_live_run_refuses() -> None:
    with pytest.raises(ConfigError, match="name a user"):
        LiveRun(token="a token for a server of its own")
    with pytest.raises(ConfigError, match="open_stream"):
        LiveRun(open_stream=None)


async def test_a_cut_network_ends_every_stream_and_opens_none() -> None:
    async with open_server(ServerSettings(port=0, store="memory:")) as server:
        run_id = await create_run(server.url, str(uuid.uuid4()), "dev:ada")
        network = CuttableNetwork()
        async with connect(server.url, run_id, token="dev:ada", open_stream=network.open_stream, config=FAST) as client:
            with trio.fail_after(10):
                await client.wait_until(ClientState.LIVE)
                network.cut()
                assert network.is_cut
                await client.wait_until(lambda client: not client.is_carried)
                ticket = client.publish_soon("CHAT", {"text": "later"})
                with trio.move_on_after(0.5):
                    await ticket.accepted()
                assert client.queued_messages == 1
                with pytest.raises(OSError, match="cut here"):
                    await network.open_stream("127.0.0.1", server.port, False)
                network.restore()
                assert await ticket.accepted() == 1
