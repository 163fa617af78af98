"""`steadywire replay FILE`: runs a saved case or a scenario again, and shows all messages.

A case (`simulation.adversary.case`) runs the bare machines over the adversarial network, step by step; a scenario runs in the
simulator. With `--notebook` the result is also written as a notebook that draws the sequence diagram; it contains the file's
text.
"""

import json
import sys
from pathlib import Path as FilePath
from typing import Any, Literal

from reference.protocol import frames
from reference.protocol.errors import ConfigError
from reference.toml_files import parse_toml, read_text
from simulation.adversary.case import Case, parse_case
from simulation.adversary.settling import play
from simulation.scenario.faults import describe
from simulation.scenario.scenario import Scenario, parse_scenario
from simulation.trace.messages import MessageLog
from simulation.trace.trace import AttemptMade, ConnectionLost, FaultHappened, FaultOver, Record, ServerKilled, ServerStarted
from simulation.trace.wording import words_of
from simulation.world import World

HELD, VIOLATED, BAD_INPUT = 0, 1, 2
"""Exit codes, as those of `steadywire simulate`."""


def read(text: str) -> Case | Scenario:
    """A case or a scenario, whichever the file has. Raises ConfigError."""
    return parse_case(text) if "schedule" in parse_toml(text) else parse_scenario(text)


def log_of_case(played: Case | Scenario) -> tuple[MessageLog, list[str]]:
    """Run it. Returns the message log, and a sentence for each violated guarantee."""
    message_log = MessageLog()
    if isinstance(played, Case):
        return message_log, [
            f"{broken.guarantee}: {broken.what}" for broken in play(played.setup, played.schedule, message_log=message_log)
        ]
    result = _simulate(played, message_log)
    return message_log, [f"{verdict.guarantee}: {text}" for verdict in result.values() for text in verdict.violations]


def replay(path: FilePath, notebook: FilePath | None, *, everything: bool) -> int:
    """Run a file and print it; returns the exit code. `everything`: including pings, pongs and heartbeats."""
    try:
        text = read_text(path)
        played = read(text)
        message_log, broken = log_of_case(played)
        if notebook is not None:
            notebook.write_text(_notebook(played, text), encoding="utf-8")
    except OSError as error:
        return _complain(f"cannot write the notebook {notebook}: {error.strerror or error}")
    except ConfigError as error:
        return _complain(f"{path}: {error}")
    print("\n".join([f"{played.name}: {' '.join(played.about.split())}", ""]))
    for line in (message_log if everything else message_log.without_keepalive()).lines():
        print(line)
    print()
    for sentence in broken:
        print(f"VIOLATED {sentence}")
    if not broken:
        print("all guarantees held")
    return VIOLATED if broken else HELD


def _simulate(scenario: Scenario, message_log: MessageLog) -> dict[str, Any]:
    """Frames are recorded at the client: its messages are sent and arrive at once."""
    world: World

    def listen(client: str, now: int, direction: Literal["sent", "received"], connection_id: int, frame: frames.Frame) -> None:
        ends = (client, "server") if direction == "sent" else ("server", client)
        message_log.sent((client, connection_id, direction), *ends, words_of(frame), now)
        message_log.arrived((client, connection_id, direction), now)

    world = World(scenario, listen=listen)
    record_only = world.trace.add

    def add(record: Record) -> None:
        record_only(record)
        match record:
            case FaultHappened(fault=fault):
                message_log.note("", describe(fault), record.at)
            case FaultOver(fault=fault):
                message_log.note("", f"over: {describe(fault)}", record.at)
            case ServerStarted(head=head):
                message_log.note("server", f"starts, head {head}", record.at)
            case ServerKilled():
                message_log.note("server", "dies", record.at)
            case AttemptMade(client=client, connection_id=number):
                message_log.note(client, f"opens connection {number}", record.at)
            case ConnectionLost(client=client, connection_id=number, code=code):
                message_log.note(client, f"loses connection {number}{'' if code is None else f' ({code})'}", record.at)
            case _:
                pass

    world.trace.add = add
    return dict(world.run().verdicts)


def _notebook(played: Case | Scenario, text: str) -> str:
    """A notebook, as JSON, that runs the same and draws it."""
    imports = "from simulation.replay.cases import read, log_of_case\nfrom simulation.results.diagrams import sequence_diagram"
    code = (
        f"%matplotlib inline\n{imports}\n\nTEXT = {text!r}",
        "message_log, broken = log_of_case(read(TEXT))\nbroken",
        f"sequence_diagram(message_log.without_keepalive(), title={played.name!r})",
        'print("\\n".join(message_log.without_keepalive().lines()))',
    )
    about = f"# {played.name}\n\n{played.about}"
    cells: list[dict[str, Any]] = [{"cell_type": "markdown", "id": "about", "metadata": {}, "source": about}]
    for number, source in enumerate(code):
        cells.append({"cell_type": "code", "id": f"c{number}", "metadata": {}, "source": source})
        cells[-1] |= {"outputs": [], "execution_count": None}
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _complain(message: str) -> int:
    print(f"steadywire replay: {' '.join(message.split())}", file=sys.stderr)
    return BAD_INPUT
