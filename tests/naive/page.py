"""`python -m tests.naive.page`: points the machines at the naive server, shrinks what it finds, writes docs/naive_server.md."""

from pathlib import Path

from hypothesis import HealthCheck, find, settings
from hypothesis.errors import NoSuchExample

from simulation.results.diagrams import sequence_diagram
from simulation.testing.machines import ServerStep, play_steps, steps_taken
from simulation.testing.server_world import Violated
from simulation.trace.messages import MessageLog

from .naive_server import NaiveServer

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = 400
SEARCH = settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
SOUGHT = {
    "G1": "Missed events are sent by a second job while live events already flow, so they interleave on one connection.",
    "G3": "A retry is treated as a new message, so a publish whose answer was lost is in the log twice.",
    "G11": "A publish is accepted and broadcast before it is stored, so after a crash its number belongs to another event.",
    "G6": "After a crash a client is ahead of the server and is not notified, so it waits for ever.",
}
HEAD = """# Somebody else's server

Which guarantees does a simple server break, and how does a test show it? `tests/naive/naive_server.py` is a first attempt at a
server: it uses our frames, broadcasts each publish at once, stores it a little later, replays in a separate job, and treats a
retry as a new message. The steps of `ServerMachine` (`simulation.testing`) are run against it, through the methods of
`ServerUnderTest` alone. For each guarantee that it breaks, Hypothesis finds the fewest steps that show it;
`simulation/testing/server_world.py` explains each step.

This page is made by `python -m tests.naive.page`, and a test compares it with what the search finds.
"""


def judged(chosen: list[ServerStep], message_log: MessageLog | None = None) -> Violated | None:
    """What the naive server breaks when this is done to it."""
    try:
        play_steps(NaiveServer(), chosen, message_log)
    except Violated as violated:
        return violated
    return None


def smallest(guarantee: str) -> list[ServerStep] | None:
    """The smallest list of steps that breaks it, as far as the search goes."""

    def breaks(chosen: list[ServerStep]) -> bool:
        violated = judged(chosen)
        return violated is not None and guarantee in violated.broken

    try:
        return find(steps_taken(), breaks, settings=SEARCH)
    except NoSuchExample:
        return None


def section(guarantee: str, chosen: list[ServerStep], figures: Path | None) -> str:
    """One guarantee's part of the page; its diagram is written to `figures`."""
    message_log = MessageLog()
    violated = judged(chosen, message_log)
    assert violated is not None
    said = " · ".join(f"{step} {argument:g}" if step not in ("crash", "join") else step for step, argument in chosen)
    if figures is not None:
        figure = sequence_diagram(message_log.without_keepalive(), title=f"{guarantee}: {said}", rows_max=40)
        figure.savefig(figures / f"{guarantee.lower()}.svg", metadata={"Date": None})
    lines = "\n".join(list(message_log.without_keepalive().lines())[:40])
    figure_of = f"```{{figure}} naive_server/{guarantee.lower()}.svg\n:alt: the messages that show it\n:width: 100%\n```"
    parts = [
        f"\n## {guarantee}",
        SOUGHT[guarantee],
        f"Actions: {said}",
        f"Found: {guarantee}: {violated.broken[guarantee]}",
        figure_of,
        f"```text\n{lines}\n```\n",
    ]
    return "\n\n".join(parts)


def page(found: dict[str, list[ServerStep]], figures: Path | None) -> str:
    return HEAD + "".join(section(guarantee, chosen, figures) for guarantee, chosen in found.items())


def main() -> None:
    found = {guarantee: chosen for guarantee in SOUGHT if (chosen := smallest(guarantee)) is not None}
    figures = DOCS / "naive_server"
    figures.mkdir(exist_ok=True)
    (DOCS / "naive_server.md").write_text(page(found, figures), encoding="utf-8")
    print(f"{len(found)} guarantees broken: {', '.join(found)}")


if __name__ == "__main__":
    main()
