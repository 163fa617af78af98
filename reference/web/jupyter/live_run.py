"""A live run in a notebook: the health of a client, the users, the log, and buttons.

Without a URL `LiveRun` starts a development server in the same portal, so one line is enough; a link opens its page, where a
person can work in the same run. Events published in Python (`live.client.publish(...)`) appear in the widget at once; events
published with the widget's buttons reach Python when the notebook's thread is free.
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
    """The users and events of a run; created by LiveRun."""

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
    """One client in one run, shown in a notebook. `close` ends it; so does the end of the kernel."""

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
        """`url`: a server; None starts a development server, which keeps its events in memory. `run_id`: a run; None creates one.
        `user`: the user name on a development server; `token`: the token for any other. `portal`: runs client and server.
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

    # ---- actions ----

    def cut_network(self) -> None:
        """Cut this client's network: its connections end, and none can be opened."""
        self.portal.call(self._network.cut)
        self._view.is_cut = True

    def restore_network(self) -> None:
        """Let connections be opened again; the next attempt is made at once."""
        self.portal.call(self._network.restore)
        self.client.network_returned()
        self._view.is_cut = False

    def close(self) -> None:
        """Leave the run, and stop the server if LiveRun started it. Calling it again does nothing."""
        watching = getattr(self, "_watching", None)  # ipywidgets also closes a widget whose creation failed
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

    # ---- internal ----

    async def _follow(self, client: Client) -> None:
        """Runs in the portal's thread."""
        while client.state is not ClientState.CLOSED:
            await trio.sleep(LOOK_INTERVAL_S)
            seen = self._look(client)
            await until_it_differs(client, seen, self._look)

    def _look(self, client: Client) -> tuple[int, tuple[str, ...], int]:
        """Show the current values, and return what was shown."""
        events = self.client.events()[-EVENTS_SHOWN:]
        self._view.events = [_row(event) for event in events]
        self._view.users = list(client.active_users[:USERS_SHOWN])
        self._view.waiting = client.queued_messages
        return (events[-1].sequence_number or 0 if events else 0), client.active_users, client.queued_messages

    def _asked(self, _: object, content: Any, buffers: object) -> None:
        """A button of the widget was pressed. The input is untrusted: it can do no more than the client can."""
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
