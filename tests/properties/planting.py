"""Planting a bug: one line of the product is changed for as long as a block lasts.

`applied(bug)` puts one into the running process: the changed source is compiled, and the code of each function that differs is
given to the function that everybody already holds. So nothing is reloaded, and nothing stays behind. A file that is no program,
such as the alert rules, is changed for who reads it in `tests.infra`.

`design`: the fault stands in the last section of the protocol's design, the faults of the system before this one.
"""

import importlib
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Bug:
    """`where` is a module below `reference`; `old` stands in it once, and is replaced by `new`. `net` names the search."""

    name: str
    where: str
    old: str
    new: str
    net: str = "link"
    design: bool = False
    suffix: str = "py"

    @property
    def path(self) -> Path:
        return ROOT / "reference" / f"{self.where.replace('.', '/')}.{self.suffix}"

    @property
    def line(self) -> str:
        """The change in one line."""
        return f"{self.old.splitlines()[0].strip()} => {self.new.splitlines()[0].strip()}"


@contextmanager
def applied(bug: Bug) -> Iterator[None]:
    """The bug is in the running process for the length of the block. Raises LookupError if its line is no longer there."""
    if bug.suffix != "py":
        with _read_as(bug):
            yield
        return
    module = importlib.import_module(f"reference.{bug.where}")
    replaced = _compiled(module, bug)
    kept = [(function, function.__code__) for function, _ in replaced]
    try:
        for function, code in replaced:
            function.__code__ = code
        yield
    finally:
        for function, code in kept:
            function.__code__ = code


@contextmanager
def _read_as(bug: Bug) -> Iterator[None]:
    readers = importlib.import_module("tests.infra.test_files")
    read: Callable[[str], str] = readers.infra
    changed = _source_of(bug).replace(bug.old, bug.new)
    readers.infra = lambda name: changed if name == bug.path.name else read(name)
    try:
        yield
    finally:
        readers.infra = read


def fits(bug: Bug) -> bool:
    """Whether its line stands in the source exactly once."""
    return bug.path.read_text(encoding="utf-8").count(bug.old) == 1


def _compiled(module: types.ModuleType, bug: Bug) -> list[tuple[types.FunctionType, types.CodeType]]:
    source = _source_of(bug)
    before = dict(_codes(compile(source, str(bug.path), "exec")))
    after = dict(_codes(compile(source.replace(bug.old, bug.new), str(bug.path), "exec")))
    functions = dict(_functions(module))
    changed = [name for name in before if name in after and _text(before[name]) != _text(after[name])]
    found = [(functions[name], after[name]) for name in changed if name in functions]
    if not found:
        raise LookupError(f"{bug.name}: the change is in no function of {bug.where}")
    return found


def _source_of(bug: Bug) -> str:
    source = bug.path.read_text(encoding="utf-8")
    if source.count(bug.old) != 1:
        raise LookupError(f"{bug.name}: {bug.old!r} stands {source.count(bug.old)} times in {bug.where}; adapt the catalogue")
    return source


def _codes(code: types.CodeType) -> Iterator[tuple[str, types.CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _text(code: types.CodeType) -> tuple[object, ...]:
    inner = tuple(_text(constant) if isinstance(constant, types.CodeType) else repr(constant) for constant in code.co_consts)
    return (code.co_code, code.co_names, code.co_varnames, inner)


def _functions(module: types.ModuleType) -> Iterator[tuple[str, types.FunctionType]]:
    """Every function of a module and of its classes, by its qualified name."""
    for value in list(vars(module).values()):
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            yield value.__qualname__, value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for member in list(vars(value).values()):
                for function in (member, getattr(member, "fget", None), getattr(member, "__func__", None)):
                    if isinstance(function, types.FunctionType):
                        yield function.__qualname__, function
