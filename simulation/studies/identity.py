"""The identity of the code that computes a run. A finished row is used again only if all of it is the same.

    program_version()     of steadywire: the package's version, and a digest of the sources that worlds and figures are made of
    figure_identity()     of a figure: its name, or its code
    policies_identity()   of the policies that a user has registered: a scenario has only their names

A package version alone is not enough: in a checkout it stays the same while the simulator changes.
"""

import contextlib
import pickle
import sys
import types
from functools import cache
from hashlib import blake2b
from pathlib import Path

from simulation.results.frames import package_version
from simulation.scenario.presets import registered

ROOT = Path(__file__).parents[2]
"""Where both packages are, installed or in a checkout."""
SOURCES = (
    "reference/*.py",
    "reference/protocol/**/*.py",
    "reference/store/**/*.py",
    "simulation/*.py",
    "simulation/checks/**/*.py",
    "simulation/hosts/**/*.py",
    "simulation/network/**/*.py",
    "simulation/results/**/*.py",
    "simulation/scenario/**/*.py",
    "simulation/studies/*.py",
    "simulation/trace/**/*.py",
)
"""What a worker imports to compute a row. Commands, the emulator and the search of a tuning have no effect on one."""


def sources() -> list[Path]:
    """The files of `SOURCES`, in one order on every machine."""
    return sorted({path for pattern in SOURCES for path in ROOT.glob(pattern)}, key=Path.as_posix)


@cache
def program_version() -> str:
    """Such as "0.1.0+5f0c9a3be2d14c77", computed once per process. Equal on all machines that have the same sources."""
    digest = blake2b(digest_size=8)
    for path in sources():
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT).as_posix()}/{len(content)}/".encode() + content)
    return f"{package_version()}+{digest.hexdigest()}"


def figure_identity(name: str, figure: object) -> str:
    """The name of a column is its identity; a function's is its name and its code, with defaults and enclosed values."""
    if isinstance(figure, str):
        return figure
    return f"{name}:{_function(figure) if isinstance(figure, types.FunctionType) else repr(figure)}"


def policies_identity() -> str:
    """The policies that a user has registered: of each its name, its parameters, and the code of its file or class."""
    own = registered()
    policies: list[tuple[str, object]] = [(name, preset.policy) for name, preset in own.policies.items()]
    policies += [(name, preset.policy) for name, preset in own.heartbeats.items()]
    policies += [(name, preset.policy) for name, preset in own.fallbacks.items()]
    return ",".join(f"{name}:{_policy(policy)}" for name, policy in policies)


def _policy(policy: object) -> str:
    kind = type(policy)
    try:
        parameters = pickle.dumps(policy)
    except Exception:  # any exception of the user's class: its text has to be enough
        parameters = repr(policy).encode()
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file is not None and kind.__module__ != "__main__" and Path(file).is_file():
        code = Path(file).read_bytes()
    else:  # of a script or a notebook only the class: the rest changes for other reasons
        code = "".join(map(_class, kind.__mro__[:-1])).encode()
    return blake2b(parameters + code, digest_size=8).hexdigest()


def _class(kind: type) -> str:
    """The functions of a class, those behind properties and decorators as well."""
    members = [member for _, member in sorted(vars(kind).items())]
    functions = [getattr(member, "fget", None) or getattr(member, "__func__", member) for member in members]
    return "".join(_function(each) for each in functions if isinstance(each, types.FunctionType))


def _function(function: types.FunctionType) -> str:
    values = [*(function.__defaults__ or ()), *sorted((function.__kwdefaults__ or {}).items())]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # of a variable that has no value yet
            values.append(cell.cell_contents)
    return _code(function.__code__) + "".join(map(_value, values))


def _value(value: object) -> str:
    """Equal in every process for equal values: without addresses and without the order of a set."""
    match value:
        case types.CodeType():
            return _code(value)
        case types.FunctionType():
            return _code(value.__code__)
        case None | bool() | int() | float() | complex() | str() | bytes():
            return repr(value)
        case tuple() | list():
            return f"({','.join(map(_value, value))})"
        case frozenset() | set():
            return f"{{{','.join(sorted(map(_value, value)))}}}"
        case dict():
            return f"{{{','.join(f'{_value(name)}:{_value(each)}' for name, each in value.items())}}}"
        case _:
            return type(value).__qualname__


def _code(code: types.CodeType) -> str:
    constants = [*map(_value, code.co_consts)]
    return blake2b(code.co_code + repr((code.co_names, constants)).encode(), digest_size=8).hexdigest()
