"""The command of the conformance kit."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from reference.cli.runner import FINITE, FLAG, MANY

Patience = Annotated[float, FINITE, Parameter(validator=validators.Number(gt=0, lte=60))]


def conformance(
    url: str | None = None,
    /,
    *,
    client: str | None = None,
    token: Annotated[tuple[str, ...], MANY] = (),
    admin_token: str | None = None,
    secret_file: Path | None = None,
    run: Annotated[tuple[str, ...], MANY] = (),
    case: Annotated[tuple[str, ...], MANY] = (),
    list_cases: Annotated[bool, Parameter(name="--list"), FLAG] = False,
    json: Path | None = None,
    patience: Patience = 5.0,
) -> int:
    """Judge a server, or a client, by docs/protocol.md. Exit code 1 if a case fails.

    Parameters
    ----------
    url
        The server to judge, such as http://127.0.0.1:8765.
    client
        Judge a client instead: the command that starts a program which keeps the contract of docs/conformance.md. The program
        connects to the kit; {url}, {run} and {token} in the command are replaced.
    token
        A token that the server takes; give one for each of two users (default: development tokens). Repeatable.
    admin_token
        A token with the role admin, for the cases of the admin calls.
    secret_file
        The file with the server's HS256 secret, instead of tokens: the kit makes its own, also such as end.
    run
        An existing run to use instead of new ones. Repeatable.
    case
        Judge only the cases of this name; * stands for anything, as in 'publish.*'. Repeatable.
    list_cases
        List the cases for a server, or with --client those for a client, and their clauses; judge nothing.
    json
        Write the whole report to this file.
    patience
        How long to wait for what the server must do at once, in seconds.
    """
    from simulation.conformance.command import conformance_command

    return conformance_command(
        url,
        client=client,
        tokens=token,
        admin_token=admin_token,
        secret_file=secret_file,
        runs=run,
        cases=case,
        list_only=list_cases,
        json_file=json,
        patience_s=patience,
    )
