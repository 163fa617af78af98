"""Directed steps: short lists of steps for situations that random steps reach too rarely; `schedules` inserts them anywhere.

Each is what a person would do to provoke one kind of fault; numbers are random, so that it occurs in many ways, and the steps
around it decide whether it has an effect. A list without anything to act on does nothing.
"""

from typing import Any

from hypothesis import strategies as st

from simulation.adversary import steps

NEWEST = -1
LOG = 24
"""More publishes than any generated log keeps."""
ANSWERS = 70
"""More publishes of one client than a server keeps answers for."""
_PROBE_MS = 6000
few = st.integers(0, 4)
publishes = st.builds(
    steps.PublishEvent,
    client=few,
    event_type=st.sampled_from(["GRAFT", "PRUNE", "FLAG", "CHAT", "CHAT", "NEWER"]),
    key=st.integers(0, 2),
)
_kept = st.sampled_from([0, 1, 5])
_waits_ms = st.sampled_from([0, 500, 3000])


def _a_log_of(client: int) -> list[steps.Step]:
    """Publish so much that nothing older is kept."""
    return [steps.PublishEvent(client, "CHAT", 0), steps.Calm(5)] * LOG


def _probed(client: int) -> list[steps.Step]:
    """A polling client's next WebSocket is opened; the answer to its hello is held back."""
    return [
        steps.Block(client, False),
        steps.CalmUntil("opening", _PROBE_MS),
        steps.AnswerUpgrade(NEWEST, "open"),
        steps.Down(NEWEST, 1),
        steps.Up(NEWEST, 1),
        steps.CheckToken(),
        steps.StallConnection(NEWEST, "down", True),
    ]


def _welcomed_before_its_poll_is_answered(*meanwhile: steps.Step) -> list[steps.Step]:
    """The newest client falls back; the answer to its poll is held back until its probe has been welcomed."""
    return [
        steps.Block(NEWEST, True),
        steps.CalmUntil("request", _PROBE_MS),
        steps.Http(NEWEST, "arrive"),
        steps.StallHttp(NEWEST, True),
        *meanwhile,
        steps.Block(NEWEST, False),
        steps.CalmUntil("opening", _PROBE_MS),
        steps.AnswerUpgrade(NEWEST, "open"),
        steps.Down(NEWEST, 1),
        steps.Up(NEWEST, 1),
        steps.CheckToken(),
        steps.Down(NEWEST, 2),
        steps.Http(NEWEST, "answer"),
    ]


def _released(wire: int) -> list[steps.Step]:
    return [steps.StallConnection(wire, "down", False), steps.Down(wire, 4), steps.Calm(5)]


