"""Recorded sessions: every input of a Python ClientSession with its outputs, as JSON lines.

    with recorded() as recording:
        bare_world.play(scenario, ...)          # whatever makes sessions and drives them
    for session in recording.sessions: ...
The methods of the class are wrapped during the block, so a session is recorded wherever it is created and whichever driver runs
it. A method that another one calls is a part of the outer one. Samples of the random source are recorded with the input that took
them. A reconnect policy other than ours is recorded by its answers, because this tests the machine and not the formulas of
other systems. Sessions with flow control are not recorded: a page cannot make a WebSocket wait (protocol 7.19).

An input and its result are one dictionary each:

    {"verb": "receive_frame", "arguments": {...}, "chance": [["backoff", 3, 0.25], ...]}
    {"raises": null, "actions": [...], "outcomes": [...], "deadline": 1500000000, "state": "live", "health": {...}, ...}

Texts for people (`message`) are left out of results: each language has its own, and no machine acts on them (protocol 10.9).
"""

import inspect
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from reference.protocol.client.session import ClientSession
from reference.protocol.errors import LocalError, RemoteError
from reference.protocol.events import EventRegistry
from reference.protocol.frames import Frame, encode
from reference.protocol.policies.reconnect import Attempt, FullJitter

Json = dict[str, Any]

VERBS = [
    "start",
    "publish",
    "move_cursor",
    "hold_events",
    "release_events",
    "close",
    "handle_token",
    "connection_opened",
    "connection_lost",
    "network_returned",
    "bytes_received",
    "receive_frame",
    "receive_malformed",
    "handle_timeout",
]
_NO_TEXT = ("message", "reason")
NOT_JSON = "$notJson"
"""The key of a number that JSON has no form for: an argument that the session has to refuse."""


@dataclass
class RecordedSession:
    """How one session was made, and all that happened to it."""

    made: Json
    inputs: list[Json] = field(default_factory=list)
    results: list[Json] = field(default_factory=list)


class Recording:
    """What the sessions of one block did."""

    def __init__(self) -> None:
        self.sessions: list[RecordedSession] = []
        self.is_paused = False
        """Sessions that are made now are not recorded."""
        self._by_id: dict[int, _Recorder] = {}

    def begin(self, session: ClientSession, recorder: "_Recorder") -> None:
        self.sessions.append(recorder.record)
        self._by_id[id(session)] = recorder
        recorder.keeps = session  # so that no other object is given its id

    def forget(self, session: ClientSession) -> None:
        recorder = self._by_id.pop(id(session), None)
        if recorder is not None:
            self.sessions.remove(recorder.record)

    def of(self, session: ClientSession) -> "_Recorder | None":
        """None: it is not recorded."""
        return self._by_id.get(id(session))


@contextmanager
def recorded() -> Iterator[Recording]:
    """Record every session that is made in this block."""
    recording = Recording()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClientSession, "__init__", _recorded_init(ClientSession.__init__, recording))
        originals = {name: getattr(ClientSession, name) for name in (*VERBS, "take_actions", "take_outcomes")}
        for name in VERBS:
            patch.setattr(ClientSession, name, _recorded_verb(name, originals, recording))
        patch.setattr(ClientSession, "restore", _restore_unrecorded(ClientSession.restore, recording))
        for kind in ("actions", "outcomes"):
            patch.setattr(ClientSession, f"take_{kind}", _recorded_take(kind, originals[f"take_{kind}"], recording))
        yield recording


def _restore_unrecorded(original: Callable[..., None], recording: Recording) -> Callable[..., None]:
    def restore(session: ClientSession, *args: Any, **kwargs: Any) -> None:
        recording.forget(session)  # the browser's machine is restored another way, with tests of its own
        original(session, *args, **kwargs)

    return restore


def _recorded_take(kind: str, original: Callable[..., Any], recording: Recording) -> Callable[..., Any]:
    def take(session: ClientSession) -> Any:
        recorder = recording.of(session)
        return original(session) if recorder is None else recorder.take(kind)

    return take


def dump(recording: Recording) -> str:
    """A recording as text, for `load`."""
    return json.dumps([[session.made, session.inputs, session.results] for session in recording.sessions])


def load(text: str) -> Recording:
    recording = Recording()
    recording.sessions = [RecordedSession(*parts) for parts in json.loads(text)]
    return recording


class _Recorder:
    """Stands between one session, its chance and its driver."""

    def __init__(self) -> None:
        self.record = RecordedSession({})
        self.keeps: ClientSession | None = None
        self.depth = 0
        self.chance: list[list[Any]] = []
        self.is_asking_policy = False
        self._waiting: dict[str, list[Any]] = {"actions": [], "outcomes": []}

    def take(self, kind: str) -> list[Any]:
        taken, self._waiting[kind] = self._waiting[kind], []
        return taken

    def put(self, kind: str, things: list[Any]) -> None:
        self._waiting[kind] += things


@dataclass
class _RecordedSource:
    source: Any
    recorder: _Recorder

    def uniform(self, purpose: str, index: int) -> float:
        value: float = self.source.uniform(purpose, index)
        if not self.recorder.is_asking_policy:
            self.recorder.chance.append([purpose, index, value])
        return value


@dataclass
class _RecordedPolicy:
    policy: Any
    recorder: _Recorder

    def wait_s(self, attempt: Attempt) -> float | None:
        self.recorder.is_asking_policy = True
        wait_s: float | None = self.policy.wait_s(attempt)
        self.recorder.is_asking_policy = False
        self.recorder.chance.append(["policy", attempt.failures, wait_s])
        return wait_s


