"""A session that polls, and a server that answers as the test says."""

import msgspec

from reference.protocol import frames
from reference.protocol.actions import Send
from reference.protocol.states import ClientState

from .machines import EXAMPLES, Client, client_in, seconds

ANSWER = EXAMPLES[frames.PollAnswer]
RARELY_PROBES = {"fallback_after_failures": 1, "probe_interval_s": 300.0}


class OpenPolling:
    """A session that polls, at time 0, its first poll on the way."""

    ANSWER = ANSWER

    def __init__(self, **settings: object) -> None:
        self.client: Client = client_in(ClientState.CONNECTING, **(RARELY_PROBES | settings))  # type: ignore[arg-type]
        self.session = self.client.session
        self.session.connection_lost(1, None, 0)
        self.number = 2
        self.requests: list[frames.Frame] = []
        self.others: list[object] = []
        self.session.handle_timeout(0)
        self.look()

    def look(self) -> None:
        for action in self.session.take_actions():
            if isinstance(action, Send) and action.connection_ids == (self.number,):
                self.requests.append(action.frame)
            else:
                self.others.append(action)

    def at(self, second: float) -> "OpenPolling":
        """Let time pass; nobody answers."""
        while (deadline := self.session.next_deadline()) is not None and deadline <= seconds(second):
            self.session.handle_timeout(deadline)
            self.look()
        return self

    def answer(self, second: float, **fields: object) -> "OpenPolling":
        self.session.receive_frame(self.number, msgspec.structs.replace(ANSWER, **fields), seconds(second))
        self.look()
        return self

    def failed(self, second: float, request: frames.RequestKind = "poll", **fields: object) -> "OpenPolling":
        self.session.receive_frame(self.number, frames.RequestFailed(request=request, **fields), seconds(second))  # type: ignore[arg-type]
        self.look()
        return self

    @property
    def polls(self) -> list[frames.PollRequest]:
        return [request for request in self.requests if isinstance(request, frames.PollRequest)]

    @property
    def publishes(self) -> list[frames.PublishRequest]:
        return [request for request in self.requests if isinstance(request, frames.PublishRequest)]
