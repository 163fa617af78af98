"""The fourth world: the browser client's machine gets the inputs of Python's machines, and must give the same output.

    whatever drives Python sessions -> recording -> Node: reference/web/machine -> transcript, compared with the recording

Compared are, after each input: what it raised, each action with its frame as it stands on the wire, each outcome, the next
deadline in ns, the state, the position, users and cursors, the whole health with every digit, and how much of everything is held.
"""

import atexit
import json
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

from .recording import Json, RecordedSession, Recording
from .tools import NODE

REPLAY = Path(__file__).with_name("replay.mjs")
PLAY_S_MAX = 300


def assert_same_in_node(recording: Recording) -> int:
    """Play everything in Node and compare. Returns how many inputs were played."""
    lines, expected = [], []
    for session in recording.sessions:
        lines.append(json.dumps(session.made))
        lines += [json.dumps(each) for each in session.inputs]
        expected += [(session, number, result) for number, result in enumerate(session.results)]
    found = _node().play(lines, len(expected))
    for (session, number, result), line in zip(expected, found, strict=True):
        ours, theirs = _comparable(result), _comparable(json.loads(line))
        if ours != theirs:
            raise AssertionError(_difference(session, number, ours, theirs))
    return len(expected)


class _Node:
    """One Node for all recordings of a test run: to start it takes longer than most of them. One that ended is started anew."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed by `close`
        self._process: subprocess.Popen[str] | None = None

    def play(self, lines: list[str], count: int) -> list[str]:
        """So many lines come back for these."""
        process = self._started()
        assert process.stdout is not None
        late = threading.Timer(PLAY_S_MAX, process.kill)
        writer = threading.Thread(target=self._write, args=(process, "".join(f"{line}\n" for line in lines)))
        late.start()
        writer.start()
        found = [process.stdout.readline().removesuffix("\n") for _ in range(count)]
        late.cancel()
        if found and not found[-1]:
            process.kill()
        writer.join()
        late.join()
        if found and not found[-1]:
            self._errors.seek(0)
            raise AssertionError(f"Node has ended, or took more than {PLAY_S_MAX} s: {self._errors.read()}")
        return found

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate(timeout=30)
        self._errors.close()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            assert NODE is not None, "the caller has looked for it"
            self._errors.truncate(0)
            pipe = subprocess.PIPE
            self._process = subprocess.Popen([NODE, str(REPLAY)], stdin=pipe, stdout=pipe, stderr=self._errors, encoding="utf-8")
        return self._process

    @staticmethod
    def _write(process: subprocess.Popen[str], text: str) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(text)
            process.stdin.flush()
        except BrokenPipeError:
            return  # the reader tells


@cache
def _node() -> _Node:
    node = _Node()
    atexit.register(node.close)
    return node


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
