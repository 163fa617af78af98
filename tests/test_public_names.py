"""The public names of the packages exist, are documented, and cost nothing before they are used."""

import importlib
import inspect
import subprocess
import sys

import pytest

FACES = ("simulation", "simulation.results", "simulation.studies", "simulation.testing", "reference.client")


@pytest.mark.parametrize("face", FACES)
def test_every_public_name_exists_and_is_documented(face: str) -> None:
    module = importlib.import_module(face)
    assert module.__all__ == sorted(module.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{face}.{name} has no docstring"


def test_an_unknown_name_is_refused() -> None:
    simulation = importlib.import_module("simulation")
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = simulation.no_such_name
    assert set(simulation.__all__) == set(dir(simulation))


def test_the_face_of_the_simulator_imports_nothing_until_it_is_asked() -> None:
    heavy = {"matplotlib", "pandas", "scipy", "sqlalchemy"}
    code = f"import sys, simulation.cli, simulation.results; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
