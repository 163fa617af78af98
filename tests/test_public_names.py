"""The public names of the packages exist, are documented, and are imported only when used."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

FACES = ("simulation", "simulation.results", "simulation.studies", "simulation.testing", "reference.client", "reference.server")
ON_USE = tuple(face for face in FACES if face != "simulation.testing")
"""Those that import a name when it is first used."""


@pytest.mark.parametrize("face", FACES)
def test_every_public_name_exists_and_is_documented(face: str) -> None:
    module = importlib.import_module(face)
    assert module.__all__ == sorted(module.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{face}.{name} has no docstring"


@pytest.mark.parametrize("face", ON_USE)
def test_a_name_means_what_a_type_checker_reads(face: str) -> None:
    module = importlib.import_module(face)
    (typed,) = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.If)]
    read = {alias.asname or alias.name: (node.module, alias.name) for node in typed.body for alias in node.names}
    assert sorted(read) == sorted(module.__all__)
    for name, (home, there) in read.items():
        owner = importlib.import_module(home)
        value = getattr(owner, there, None) or importlib.import_module(f"{home}.{there}")
        assert getattr(module, name) is value, f"{face}.{name} is not {home}.{there}"


@pytest.mark.parametrize("face", ON_USE)
def test_no_module_takes_the_place_of_a_public_name(face: str) -> None:
    """To import a submodule binds its name in the package, so a function of the same name is gone from then on."""
    module = importlib.import_module(face)
    assert {name for _, name, _ in pkgutil.iter_modules(module.__path__)} & set(module.__all__) == set()


def test_an_unknown_name_is_refused() -> None:
    simulation = importlib.import_module("simulation")
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = simulation.no_such_name
    assert set(simulation.__all__) == set(dir(simulation))


def test_the_face_of_the_simulator_imports_nothing_until_it_is_asked() -> None:
    heavy = {"matplotlib", "pandas", "scipy", "sqlalchemy"}
    code = f"import sys, simulation.cli.commands, simulation.results; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
