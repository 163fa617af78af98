"""A client's health in a notebook, live: the connection-health component on a trio client that runs in a background portal.

    from reference.web.jupyter import HealthWidget, LiveRun

    live = LiveRun(user="ada")              # a server, a run and a client of one's own; or LiveRun(url, run_id, token=token)
    live                                    # in a notebook: health, who is here, the log, buttons
    HealthWidget(live.client)               # the health alone, of this or any other BlockingClient

Both change while a cell runs: the client, and what is sent to the page, live in the portal's thread.
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
