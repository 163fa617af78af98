"""Commands for whoever runs a server."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter, validators

Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))]


def serve(
    *,
    config: Path | None = None,
    host: str | None = None,
    port: Port | None = None,
    store: str | None = None,
    advertise: str | None = None,
    secret_file: Path | None = None,
    public_key_file: tuple[Path, ...] | None = None,
    allowed_origin: tuple[str, ...] | None = None,
    log_json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Serve WebSocket and HTTP on one port until SIGINT or SIGTERM.

    Parameters
    ----------
    config
        A TOML file with any of the settings of docs/operations.md; what is given here goes before it.
    host
        The address to listen on, 127.0.0.1 without. Without a secret only loopback is allowed.
    port
        The port, 8765 without; 0 takes a free one.
    store
        Where events are kept: sqlite:///FILE (sqlite:///steadywire.sqlite3 without), postgresql://USER@HOST/DATABASE, or memory:
        to lose them with the process. Several servers may share one PostgreSQL database.
    advertise
        HOST:PORT at which the other servers on the same database reach this one; without, the address it listens on.
    secret_file
        A file with the HS256 secret that signs the tokens. Without a secret or key, the token dev:NAME stands for the user NAME.
    public_key_file
        A file with a public key in PEM that verifies tokens, RS256 or ES256; its name without .pem is the key's name (kid).
        May be given several times.
    allowed_origin
        A web page's origin that may talk to this server, such as https://app.example.org. May be given several times.
    log_json
        Write the log as JSON, as it is written anyhow when it does not go to a terminal.
    """
    from reference.cli.serve import serve_command

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
    runs: tuple[str, ...] = (),
    role: Literal["member", "admin"] = "member",
    ttl: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=31_536_000))] = 3600,
) -> int:
    """Print a token for a user, for development; in production, whoever knows the users makes them.

    Parameters
    ----------
    user
        Whom the token names.
    secret_file
        The file with the secret that the server was given.
    runs
        The runs that its holder may enter; all, without.
    role
        An admin may enter every run, and use /api/admin.
    ttl
        How long it is good, in seconds.
    """
    from reference.cli.serve import token_command

    return token_command(user=user, secret_file=secret_file, runs=runs, role=role, ttl_s=ttl)


migrate = App(name="migrate", help="Make, remove or compare the tables of a store.")

StoreUrl = Annotated[str, Parameter(help="sqlite:///FILE, or postgresql://USER@HOST/DATABASE.")]


@migrate.command
def up(*, store: StoreUrl) -> int:
    """Make the tables, or bring them up to date; `serve` does it by itself."""
    from reference.cli.migrate import migrate_command

    return migrate_command("up", store)


@migrate.command
def down(*, store: StoreUrl, yes: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Remove the tables, and every run in them.

    Parameters
    ----------
    yes
        Needed, because the events are gone then.
    """
    from reference.cli.migrate import migrate_command

    return migrate_command("down", store, is_sure=yes)


@migrate.command
def check(*, store: StoreUrl) -> int:
    """Say in what the tables differ from those of this program; exit code 1 if in anything."""
    from reference.cli.migrate import migrate_command

    return migrate_command("check", store)
