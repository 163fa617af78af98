"""Live health of a client in a notebook: the connection-health component with a trio client in a background thread.

    from reference.web.jupyter import HealthWidget, LiveRun

    live = LiveRun(user="ada")              # starts a server, a run and a client; or LiveRun(url, run_id, token=token)
    live                                    # in a notebook: health, users, the log, buttons
    HealthWidget(live.client)               # only the health, of this or any other BlockingClient

Both update while a cell runs: the client and the updates run in the portal's thread.
"""

from typing import TYPE_CHECKING

from reference.public_names import imported_on_use

if TYPE_CHECKING:
    from reference.web.jupyter.health_widget import HealthWidget
    from reference.web.jupyter.live_run import LiveRun

__all__ = ["HealthWidget", "LiveRun"]

__getattr__, __dir__ = imported_on_use(
    globals(),
    {
        "HealthWidget": "reference.web.jupyter.health_widget:HealthWidget",
        "LiveRun": "reference.web.jupyter.live_run:LiveRun",
    },
)