def _recorded_init(original: Callable[..., None], recording: Recording) -> Callable[..., None]:
    def init(session: ClientSession, client_id: str, **parts: Any) -> None:
        if recording.is_paused or not _has_counterpart(parts):
            original(session, client_id, **parts)
            return
        recorder = _Recorder()
        registry: EventRegistry = parts.get("registry", EventRegistry())
        is_ours = isinstance(parts["policy"], FullJitter)
        recorder.record.made = {
            "clientId": client_id,
            "config": msgspec.to_builtins(parts["config"]),
            "policy": msgspec.to_builtins(parts["policy"]) if is_ours else None,
            "fallback": msgspec.to_builtins(parts.get("fallback")),
            "heartbeat": msgspec.to_builtins(parts.get("heartbeat")),
            "types": [name for name in ("CHAT", "NEWER") if registry.class_of(name) is not None],
            "token": parts.get("token"),
        }
        parts["random_source"] = _RecordedSource(parts["random_source"], recorder)
        if not is_ours:
            parts["policy"] = _RecordedPolicy(parts["policy"], recorder)
        original(session, client_id, **parts)
        recording.begin(session, recorder)

    return init


def _has_counterpart(parts: Json) -> bool:
    """Whether JavaScript can make the same session: no flow control, no saving, and no policy that only a test knows."""
    policies = (parts.get("fallback"), parts.get("heartbeat"))
    has_more = parts.get("outcomes_waiting_max") is not None or parts.get("saves", False)
    return not has_more and all(isinstance(each, msgspec.Struct | None) for each in policies)


def _recorded_verb(name: str, originals: dict[str, Callable[..., Any]], recording: Recording) -> Callable[..., Any]:
    original = originals[name]
    signature = inspect.signature(original)

    def verb(session: ClientSession, *args: Any, **kwargs: Any) -> Any:
        recorder = recording.of(session)
        if recorder is None or recorder.depth:
            return original(session, *args, **kwargs)
        bound = signature.bind(session, *args, **kwargs)
        arguments = {key: _plain(value) for key, value in bound.arguments.items() if key != "self"}
        raised: LocalError | None = None
        recorder.depth += 1
        try:
            return original(session, *args, **kwargs)
        except LocalError as error:
            raised = error
            raise
        finally:
            recorder.depth -= 1
            chance, recorder.chance = recorder.chance, []
            actions, outcomes = originals["take_actions"](session), originals["take_outcomes"](session)
            recorder.put("actions", actions)
            recorder.put("outcomes", outcomes)
            recorder.record.inputs.append({"verb": name, "arguments": arguments, "chance": chance})
            recorder.record.results.append(_result(session, raised, actions, outcomes))

    return verb


def _result(session: ClientSession, raised: LocalError | None, actions: list[Any], outcomes: list[Any]) -> Json:
    epoch, last = session.position
    return {
        "raises": None if raised is None else type(raised).__name__,
        "actions": [_action(action) for action in actions],
        "outcomes": [_outcome(outcome) for outcome in outcomes],
        "deadline": session.next_deadline(),
        "state": session.state.value,
        "position": [epoch, last],
        "sessionId": session.session_id,
        "users": list(session.active_users),
        "cursors": session.cursors,
        "health": _health(session),
        "held": [[held.what, held.length] for held in session.statistics().held],
    }


def _health(session: ClientSession) -> Json:
    health: Json = msgspec.to_builtins(session.health())
    return {**health, "lastError": health["lastError"] is not None}


def _plain(value: Any) -> Any:
    """An argument as JSON; a frame as it stands on the wire."""
    if isinstance(value, Frame):
        return msgspec.json.decode(encode(value))
    if isinstance(value, RemoteError):
        return {"code": int(value.code), "message": value.message}
    if isinstance(value, float) and not math.isfinite(value):
        return {NOT_JSON: str(value)}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _action(action: Any) -> Json:
    kind = type(action).__name__
    fields = {key: _plain(getattr(action, key)) for key in action.__struct_fields__}
    if "connection_ids" in fields:
        (fields["connection_id"],) = fields.pop("connection_ids")
    fields.pop("retry_after_ms", None)  # a server's
    return {"kind": kind[0].lower() + kind[1:], **_named_alike(fields)}


def _outcome(outcome: Any) -> Json:
    fields: Json = msgspec.to_builtins(outcome)
    match type(outcome).__name__:
        case "Event":
            return {"kind": "event", "event": fields}
        case "SnapshotReceived" | "ResetReceived" as name:
            snapshot = fields.pop("snapshot")
            return {"kind": "snapshot" if name == "SnapshotReceived" else "reset", **fields, **snapshot}
        case "PublishAccepted":
            return {"kind": "accepted", **_named_alike(fields)}
        case "PublishFailed":
            return {"kind": "failed", **_named_alike(fields)}
        case "StateChanged":
            return {"kind": "state", **_named_alike(fields)}
        case "NotConnected":
            return {"kind": "notConnected", **_named_alike(fields)}
        case "SessionEnded":
            return {"kind": "end", **_named_alike(fields)}
        case name:
            raise AssertionError(f"an outcome that this recorder does not know: {name}")


def _named_alike(fields: Json) -> Json:
    """With JavaScript's names, and without texts."""
    return {_camel(key): value for key, value in fields.items() if key not in _NO_TEXT}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
