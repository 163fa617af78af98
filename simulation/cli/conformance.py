"""The command of the conformance kit."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators


def conformance(
    url: str | None = None,
    *,
    client: str | None = None,
    token: tuple[str, ...] = (),
    admin_token: str | None = None,
    run: tuple[str, ...] = (),
    case: tuple[str, ...] = (),
    list_cases: Annotated[bool, Parameter(name="--list", negative="")] = False,
    json: Path | None = None,
    patience: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=60))] = 5.0,
) -> int:
    """Judge a server, or a client, by docs/protocol.md; exit code 1 if a case fails.

    Parameters
    ----------
    url
        The server to judge, such as http://127.0.0.1:8765.
    client
        Judge a client instead: the command that starts a program which keeps the contract of docs/conformance.md. The program
        connects to the kit; {url}, {run} and {token} in the command are replaced.
    token
        A token that the server takes. Give it once for each of two users (default: development tokens).
    admin_token
        A token with the role admin, for the cases of the admin calls.
    run
        Use this existing run instead of making new ones. May be given several times.
    case
        Only the cases of this name; * stands for anything, as in 'publish.*'. May be given several times.
    list_cases
        List the cases for a server, or with --client those for a client, and their clauses; judge nothing.
    json
        Write the whole report to this file.
    patience
        How long to wait for what the server is to do at once, in seconds.
    """
    from simulation.conformance.command import conformance_command

    return conformance_command(
        url,
        client=client,
        tokens=token,
        admin_token=admin_token,
        runs=run,
        cases=case,
        list_only=list_cases,
        json_file=json,
        patience_s=patience,
    )
