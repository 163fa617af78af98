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
    "G1": "What was missed comes by a second job, while live events flow already: they interleave on one connection.",
    "G3": "A retry is a new message: a publish whose answer was lost stands in the log twice.",
    "G11": "Accepted and shown before it is written down: after a crash the number belongs to another event.",
    "G6": "A client knows more than the server that came back, and nothing tells it so: it waits for ever.",
}
HEAD = """# Somebody else's server

`tests/naive/naive_server.py` is a server as one writes it on the first day. It speaks our frames, broadcasts at once, writes down
a little later, replays by a second job, and takes a retry for a new message. Here the steps of `ServerMachine`
(`simulation.testing`) are done to it, with nothing but the methods of `ServerUnderTest` between them. Each guarantee that
breaks is shrunk by Hypothesis to the fewest steps that show it; `simulation/testing/server_world.py` says what each step is.

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
    figure_of = f"```{{figure}} naive_server/{guarantee.lower()}.svg\n:alt: the conversation\n:width: 100%\n```"
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
