"""Which clauses docs/protocol.md has, whom they bind, and which of them no test over a network can judge.

The document is not part of the installed package, so this list is; a test compares its numbers with those of the document.
A clause `binds` the server, the client, or both. Where the kit has no case for a clause, `unseen` says why; a test holds that
every other clause is cited by a case.
"""

from dataclasses import dataclass
from typing import Final, Literal

Side = Literal["server", "client"]

_PRIVATE = "inside of the program; no peer can see it"
_CRASH = "needs a crash of the server or of its store; see tests/crash"
_PARTS = "prose; its requirements are in the clauses that it cites"
_FULL = "needs a server filled up to a limit that is too large for a short run"
_API = "an interface of the program, not of the protocol"


@dataclass(frozen=True, slots=True)
class Clause:
    """One numbered clause of sections 3 to 10."""

    number: str
    binds: tuple[Side, ...]
    summary: str
    unseen: str = ""

    def why_unseen(self, side: Side) -> str:
        """Why no case can judge this clause for that side; empty if one can."""
        whom, colon, why = self.unseen.partition(": ")
        if colon and whom in ("server", "client"):
            return why if whom == side else ""
        return self.unseen


_ROWS: Final = [
    ("3.1", "sc", "opening: path, subprotocol, 426 for what is no upgrade", ""),
    ("3.2", "sc", "one JSON object per text message; binary and too large messages", ""),
    ("3.3", "sc", "unknown fields are ignored, unknown types and bad values are not", ""),
    ("3.4", "sc", "token in a header or in hello, never in the URL", ""),
    ("3.5", "s", "Origin", ""),
    ("3.6", "sc", "hello is the first frame, and has a time limit", ""),
    ("3.7", "sc", "which frames a client may send in which state", ""),
    ("3.8", "s", "welcome, then snapshot, then the rest", ""),
    ("3.9", "c", "which frames a server may send in which state", ""),
    ("3.10", "sc", "error before close; the close code counts", ""),
    ("3.11", "sc", "frames on a connection that was left are ignored", ""),
    ("3.12", "sc", "WebSocket ping and pong mean nothing", ""),
    ("4.1", "sc", "types of fields", ""),
    ("4.2", "sc", "hello", ""),
    ("4.3", "sc", "publish", ""),
    ("4.4", "sc", "cursor", ""),
    ("4.5", "sc", "ack", ""),
    ("4.6", "sc", "ping", ""),
    ("4.7", "sc", "auth", ""),
    ("4.8", "sc", "bye", ""),
    ("4.9", "sc", "welcome", ""),
    ("4.10", "sc", "snapshot", ""),
    ("4.11", "sc", "events: ascending and contiguous", ""),
    ("4.12", "sc", "presence", ""),
    ("4.13", "sc", "cursors", ""),
    ("4.14", "sc", "accepted", ""),
    ("4.15", "sc", "rejected", ""),
    ("4.16", "sc", "heartbeat", ""),
    ("4.17", "sc", "pong, to the connection that asked", ""),
    ("4.18", "sc", "expiring", ""),
    ("4.19", "sc", "goaway", "server: the kit must not stop the server"),
    ("4.20", "sc", "error", ""),
    ("4.21", "sc", "frames over HTTP", ""),
    ("5.1", "s", "HTTP: token before anything, HttpProblem for what fails", ""),
    ("5.2", "s", "the calls", ""),
    ("5.3", "sc", "no token in a query", ""),
    ("5.4", "s", "poll without clientId changes nothing", ""),
    ("5.5", "s", "replay", ""),
    ("5.6", "s", "codes and HTTP statuses", ""),
    ("5.7", "c", "whose codes and waits a client believes", ""),
    ("5.8", "c", "a failed request means what its code means", ""),
    ("5.9", "s", "events by conditions", ""),
    ("5.10", "s", "admin calls", ""),
    ("5.11", "s", "what an operator does", "an interface of operators; clients see the codes of sections 4 and 6"),
    ("6.1", "sc", "close codes", ""),
    ("6.2", "c", "reactions to close codes", ""),
    ("6.3", "c", "codes that are not in the table", ""),
    ("6.4", "c", "a client's own close code", ""),
    ("6.5", "sc", "when to close with 1000", ""),
    ("6.6", "c", "a client may cut", ""),
    ("6.7", "s", "codes of rejections", ""),
    ("6.8", "c", "a client's own codes of failure", ""),
    ("7.1", "c", "the outbox keeps every publish until it is answered", ""),
    ("7.2", "c", "limits and policies of the outbox", _API),
    ("7.3", "c", "frames no larger than the server takes", ""),
    ("7.4", "c", "numbers of publishes, and how many are unanswered", ""),
    ("7.5", "c", "numbering on from lastClientSequence", ""),
    ("7.6", "c", "holes are declared with after", ""),
    ("7.7", "c", "after a reset nothing counts as accepted", ""),
    ("7.8", "c", "sent once per connection; unanswered ones first on the next", ""),
    ("7.9", "c", "expiry, and whether a copy may have arrived", "the default age is 10 minutes"),
    ("7.10", "c", "waiting and giving up after retryable rejections", ""),
    ("7.11", "c", "the last cursor", ""),
    ("7.12", "c", "order, duplicates and gaps of events", ""),
    ("7.13", "c", "a head above the position is noticed", ""),
    ("7.14", "c", "snapshots that must come, and must not", ""),
    ("7.15", "c", "what a snapshot does to the position", ""),
    ("7.16", "c", "a fresh outcome without snapshot", ""),
    ("7.17", "c", "two transports with two histories", "needs answers of polls in flight across a loss of history"),
    ("7.18", "c", "acknowledging", ""),
    ("7.19", "c", "an application that does not read", _API),
    ("7.20", "c", "time limits of an attempt", ""),
    ("7.21", "c", "what a failed attempt is", ""),
    ("7.22", "c", "the wait before the next attempt", ""),
    ("7.23", "c", "times that a server asks for", ""),
    ("7.24", "c", "keyed random numbers", _PRIVATE),
    ("7.25", "c", "when polling takes over", ""),
    ("7.26", "c", "polling and publishing over HTTP", ""),
    ("7.27", "c", "failed requests", ""),
    ("7.28", "c", "probes behind polling", ""),
    ("7.29", "c", "return to the WebSocket", ""),
    ("7.30", "c", "failed probes, and being superseded by oneself", ""),
    ("7.31", "c", "pings", ""),
    ("7.32", "c", "half-open connections are left", ""),
    ("7.33", "c", "health figures", _API),
    ("7.34", "c", "status for people", _API),
    ("7.35", "c", "USER_JOIN, USER_LEAVE and CURSOR_MOVE are made by the client", ""),
    ("7.36", "c", "a new token on expiring", ""),
    ("7.37", "c", "a new token at any time", _API),
    ("7.38", "c", "bye on leaving", ""),
    ("7.39", "c", "the end of a session", ""),
    ("7.40", "c", "a new token after 4401", ""),
    ("7.41", "sc", "reports", ""),
    ("7.42", "c", "what carries the session, and interruptions", ""),
    ("7.43", "c", "why nothing carries the session", _API),
    ("7.44", "c", "the network of the client's machine is back", _API),
    ("8.1", "s", "one sequencer per run", ""),
    ("8.2", "s", "copies are answered, not taken", ""),
    ("8.3", "s", "64 answers are remembered", ""),
    ("8.4", "s", "which rejections use the number up", ""),
    ("8.5", "s", "out_of_order, and after", ""),
    ("8.6", "s", "limits on publishes", ""),
    ("8.7", "s", "durable before visible", _CRASH),
    ("8.8", "s", "batches in the store", _PRIVATE),
    ("8.9", "s", "answers in the order of taking", ""),
    ("8.10", "s", "acceptances before events", ""),
    ("8.11", "s", "a batch of unknown fate", _CRASH),
    ("8.12", "s", "one rule for places", ""),
    ("8.13", "s", "fresh: start", ""),
    ("8.14", "s", "resumed, snapshot, reset", ""),
    ("8.15", "s", "what reset and snapshot mean", ""),
    ("8.16", "s", "batches of events", ""),
    ("8.17", "s", "a server does not wait for a reader", ""),
    ("8.18", "s", "readers that take nothing", ""),
    ("8.19", "s", "presence and heartbeats for current readers", _PRIVATE),
    ("8.20", "s", "heartbeats", ""),
    ("8.21", "s", "silent clients", ""),
    ("8.22", "s", "takeover by hello", ""),
    ("8.23", "s", "takeover by poll", ""),
    ("8.24", "s", "takeover by publish request", ""),
    ("8.25", "s", "polls that wait", ""),
    ("8.26", "s", "hasMore", ""),
    ("8.27", "s", "connections and sessions of a run", _FULL),
    ("8.28", "s", "presence and cursors are beside the log", ""),
    ("8.29", "s", "when presence and cursors are sent", ""),
    ("8.30", "s", "cursors end with presence", ""),
    ("8.31", "s", "bye ends the session", ""),
    ("8.32", "s", "the grace period of a session", ""),
    ("8.33", "s", "authentication first", ""),
    ("8.34", "s", "frames while the token is checked", "the check may be too quick to send anything meanwhile"),
    ("8.35", "s", "the token of hello goes first", ""),
    ("8.36", "s", "auth with a bad token", ""),
    ("8.37", "s", "tokens without an end", "never is longer than a test"),
    ("8.38", "s", "when expiring is sent", ""),
    ("8.39", "s", "tokens that ended", ""),
    ("8.40", "s", "a server that stops", "the kit must not stop the server; see tests/server/test_stopping.py"),
    ("8.41", "s", "frames per second", ""),
    ("8.42", "s", "gathering", _PRIVATE),
    ("8.43", "s", "runs that idle", _PRIVATE),
    ("8.44", "s", "overload", _FULL),
    ("9.1", "sc", "names of settings", _API),
    ("9.2", "c", "defaults of a client", _PARTS),
    ("9.3", "s", "defaults of a server", _PARTS),
    ("9.4", "sc", "limits that are not settings", ""),
    ("9.5", "s", "limits of the byte level", _PRIVATE),
    ("10.1", "sc", "no token in a URL", ""),
    ("10.2", "s", "the user is that of the token", ""),
    ("10.3", "s", "client ids are bound to users, and not sent to others", ""),
    ("10.4", "s", "a session id gives no right", ""),
    ("10.5", "s", "Origin is checked", ""),
    ("10.6", "sc", "everything has a limit", _PARTS),
    ("10.7", "s", "TLS outside of one machine", "a matter of deployment"),
    ("10.8", "s", "development tokens on loopback only", "a matter of deployment"),
    ("10.9", "c", "messages are for people", _API),
    ("10.10", "c", "data is the application's", _API),
]

_SIDES: Final[dict[str, Side]] = {"s": "server", "c": "client"}
CLAUSES: Final = tuple(
    Clause(number, tuple(_SIDES[letter] for letter in binds), summary, unseen) for number, binds, summary, unseen in _ROWS
)
"""All clauses of sections 3 to 10, in their order."""


def clauses_of(side: Side) -> list[Clause]:
    """The clauses that bind a server, or a client."""
    return [clause for clause in CLAUSES if side in clause.binds]
