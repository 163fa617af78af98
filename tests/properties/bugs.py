"""A catalogue of bugs, each one line of the product changed, and the property that must find it.

`applied(bug)` puts one into the running process: the changed source is compiled, and the code of each function that differs is given
to the function that everybody already holds. So nothing is reloaded, and nothing stays behind.

`design`: the fault stands in the last section of the protocol's design, the faults of the system before this one.
"""

import importlib
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Bug:
    """`where` is a module below `reference`; `old` stands in it once, and is replaced by `new`. `net` names the search."""

    name: str
    where: str
    old: str
    new: str
    net: str = "link"
    design: bool = False

    @property
    def path(self) -> Path:
        return ROOT / "reference" / f"{self.where.replace('.', '/')}.py"

    @property
    def line(self) -> str:
        """The change in one line."""
        return f"{self.old.splitlines()[0].strip()} => {self.new.splitlines()[0].strip()}"


BUGS: tuple[Bug, ...] = (
    # The outbox.
    Bug(
        "the newest is sent first", "protocol.outbox", "next(iter(self._queue.values()))", "next(reversed(self._queue.values()))"
    ),
    Bug("a number that was given up is not declared", "protocol.outbox", "after=None if follows else before", "after=None"),
    Bug(
        "what was sent counts as delivered",
        "protocol.outbox",
        "message.in_flight = False\n\n    def accepted",
        "pass\n\n    def accepted",
        design=True,
    ),
    Bug("copies on their way are not counted", "protocol.outbox", "message.copies_out += 1", "pass"),
    Bug("the outbox forgets its bytes", "protocol.outbox", "self._bytes += size_bytes", "pass", net="outbox"),
    Bug("the outbox has no limit", "protocol.outbox", "len(self) - len(dropped) >= self._messages_max or", "False and"),
    Bug("everything is sent at once", "protocol.outbox", "and len(self._unanswered) < self._unanswered_max", ""),
    # The inbox and what a client receives.
    Bug("gaps are delivered", "protocol.inbox", "if number == self.last + 1:", "if number > self.last:"),
    Bug(
        "duplicates are delivered, and the cursor moves back",
        "protocol.inbox",
        "if number == self.last + 1:",
        "if True:",
        design=True,
    ),
    Bug("the inbox has no limit", "protocol.inbox", "elif self.held < self._held_max:", "else:"),
    Bug("a gap is not noticed", "protocol.inbox", "duplicates, bool(self._held))", "duplicates, False)", net="inbox"),
    Bug("a missing tail is not noticed", "protocol.receiving", "return self._known_head > self.inbox.last and not self._holding", "return False", net="tail"),
    Bug("a reset is told as a snapshot", "protocol.receiving", 'ResetReceived if announced.outcome == "reset" else SnapshotReceived', "SnapshotReceived"),
    Bug("a snapshot does not move the cursor", "protocol.receiving", "self.inbox.start_at(announced.epoch, frame.sequence_number)", "self.inbox.epoch = announced.epoch"),
    Bug("the position is forgotten with the connection", "protocol.receiving", "self._passed_over = False\n        self._known_head = 0", "self.inbox.last = 0; self._known_head = 0", design=True),
    # The log and its readers.
    Bug(
        "a replay is cut, and nobody is told",
        "protocol.fan_out",
        "reader.after = batch.last\n            return",
        "reader.after = self._log.head\n            return",
        design=True,
    ),
    Bug(
        "a replay is newest first",
        "protocol.event_log",
        "return tuple(self._events[start:end])",
        "return tuple(self._events[start:end][::-1])",
        design=True,
    ),
    Bug(
        "a position of another history is resumed",
        "protocol.event_log",
        "if epoch is not None and epoch != self.epoch:",
        "if False:",
    ),
    Bug("a resume begins one event too late", "protocol.event_log", 'Place("resumed", None, after, None)', 'Place("resumed", None, min(after + 1, self.head), None)'),
    Bug("what a socket refused counts as delivered", "protocol.fan_out", "batch.first - 1, seen", "batch.last, seen", net="fan out", design=True),
    # The sequencer and the state.
    Bug("no dedupe: a retry doubles a graft", "protocol.sequencer", "if number <= publisher.last:", "if False:", design=True),
    Bug(
        "acknowledged before it is stored",
        "protocol.sequencer",
        "if entry is None and not self._pending:",
        "if not self._pending:",
    ),
    Bug(
        "shown before it is stored",
        "protocol.run",
        "return self._appending.take()",
        "append = self._appending.take(); append and self._log.append(append.entries, append.snapshot); self._desk.actions += self._fan_out.grow(); return append",
        design=True,
    ),
    Bug(
        "only critical events are stored",
        "protocol.sequencer",
        "self._to_append.append(entry)",
        "entry.event.is_critical and self._to_append.append(entry)",
        design=True,
    ),
    Bug(
        "numbers begin again after a restart",
        "protocol.sequencer",
        "self._head = stored.head",
        "self._head = stored.snapshot.sequence_number",
        design=True,
    ),
    Bug(
        "a restart forgets the answers",
        "protocol.sequencer",
        "client.last_client_sequence, answers)",
        "client.last_client_sequence, {})",
    ),
    Bug("a hole is taken for nothing", "protocol.sequencer", "if publisher.last < follows:", "if False:", net="sequencer"),
    Bug(
        "a restart folds events into a snapshot that has them",
        "protocol.sequencer",
        "if number is not None and number > stored.snapshot.sequence_number:",
        "if number is not None:",
    ),
    Bug(
        "what waits for the store has no limit",
        "protocol.sequencer",
        "if self._events_pending >= self._config.appends_pending_max:",
        "if False:",
    ),
    Bug(
        "answers are kept for ever",
        "protocol.sequencer",
        "while len(publisher.answers) > ANSWERS_KEPT:",
        "while False:",
        net="long",
    ),
    Bug("prunes are not folded", "protocol.run_state", "self._prunes[step] = None", "pass"),
    Bug("the first graft wins", "protocol.run_state", "self._grafts[position] = data", "self._grafts.setdefault(position, data)"),
    # Sessions and presence.
    Bug("generations are ignored", "protocol.membership", "if generation < session.generation:", "if False:"),
    Bug(
        "the old connection keeps the session",
        "protocol.membership",
        "loser, session.connection_id = session.connection_id, None",
        "loser, session.connection_id = None, None",
    ),
    Bug(
        "a second tab that leaves takes the user along",
        "protocol.presence",
        "self._sessions[user_id] -= 1",
        "self._sessions[user_id] = 0",
        design=True,
    ),
    Bug(
        "a pong goes to the whole run",
        "protocol.run",
        "self._desk.send((connection.connection_id,), frames.Pong(",
        "self._desk.send(tuple(self._connections), frames.Pong(",
        design=True,
    ),
    Bug("the cursor of who left stays", "protocol.presence", "self._cursors.pop(user_id, None)", "pass", net="presence"),
    # Links, waits and pings.
    Bug(
        "attempts are forgotten when a socket opens",
        "protocol.links",
        "self._turn(ClientInput.OPENED)",
        "self._turn(ClientInput.OPENED); self.reconnector.steady()",
        design=True,
    ),
    Bug(
        "polling never ends",
        "protocol.links",
        "self._stop_polling()\n        self._timers.set(Timer.STEADY",
        "self._timers.set(Timer.STEADY",
        net="polling",
        design=True,
    ),
    Bug(
        "polling cannot send",
        "protocol.polling",
        "return self.has_arrived and self._publish_generation is None",
        "return False and self._publish_generation is None",
        net="polling",
        design=True,
    ),
    Bug(
        "a wait that was asked for is ignored",
        "protocol.backoff",
        "max(self.not_before, now + retry_after_ms * NS_PER_MS)",
        "self.not_before",
    ),
    Bug(
        "everyone waits equally long",
        "protocol.backoff",
        "attempt.uniform(0.0, capped(self.base_s, self.factor, attempt.failures - 1, self.cap_s))",
        "5.0",
        net="backoff",
        design=True,
    ),
    Bug(
        "waits do not grow",
        "protocol.backoff",
        "return min(cap_s, base_s * factor**exponent)",
        "return min(cap_s, base_s)",
        net="backoff",
    ),
    Bug("a dead line is never noticed", "protocol.pulse", "return self._has_come(due.dead_s) or self._arm(due, now)", "return False"),
    Bug(
        "latency is the difference of two clocks",
        "protocol.client_session",
        "self._pulse.pong(frame.nonce, now)",
        "self._pulse.pong(frame.nonce, frame.server_time * 1_000_000)",
        net="pulse",
        design=True,
    ),
    # Health.
    Bug(
        "failures do not count in the delivery rate",
        "protocol.health",
        "self.accepted / (self.accepted + self.failed)",
        "self.accepted / max(1, self.accepted)",
        net="health",
    ),
    Bug("a percentile is rounded up", "protocol.health", "low = math.floor(place)", "low = math.ceil(place)", net="health"),
    Bug("the score counts latency less", "protocol.health", "0.4 * latency", "0.3 * latency", net="health"),
    # The codec.
    Bug("a frame has no limit", "protocol.codec", "if size > bytes_max:", "if False:", net="codec"),
    Bug(
        "a frame is measured in characters",
        "protocol.codec",
        'len(message.encode(errors="surrogatepass"))',
        "len(message)",
        net="codec",
    ),
    # The stores.
    Bug(
        "the store takes a client's number twice",
        "store.position",
        "if entry.client_sequence <= newest[client_id]:",
        "if False:",
        net="store",
    ),
    Bug("the store takes any event number", "store.position", "if number != expected:", "if False:", net="store"),
    Bug("the store keeps its first snapshot", "store.memory", "run.state = state", "pass", net="store"),
    Bug(
        "the store forgets the answers",
        "store.memory",
        "answers.append((entry.client_sequence, entry.sequence_number))",
        "pass",
        net="store",
    ),
    # The shell of the client.
    Bug(
        "alarms ring a second late",
        "client.pump",
        "math.inf if deadline is None else deadline / NS_PER_S",
        "math.inf if deadline is None else deadline / NS_PER_S + 1",
        net="parity",
    ),
    Bug("frames are dated a millisecond late", "client.pump", "self.feed(self.session.receive_frame, connection_id, frame, now)", "self.feed(self.session.receive_frame, connection_id, frame, now + 1_000_000)", net="parity"),
    Bug("polls do not say where they are", "client.polling", 'del parameters["type"]', 'del parameters["type"]; parameters.pop("afterSequence", None); parameters.pop("epoch", None)', net="fallback"),
    Bug("the application is given the newest first", "client.mailbox", "popitem(last=False)", "popitem(last=True)", net="slow reader"),
    # The shell of the server.
    Bug("live events overtake a replay", "protocol.fan_out", "self._lagging[connection_id] = Lagging(after, seen)\n\n    def remove", "self._current[connection_id] = None\n\n    def remove", design=True),
    Bug("a commit that failed counts as stored", "server.live_run", "elif error is None:", "elif True:", net="bad disk"),
    Bug(
        "the user is whoever a header names",
        "server.admission",
        "return None if token is None else self._identify(token, run_id)",
        "user = head.header(b'x-user-id'); return Identity(user.decode()) if user else (None if token is None else self._identify(token, run_id))",
        net="wire",
        design=True,
    ),
)


