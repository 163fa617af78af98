"""The health of one client as a notebook widget, with the same custom element `<connection-health>` as in web pages.

A task in the client's portal checks the client after every input, at most ten times a second, and sends the changes. So the
widget follows the client even while the notebook's own thread is busy.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import anywidget
import msgspec
import traitlets
import trio

from reference.client import Client
from reference.client.without_trio.blocking import BlockingClient
from reference.protocol.errors import SessionClosed
from reference.protocol.states import ClientState

T = TypeVar("T")

LOOK_INTERVAL_S = 0.1
ROUND_TRIPS_SHOWN = 60
COMPONENT = Path(__file__).parents[1] / "component" / "connection_health.js"


class HealthWidget(anywidget.AnyWidget):
    """Shows the health of `client` until the client or the widget is closed. `label` names it for screen readers."""

    _esm = COMPONENT
    health = traitlets.Dict().tag(sync=True)
    """The shown values, as the component expects them (component/connection_health.js)."""
    label = traitlets.Unicode("Connection health").tag(sync=True)

    def __init__(self, client: BlockingClient, *, label: str = "Connection health") -> None:
        """Raises LocalError if the client's portal is closed."""
        super().__init__(label=label, health=client.watch(_look).wait())
        self._watching = client.watch(self._follow)

    def close(self) -> None:
        """Stop following the client, and remove the widget from every page."""
        watching = getattr(self, "_watching", None)  # ipywidgets also closes a widget whose creation failed
        if watching is not None:
            watching.cancel()
        super().close()

    async def _follow(self, client: Client) -> None:
        while client.state is not ClientState.CLOSED:
            self.health = picture_of(client)
            await trio.sleep(LOOK_INTERVAL_S)
            await until_it_differs(client, _lasting(self.health), lambda client: _lasting(picture_of(client)))
        self.health = picture_of(client)


def picture_of(client: Client) -> dict[str, Any]:
    """The values that the component draws (`Health` in component/connection_health.js). In the client's thread only."""
    health: dict[str, Any] = msgspec.to_builtins(client.health)
    next_attempt_s, ended = client.next_attempt_s, client.ended
    return health | {
        "state": client.state.value,
        "reason": health["lastError"] if ended is None else ended.message,
        "nextAttemptInMs": None if next_attempt_s is None else round(next_attempt_s * 1000),
        "roundTripsMs": [round(trip, 2) for trip in client.round_trips_ms[-ROUND_TRIPS_SHOWN:]],
        "end": None if ended is None else {"code": ended.code},
    }


async def _look(client: Client) -> dict[str, Any]:
    return picture_of(client)


def _lasting(picture: dict[str, Any]) -> dict[str, Any]:
    """Without the countdown, which the component updates itself."""
    return {name: value for name, value in picture.items() if name != "nextAttemptInMs"}


async def until_it_differs(client: Client, seen: T, look: Callable[[Client], T]) -> None:
    """Wait until `look(client)` differs from what was seen, or for the next input of the client."""
    has_asked = False

    def may_differ(client: Client) -> bool:
        nonlocal has_asked
        differs = has_asked or look(client) != seen  # after each input, comparing is not worth it
        has_asked = True
        return differs

    with suppress(SessionClosed):
        await client.wait_until(may_differ)
