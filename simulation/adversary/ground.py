"""What the two ends of the hostile link share: the settings, the time, the wires and requests between them, and the journal."""

import math
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.events import EventRegistry
from reference.protocol.policies.catalogue import Policy
from reference.protocol.policies.fallback import Fallback, FallbackPolicy
from reference.protocol.policies.keepalive import Heartbeat
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.server.connection import Identity
from reference.protocol.timers import ns
from simulation.adversary.journal import Journal
from simulation.adversary.model import StoreModel
from simulation.adversary.network import PendingRequest, Wire
from simulation.scenario.scenario import longest_wait_s
from simulation.trace.messages import MessageLog
from simulation.trace.writer import start_trace

SERVER_CLOCK_AHEAD = 1_700_000_000 * 1_000_000_000
POLICY = FullJitter(base_s=0.5, cap_s=2.0)
WAIT_MAX_S = POLICY.floor_s + POLICY.cap_s
ROUND_TRIP_MAX_S = 0.1
"""Of a request while everything goes as it should, the store's commit included."""
MANY_FAILURES = 1_000_000
SERVER_KNOWS = EventRegistry(("CHAT",))
CLIENT_KNOWS = EventRegistry(("CHAT", "NEWER"))
"""Clients of a newer version publish a type that this server refuses for good."""


class Setup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a world begins with. `users[i]` is the user of client i; `chance` is what every draw is taken from.

    fallback, heartbeat: None for what the client's config says.
    """

    users: tuple[str, ...] = ("ann", "ben")
    client: ClientConfig = ClientConfig()
    policy: Policy = POLICY
    fallback: Fallback | None = None
    heartbeat: Heartbeat | None = None
    server: ServerConfig = ServerConfig()
    kept_later: int | None = None
    """How many events the server keeps from its first restart on, if its operator changes that."""
    chance: tuple[float, ...] = (0.0,)
    token_in_hello: bool = False
    token_life_s: float | None = None
    """How long a token is good; each connection is opened, and each refresh answered, with a new one."""

    @property
    def wait_max_s(self) -> float:
        """The longest wait that the reconnect policy ever comes to."""
        return _longest_wait_s(self.policy)

    @property
    def server_later(self) -> ServerConfig:
        """The server's settings after its first restart."""
        if self.kept_later is None:
            return self.server
        most, server = self.kept_later, self.server
        return msgspec.structs.replace(
            server,
            events_kept_max=most,
            snapshot_interval_events=min(most, server.snapshot_interval_events),
            appends_pending_max=min(most, server.appends_pending_max),
        )

    @property
    def gives_up(self) -> bool:
        """Whether the reconnect policy ends the session at some number of failures."""
        return self.policy.range_s(MANY_FAILURES) is None

    @property
    def fallback_policy(self) -> FallbackPolicy:
        return self.fallback or self.client.fallback_policy


@lru_cache(maxsize=1000)
def _longest_wait_s(policy: Policy) -> float:
    return longest_wait_s(policy, math.inf)


@dataclass(frozen=True)
class ScriptedRandom:
    """Chance for the machines, out of what Hypothesis drew."""

    chance: tuple[float, ...]

    def uniform(self, purpose: str, index: int) -> float:
        return self.chance[(len(purpose) + index) % len(self.chance)]


class Ground:
    """See the module. `now` is in ns on the clients' clock; the server's is `server_ahead` of it, and may be stepped."""

    def __init__(self, setup: Setup, message_log: MessageLog | None = None) -> None:
        self.setup = setup
        self.message_log = message_log
        self.now = 0
        self.server_ahead = SERVER_CLOCK_AHEAD
        self.store = StoreModel()
        trace = start_trace(
            world="adversary",
            seed=0,
            run_id="run",
            client=setup.client,
            server=setup.server,
            wait_max_s=setup.wait_max_s,
            round_trip_max_s=ROUND_TRIP_MAX_S,
            heartbeat=setup.heartbeat,
            policy=setup.policy,
            fallback=setup.fallback,
        )
        self.journal = Journal(trace, lambda: self.now)
        self.wires: list[Wire] = []
        self.requests: list[PendingRequest] = []
        self.users: list[str] = []
        """The user of each client, by the client's index."""

    def note(self, place: str, words: str) -> None:
        """Write down for the reader of the tape what happened, if somebody reads."""
        if self.message_log is not None:
            self.message_log.note(place, words, self.now)

    @property
    def server_now(self) -> int:
        return self.now + self.server_ahead

    def identity_of(self, user: str) -> Identity:
        """What the server finds in a token that was made just now."""
        life_s, now = self.setup.token_life_s, self.server_now
        return Identity(user) if life_s is None else Identity(user, expires_at=now + ns(life_s), issued_at=now)