@contextmanager
def applied(bug: Bug) -> Iterator[None]:
    """The bug is in the running process for the length of the block. Raises LookupError if its line is no longer there."""
    module = importlib.import_module(f"reference.{bug.where}")
    replaced = _compiled(module, bug)
    kept = [(function, function.__code__) for function, _ in replaced]
    try:
        for function, code in replaced:
            function.__code__ = code
        yield
    finally:
        for function, code in kept:
            function.__code__ = code


def fits(bug: Bug) -> bool:
    """Whether its line stands in the source exactly once."""
    return bug.path.read_text(encoding="utf-8").count(bug.old) == 1


def _compiled(module: types.ModuleType, bug: Bug) -> list[tuple[types.FunctionType, types.CodeType]]:
    source = bug.path.read_text(encoding="utf-8")
    if source.count(bug.old) != 1:
        raise LookupError(f"{bug.name}: {bug.old!r} stands {source.count(bug.old)} times in {bug.where}; adapt the catalogue")
    before = dict(_codes(compile(source, str(bug.path), "exec")))
    after = dict(_codes(compile(source.replace(bug.old, bug.new), str(bug.path), "exec")))
    functions = dict(_functions(module))
    changed = [name for name in before if name in after and _text(before[name]) != _text(after[name])]
    found = [(functions[name], after[name]) for name in changed if name in functions]
    if not found:
        raise LookupError(f"{bug.name}: the change is in no function of {bug.where}")
    return found


def _codes(code: types.CodeType) -> Iterator[tuple[str, types.CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _text(code: types.CodeType) -> tuple[object, ...]:
    inner = tuple(_text(constant) if isinstance(constant, types.CodeType) else repr(constant) for constant in code.co_consts)
    return (code.co_code, code.co_names, code.co_varnames, inner)


def _functions(module: types.ModuleType) -> Iterator[tuple[str, types.FunctionType]]:
    """Every function of a module and of its classes, by its qualified name."""
    for value in list(vars(module).values()):
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            yield value.__qualname__, value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for member in list(vars(value).values()):
                for function in (member, getattr(member, "fget", None), getattr(member, "__func__", None)):
                    if isinstance(function, types.FunctionType):
                        yield function.__qualname__, function
