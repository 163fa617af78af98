"""Planting a bug: a piece of one function of the product is changed during a block.

A bug names a function and two pieces of Python: what stands there, an expression or some statements, and what it becomes. Pieces
are compared as syntax trees, so neither formatting nor comments nor the rest of the module matter; the piece has to stand in the
function exactly once.

`applied(bug)` puts one into the running process: the changed module is compiled, and the code of each function that differs is
given to the function that everybody already holds. So nothing is reloaded, and nothing stays behind. A file that is no program,
such as the alert rules, is changed as text for who reads it in `tests.infra`.

`design`: the fault stands in the last section of the protocol's design, the faults of the system before this one.
"""

import ast
import copy
import functools
import importlib
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCKS = ("body", "orelse", "finalbody")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Bug:
    """`where` is a module below `reference`, and behind a colon the qualified name of a function in it. `old` stands in that
    function once, and is replaced by `new`. `net` names the search. `suffix`: of a file that is no program; `old` is text
    then."""

    name: str
    where: str
    old: str
    new: str
    net: str = "link"
    design: bool = False
    suffix: str = "py"

    @property
    def module(self) -> str:
        return self.where.partition(":")[0]

    @property
    def function(self) -> str:
        return self.where.partition(":")[2]

    @property
    def path(self) -> Path:
        return ROOT / "reference" / f"{self.module.replace('.', '/')}.{self.suffix}"

    @property
    def line(self) -> str:
        """The change in one line."""
        return f"{self.old.splitlines()[0].strip()} => {self.new.splitlines()[0].strip()}"


@contextmanager
def applied(bug: Bug) -> Iterator[None]:
    """The bug is in the running process for the length of the block. Raises LookupError if its piece is no longer there."""
    if bug.suffix != "py":
        with _read_as(bug):
            yield
        return
    module = importlib.import_module(f"reference.{bug.module}")
    replaced = _compiled(module, bug)
    kept = [(function, function.__code__) for function, _ in replaced]
    try:
        for function, code in replaced:
            function.__code__ = code
        yield
    finally:
        for function, code in kept:
            function.__code__ = code


def fits(bug: Bug) -> bool:
    """Whether its piece stands in its function exactly once."""
    if bug.suffix != "py":
        return _text_of(bug).count(bug.old) == 1
    try:
        changed_tree(bug)
    except LookupError:
        return False
    return True


def changed_tree(bug: Bug) -> ast.Module:
    """The module with the bug in it. Raises LookupError."""
    tree = ast.parse(_text_of(bug))
    function = _function_of(tree, bug)
    old, new = ast.parse(bug.old).body, ast.parse(bug.new).body
    is_expression = len(old) == len(new) == 1 and isinstance(old[0], ast.Expr) and isinstance(new[0], ast.Expr)
    count = _exchange_expression(function, old[0], new[0]) if is_expression else 0
    count = count or _exchange_statements(function, old, new)
    if count != 1:
        raise LookupError(f"{bug.name}: {bug.old!r} stands {count} times in {bug.where}; adapt the catalogue")
    return ast.fix_missing_locations(tree)


def _function_of(tree: ast.Module, bug: Bug) -> _Function:
    node: ast.AST = tree
    for name in bug.function.split("."):
        inner = [each for each in ast.iter_child_nodes(node) if getattr(each, "name", None) == name]
        if len(inner) != 1:
            raise LookupError(f"{bug.name}: {bug.where} is not there any more; adapt the catalogue")
        node = inner[0]
    assert isinstance(node, _Function), f"{bug.where} is no function"
    return node


def _exchange_expression(function: _Function, old: ast.stmt, new: ast.stmt) -> int:
    """How many there were."""
    assert isinstance(old, ast.Expr)
    assert isinstance(new, ast.Expr)
    wanted, count = ast.dump(old.value), 0

    class Exchange(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            nonlocal count
            if isinstance(node, ast.expr) and ast.dump(node) == wanted:
                count += 1
                return ast.copy_location(copy.deepcopy(new.value), node)
            return self.generic_visit(node)

    Exchange().visit(function)
    return count


def _exchange_statements(function: _Function, old: list[ast.stmt], new: list[ast.stmt]) -> int:
    """How many there were."""
    wanted, places = [ast.dump(each) for each in old], []
    for node in ast.walk(function):
        for block in (getattr(node, name, None) for name in _BLOCKS):
            if isinstance(block, list):
                places += [
                    (block, at) for at in range(len(block)) if [ast.dump(each) for each in block[at : at + len(old)]] == wanted
                ]
    for block, at in places:
        block[at : at + len(old)] = [ast.copy_location(copy.deepcopy(each), block[at]) for each in new]
    return len(places)


@contextmanager
def _read_as(bug: Bug) -> Iterator[None]:
    readers = importlib.import_module("tests.infra.test_files")
    read: Callable[[str], str] = readers.infra
    assert fits(bug), f"{bug.name}: adapt the catalogue"
    changed = _text_of(bug).replace(bug.old, bug.new)
    readers.infra = lambda name: changed if name == bug.path.name else read(name)
    try:
        yield
    finally:
        readers.infra = read


def _compiled(module: types.ModuleType, bug: Bug) -> list[tuple[types.FunctionType, types.CodeType]]:
    before = _codes_in(bug.path)
    after = dict(_codes(compile(changed_tree(bug), str(bug.path), "exec")))
    functions = dict(_functions(module))
    changed = [name for name in before if name in after and _content(before[name]) != _content(after[name])]
    found = [(functions[name], after[name]) for name in changed if name in functions]
    if not found:
        raise LookupError(f"{bug.name}: the change is in no function of {bug.where}")
    return found


@functools.cache
def _codes_in(path: Path) -> dict[str, types.CodeType]:
    """Of a file as it is: many bugs have the same one."""
    return dict(_codes(compile(path.read_text(encoding="utf-8"), str(path), "exec")))


def _text_of(bug: Bug) -> str:
    return bug.path.read_text(encoding="utf-8")


def _codes(code: types.CodeType) -> Iterator[tuple[str, types.CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _content(code: types.CodeType) -> tuple[object, ...]:
    inner = tuple(_content(constant) if isinstance(constant, types.CodeType) else repr(constant) for constant in code.co_consts)
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
