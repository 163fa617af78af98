"""The fourth world: the browser client's machine plays what Python's machines were given, and must answer the same, line by line.

    whatever drives Python sessions -> recording -> Node: reference/web/machine -> transcript, compared with the recording

Compared are, after each input: what it raised, each action with its frame as it stands on the wire, each outcome, the next
deadline in ns, the state, the position, users and cursors, the whole health with every digit, and how much of everything is held.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from .recording import Json, RecordedSession, Recording
from .tools import NODE

REPLAY = Path(__file__).with_name("replay.mjs")
NODE_S_MAX = 300


def assert_same_in_node(recording: Recording) -> int:
    """Play everything in Node and compare. Returns how many inputs were played."""
    lines, expected = [], []
    for session in recording.sessions:
        lines.append(json.dumps(session.made))
        lines += [json.dumps(each) for each in session.inputs]
        expected += [(session, number, result) for number, result in enumerate(session.results)]
    found = _played(lines)
    for (session, number, result), line in zip(expected, found, strict=True):
        ours, theirs = _comparable(result), _comparable(json.loads(line))
        if ours != theirs:
            raise AssertionError(_difference(session, number, ours, theirs))
    return len(expected)


def _played(lines: list[str]) -> list[str]:
    assert NODE is not None, "the caller has looked for it"
    text = "".join(f"{line}\n" for line in lines)
    played = subprocess.run([NODE, str(REPLAY)], input=text, capture_output=True, text=True, timeout=NODE_S_MAX, check=False)
    assert played.returncode == 0, played.stderr
    return played.stdout.splitlines()


def _comparable(value: Any) -> str:
    """JSON with sorted names, in which 5.0 and 5 are one number: JavaScript knows no other."""
    return json.dumps(_numbers_alike(value), sort_keys=True)


def _numbers_alike(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {key: _numbers_alike(each) for key, each in value.items()}
        case list() | tuple():
            return [_numbers_alike(each) for each in value]
        case _:
            return value


def _difference(session: RecordedSession, number: int, ours: str, theirs: str) -> str:
    before = [json.dumps(each)[:300] for each in session.inputs[max(0, number - 5) : number + 1]]
    python, javascript = json.loads(ours), json.loads(theirs)
    differing = "\n".join(
        f"  {name}\n    Python     {json.dumps(python.get(name))}\n    JavaScript {json.dumps(javascript.get(name))}"
        for name in sorted({*python, *javascript})
        if python.get(name) != javascript.get(name)
    )
    broken = javascript.get("broken", "")
    return "\n".join(
        [
            f"{session.made['clientId']}, input {number}:",
            differing,
            broken,
            "this input, after those before it:",
            *before,
            _short(session.made),
        ]
    )


def _short(made: Json) -> str:
    return json.dumps(made)[:1500]
