"""Runs with live readers, for tests of a driver's inputs."""

from reference.protocol import frames
from reference.protocol.config import ServerConfig
from reference.protocol.server.run import Run

from .machines import go_live, stored_run


def run_of(*users: str, now: int = 0, **settings: object) -> Run:
    """A run in which connection 1 is the first user's, 2 the second's, and so on, each of them current."""
    run = Run(stored_run(), config=ServerConfig(**settings), now=now)  # type: ignore[arg-type] # as the fields want them
    for number, user in enumerate(users, start=1):
        go_live(run, number, f"client-{number}", user, now)
    run.take_actions()
    run.take_observations()
    return run


def publish(run: Run, connection: int, number: int, now: int = 0, **data: object) -> None:
    run.receive_frame(connection, frames.Publish(client_sequence=number, event_type="CHAT", data=data), now)


def store(run: Run, now: int = 0) -> None:
    append = run.events_to_append()
    assert append is not None
    run.handle_appended(append, now)
