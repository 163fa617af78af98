"""The operator's commands: `serve`, `token` and `migrate`. `simulation.cli` is the entry point and adds its own commands.

`runner` turns every result of a command into an exit code and at most one line on stderr.
"""

import gc
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter, validators

from reference.cli.runner import FLAG, MANY, WHOLE

Port = Annotated[int, WHOLE, Parameter(validator=validators.Number(gte=0, lte=65535))]
StoreUrl = Annotated[str, Parameter(help="sqlite:///FILE or postgresql://USER@HOST/DATABASE.")]


def serve(
    *,
    config: Path | None = None,
    host: str | None = None,
    port: Port | None = None,
    store: str | None = None,
    advertise: str | None = None,
    secret_file: Path | None = None,
    public_key_file: Annotated[tuple[Path, ...] | None, MANY] = None,
    allowed_origin: Annotated[tuple[str, ...] | None, MANY] = None,
    log_json: Annotated[bool, FLAG] = False,
) -> int:
    """Serve WebSocket and HTTP on one port until SIGINT or SIGTERM.

    Parameters
    ----------
    config
        TOML file with settings (docs/operations.md lists them); options on the command line override it.
    host
        Address to listen on (default 127.0.0.1). Other than loopback requires a secret or a public key.
    port
        Port to listen on (default 8765; 0 picks a free one).
    store
        Where events are kept: sqlite:///FILE (default sqlite:///steadywire.sqlite3), postgresql://USER@HOST/DATABASE, or memory:
        to lose them when the process ends. Several servers may share one PostgreSQL database.
    advertise
        HOST:PORT at which other servers on the same database reach this one (default: the address it listens on).
    secret_file
        File with the HS256 secret that signs the tokens. Without a secret or key, the token dev:NAME authenticates user NAME.
    public_key_file
        File with a public key (PEM; RS256 or ES256) that verifies tokens; its name without .pem is the key id (kid). Repeatable.
    allowed_origin
        Origin of a web page that may use this server, such as https://app.example.org. Repeatable.
    log_json
        Write the log as JSON. This is the default when stderr is not a terminal.
    """
    gc.disable()  # imported objects are never garbage; a started server enables it (`monitoring.metrics`)
    from reference.cli.serve_command import serve_command

    return serve_command(
        config=config,
        log_json=log_json,
        host=host,
        port=port,
        store=store,
        advertise=advertise,
        secret_file=secret_file,
        public_key_files=public_key_file,
        allowed_origins=allowed_origin,
    )


def token(
    *,
    user: str,
    secret_file: Path,
    runs: Annotated[tuple[str, ...], MANY] = (),
    role: Literal["member", "admin"] = "member",
    ttl: Annotated[int, WHOLE, Parameter(validator=validators.Number(gte=1, lte=31_536_000))] = 3600,
) -> int:
    """Print a signed token for a user, for development. In production your identity provider issues tokens.

    Parameters
    ----------
    user
        User the token authenticates.
    secret_file
        File with the secret that the server uses.
    runs
        Runs the token grants access to (default: all). Repeatable.
    role
        An admin may enter every run and use /api/admin.
    ttl
        Lifetime in seconds.
    """
    from reference.cli.serve_command import token_command

    return token_command(user=user, secret_file=secret_file, runs=runs, role=role, ttl_s=ttl)


migrate = App(name="migrate", help="Create, remove or compare the tables of a store.")


@migrate.command
def up(*, store: StoreUrl) -> int:
    """Create the tables, or bring them up to date. `steadywire serve` does this at its start."""
    from reference.cli.migrate_command import migrate_command

    return migrate_command("up", store)


@migrate.command
def down(*, store: StoreUrl, yes: Annotated[bool, FLAG] = False) -> int:
    """Remove the tables and every run in them.

    Parameters
    ----------
    yes
        Required, because all events are deleted.
    """
    from reference.cli.migrate_command import migrate_command

    return migrate_command("down", store, is_sure=yes)


@migrate.command
def check(*, store: StoreUrl) -> int:
    """Compare the tables with those of this program; exit code 1 if they differ."""
    from reference.cli.migrate_command import migrate_command

    return migrate_command("check", store)
