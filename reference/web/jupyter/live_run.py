"""A run in a notebook, live: the health of one's own client, who is here, the log, and buttons to act.

Without an address `LiveRun` starts a development server in the same portal, so that one line shows everything; its page is a link
away, and a person who opens it works in the same run. What is published in Python (`live.client.publish(...)`) appears in the
widget at once; what is published with the widget's buttons reaches Python when the notebook's thread is free.
"""

import uuid
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets
import trio

from reference.client import Client, create_run
from reference.client.without_trio.blocking import BlockingClient, Running, TrioPortal, connect_blocking
from reference.protocol.errors import ConfigError, SteadywireError
from reference.protocol.events import Event
from reference.protocol.states import ClientState
from reference.server.app import open_server
from reference.server.settings import ServerSettings
from reference.web.jupyter.cuttable_network import CuttableNetwork
from reference.web.jupyter.health_widget import LOOK_INTERVAL_S, HealthWidget, until_it_differs

EVENTS_SHOWN = 100
USERS_SHOWN = 50
TEXT_CHARACTERS_MAX = 2000
SCRIPT = Path(__file__).with_name("live_run.js")


class RunWidget(anywidget.AnyWidget):
    """Who is in a run and what happened in it; made by LiveRun."""

    _esm = SCRIPT
    page_url = traitlets.Unicode().tag(sync=True)
    run_id = traitlets.Unicode().tag(sync=True)
    user = traitlets.Unicode().tag(sync=True)
    users: traitlets.List[str] = traitlets.List().tag(sync=True)
    events: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """The last EVENTS_SHOWN: number, type, user, data, time in ms since 1970."""
    waiting = traitlets.Int(0).tag(sync=True)
    is_cut = traitlets.Bool(False).tag(sync=True)
    complaint = traitlets.Unicode().tag(sync=True)


class LiveRun(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """One client in one run, shown. `close` ends it; so does the end of the kernel."""

    def __init__(
        self,
        url: str | None = None,
        run_id: str | None = None,
        *,
        user: str = "ada",
        token: str | None = None,
        portal: TrioPortal | None = None,
        **options: Any,
    ) -> None:
        """`url`: a server; None starts a development server of its own, which keeps its events in memory. `run_id`: a run; None
        makes one. `user`: who this is on a development server; `token`: who this is on any other. `portal`: where it all lives.
        `options`: those of `reference.client.connect`.

        Raises ConfigError, CreateRunFailed, ListenError.
        """
        if url is None and token is not None:
            raise ConfigError("a server of its own is a development server and takes no token; name a user, or give a url")
        if "open_stream" in options:
            raise ConfigError("open_stream: LiveRun has a network of its own, which it can cut")
        self._owns_portal = portal is None
        self.portal = portal or TrioPortal()
        try:
            self._server = None
            if url is None:
                settings = ServerSettings(port=0, store="memory:")
                self._server = self.portal.enter(open_server(settings))
                url = self._server.url
            token = token or f"dev:{user}"
            self.url = url
            self.run_id = self.portal.call(create_run, url, run_id or str(uuid.uuid4()), token)
            self._network = CuttableNetwork()
            self.client: BlockingClient = connect_blocking(
                url, self.run_id, portal=self.portal, token=token, open_stream=self._network.open_stream, **options
            )
        except BaseException:
            if self._owns_portal:
                self.portal.close()
            raise
        self.health = HealthWidget(self.client, label=f"Connection of {user}")
        self._view = RunWidget(page_url=f"{url}/#run={self.run_id}", run_id=self.run_id, user=user)
        self._view.on_msg(self._asked)
        self._watching: Running[None] | None = self.client.watch(self._follow)
        super().__init__([self.health, self._view])

    # ---- acting ----

    def cut_network(self) -> None:
        """Cut this client's own network: its connections end, and none can be opened."""
        self.portal.call(self._network.cut)
        self._view.is_cut = True

    def restore_network(self) -> None:
        """Let connections be opened again; the next attempt does not wait for its time."""
        self.portal.call(self._network.restore)
        self.client.network_returned()
        self._view.is_cut = False

    def close(self) -> None:
        """Leave the run, and stop the server if it is our own. A second time does nothing."""
        watching = getattr(self, "_watching", None)  # ipywidgets closes a widget whose making failed, too
        if watching is not None:
            self._watching = None
            watching.cancel()
            self.health.close()
            self._view.close()
            try:
                self.client.close()
            finally:
                if self._owns_portal:
                    self.portal.close()
                elif self._server is not None:
                    self.portal.leave(self._server)
        super().close()

    # ---- inside ----

    async def _follow(self, client: Client) -> None:
        """In the portal's thread."""
        while client.state is not ClientState.CLOSED:
            await trio.sleep(LOOK_INTERVAL_S)
            seen = self._look(client)
            await until_it_differs(client, seen, self._look)

    def _look(self, client: Client) -> tuple[int, tuple[str, ...], int]:
        """Show what there is, and say what it was."""
        events = self.client.events()[-EVENTS_SHOWN:]
        self._view.events = [_row(event) for event in events]
        self._view.users = list(client.active_users[:USERS_SHOWN])
        self._view.waiting = client.queued_messages
        return (events[-1].sequence_number or 0 if events else 0), client.active_users, client.queued_messages

    def _asked(self, _: object, content: Any, buffers: object) -> None:
        """A button of the widget. It is foreign input: whatever it says, it can do no more than the client can."""
        try:
            match content:
                case {"do": "cut"}:
                    self.cut_network()
                case {"do": "restore"}:
                    self.restore_network()
                case {"do": "publish", "type": "GRAFT" | "PRUNE" | "FLAG" as event_type, "step": str(step), "text": str(text)}:
                    step, text = step[:256], text[:TEXT_CHARACTERS_MAX]
                    data = {"step": step} if event_type == "PRUNE" else {"position": step, "text": text}
                    self.client.publish_soon(event_type, data)
                case _:
                    return
            self._view.complaint = ""
        except SteadywireError as error:
            self._view.complaint = str(error)


def _row(event: Event) -> dict[str, Any]:
    return {
        "number": event.sequence_number,
        "type": event.event_type,
        "user": event.user_id,
        "data": event.data,
        "timestamp": event.timestamp,
    }