open_by_hand = st.builds(
    lambda opening, wire, count: [
        steps.UntilOpening(4),
        steps.AnswerUpgrade(opening, "open"),
        steps.Down(wire, 1),
        steps.Up(wire, 1),
        steps.CheckToken(),
        steps.Down(wire, count),
    ],
    opening=few,
    wire=few,
    count=st.integers(1, 3),
)
late_answer = st.builds(lambda request: [steps.Http(request, "arrive"), steps.StallHttp(request, True)], request=few)
late_hello = st.builds(
    lambda wire, ms: [
        steps.Cut(wire, "now", "now"),
        steps.UntilOpening(8),
        steps.AnswerUpgrade(NEWEST, "open"),
        steps.Down(NEWEST, 1),
        steps.Cut(NEWEST, "now", "later"),
        steps.StallConnection(NEWEST, "up", True),
        steps.Calm(ms),
        steps.Up(NEWEST, 3),
    ],
    wire=few,
    ms=st.sampled_from([5, 600, 3000]),
)
flap = [
    steps.UntilOpening(8),
    steps.AnswerUpgrade(NEWEST, "open"),
    steps.Down(NEWEST, 1),
    steps.Cut(NEWEST, "now", "now"),
] * 3
lost_batch = st.builds(
    lambda wire, lost, seen: [
        steps.Swallow(wire, 1),
        steps.Choke(wire, 1),
        *lost,
        steps.Calm(5),
        *seen,
        steps.Calm(5),
        steps.Choke(wire, 0),
        steps.Calm(5),
    ],
    wire=few,
    lost=st.lists(publishes, min_size=1, max_size=2),
    seen=st.lists(publishes, min_size=1, max_size=6),
)
turned_away = st.builds(
    lambda wire, waits_ms: [
        steps.Cut(wire, "now", "now"),
        *[step for ms in waits_ms for step in (steps.UntilOpening(8), steps.TurnAway("opening", NEWEST, ms))],
        steps.WaitFor(3500, "exact"),
    ],
    wire=few,
    waits_ms=st.lists(_waits_ms, min_size=1, max_size=3),
)
"""A client comes back to a door that has too much to do."""
turned_away_over_http = st.builds(
    lambda client, waits_ms: [
        steps.Block(client, True),
        *[step for ms in waits_ms for step in (steps.CalmUntil("request", _PROBE_MS), steps.TurnAway("request", NEWEST, ms))],
        steps.WaitFor(3500, "exact"),
    ],
    client=few,
    waits_ms=st.lists(_waits_ms, min_size=1, max_size=3),
)
fall_back = st.builds(lambda client: [steps.Block(client, True), steps.Calm(3000)], client=few)
full_socket = st.builds(
    lambda wire, client, ms: [steps.Choke(wire, 1), *_a_log_of(client)[:8], steps.Calm(ms), steps.Choke(wire, 0)],
    wire=few,
    client=few,
    ms=st.sampled_from([600, 3000]),
)
fallen_out = st.builds(
    lambda wire, client: [steps.Choke(wire, 1), *_a_log_of(client), steps.Choke(wire, 0)], wire=few, client=few
)
lost_while_held = st.builds(
    lambda client, kept, before, after: [
        *before,
        steps.Calm(5),
        steps.Hold(client, True),
        steps.LoseHistory(kept),
        *after,
        steps.Calm(3000),
        steps.Hold(client, False),
        steps.Calm(600),
    ],
    client=few,
    kept=_kept,
    before=st.lists(publishes, min_size=2, max_size=6),
    after=st.lists(publishes, min_size=1, max_size=3),
)
lost_while_polling = st.builds(
    lambda client, kept, after: [
        steps.Block(client, True),
        steps.Calm(3000),
        steps.LoseHistory(kept),
        steps.PublishEvent(client, "CHAT", 0),
        *after,
        steps.Calm(5),
    ],
    client=few,
    kept=_kept,
    after=st.lists(publishes, max_size=3),
)
lost_behind_a_probe = st.builds(
    lambda user, before, kept: [
        steps.Join(user),
        steps.Block(NEWEST, True),
        steps.CalmUntil("request", _PROBE_MS),
        steps.Calm(5),
        *_probed(NEWEST),
        *before,
        steps.Calm(5),
        steps.LoseHistory(kept),
        steps.CalmUntil("request", _PROBE_MS),
        steps.Http(NEWEST, "arrive"),
        steps.Http(NEWEST, "answer"),
        *_released(NEWEST),
    ],
    user=few,
    before=st.lists(publishes, min_size=1, max_size=6),
    kept=_kept,
)
"""The welcome of a lost history arrives when polling knows the new one."""
lost_before_a_poll_is_answered = st.builds(
    lambda user, before, kept: [
        *before,
        steps.Join(user),
        *_welcomed_before_its_poll_is_answered(steps.LoseHistory(kept)),
        steps.Calm(20),
    ],
    user=few,
    before=st.lists(publishes, min_size=1, max_size=3),
    kept=_kept,
)
"""The answer to the first poll of a client, of a lost history, arrives when a probe knows the new one."""
left_before_a_poll_is_answered = st.builds(
    lambda user, who: [
        steps.Join(user),
        *_welcomed_before_its_poll_is_answered(steps.Leave(who), steps.Calm(5)),
        steps.WaitFor(1, "exact"),
    ],
    user=few,
    who=few,
)
"""The answer to a poll names a user of whom a probe knows that they have left."""
overtaken_snapshot = st.builds(
    lambda client, ms: [
        steps.Block(client, True),
        steps.Calm(3000),
        steps.Hold(client, True),
        *_a_log_of(client + 1),
        *_probed(client),
        steps.Hold(client, False),
        steps.Calm(ms),
        *_released(NEWEST),
    ],
    client=few,
    ms=st.sampled_from([5, 300, 900]),
)
"""A probe is sent a snapshot, and polling is faster."""
stopped_while_storing = st.builds(
    lambda first, then, ms: [first, steps.Calm(20), then, steps.Up(0, 4), steps.Up(1, 4), steps.GoAway(ms, 0), steps.Calm(5)],
    first=publishes,
    then=publishes,
    ms=st.sampled_from([0, 500]),
)
late_joiner = st.builds(
    lambda before, stored, user: [*before, steps.Calm(20), steps.Crash(stored, True), steps.Join(user), steps.Calm(20)],
    before=st.lists(publishes, min_size=4, max_size=8),
    stored=st.integers(0, 2),
    user=few,
)
"""Someone comes to a server that was just started, perhaps with another limit."""
full_window = st.builds(
    lambda client, ms: [steps.Calm(600), *[steps.PublishEvent(client, "CHAT", 0)] * ANSWERS, steps.Calm(ms)],
    client=few,
    ms=st.sampled_from([5, 600]),
)
"""One client publishes at once more than any server lets it leave unanswered."""
chatterbox = st.builds(lambda client: [steps.PublishEvent(client, "CHAT", 0), steps.Calm(5)] * ANSWERS, client=few)
"""One client publishes more than the server keeps answers for."""
deaf_reader = st.builds(
    lambda wire, client, ms: [
        steps.Choke(wire, 1),
        *[steps.PublishEvent(client, "CHAT", 0), steps.Calm(5)] * 3,
        steps.WaitFor(ms, "exact"),
        steps.Calm(20),
        steps.WaitFor(ms, "exact"),
    ],
    wire=few,
    client=few,
    ms=st.sampled_from([900, 2500]),
)
"""A reader takes nothing, and time passes."""
aged = st.builds(
    lambda client, ms, waiting: [
        steps.Block(client, True),
        *waiting,
        steps.WaitFor(ms, "exact"),
        steps.PublishEvent(client, "CHAT", 0),
        steps.Block(client, False),
        steps.Calm(3000),
    ],
    client=few,
    ms=st.sampled_from([1000, 3000, 12_000]),
    waiting=st.lists(publishes, min_size=2, max_size=5),
)
"""What was published waits while nothing carries it; what comes after it may have to go on without it."""
ended_token = st.builds(
    lambda client, times, ms: [
        steps.Block(client, True),
        *[steps.CalmUntil("request", _PROBE_MS), steps.RefuseToken("request", NEWEST), steps.Calm(ms)] * times,
        steps.Block(client, False),
        steps.CalmUntil("opening", _PROBE_MS),
        steps.RefuseToken("opening", NEWEST),
        steps.Calm(600),
    ],
    client=few,
    times=st.integers(1, 4),
    ms=st.sampled_from([600, 1900]),
)
"""A client polls, and its tokens end again and again."""
old_token = st.builds(
    lambda wire, ms: [
        steps.StallConnection(wire, "up", True),
        steps.Calm(ms),
        steps.Calm(ms),
        steps.StallConnection(wire, "up", False),
        steps.Calm(600),
    ],
    wire=few,
    ms=st.sampled_from([900, 3000, 12_000]),
)
"""A client's new token does not arrive."""

PLOTS: dict[str, tuple[int, st.SearchStrategy[Any]]] = {
    # How often, among all that may happen, and what.
    "open by hand": (4, open_by_hand),
    "late answer": (3, late_answer),
    "fall back": (3, fall_back),
    "turned away": (2, turned_away),
    "turned away over http": (2, turned_away_over_http),
    "full window": (1, full_window),
    "late hello": (3, late_hello),
    "flap": (2, st.just(flap)),
    "lost batch": (4, lost_batch),
    "full socket": (2, full_socket),
    "fallen out": (2, fallen_out),
    "lost while held": (4, lost_while_held),
    "lost while polling": (3, lost_while_polling),
    "lost behind a probe": (2, lost_behind_a_probe),
    "lost before a poll is answered": (2, lost_before_a_poll_is_answered),
    "left before a poll is answered": (1, left_before_a_poll_is_answered),
    "overtaken snapshot": (2, overtaken_snapshot),
    "late joiner": (2, late_joiner),
    "stopped while storing": (2, stopped_while_storing),
    "chatterbox": (1, chatterbox),
    "deaf reader": (2, deaf_reader),
    "aged": (3, aged),
    "old token": (1, old_token),
    "ended token": (2, ended_token),
}
