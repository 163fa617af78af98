"""A library of ready scenarios, each based on a real problem, each with two sentences about what to look for.

    names()             all of them, in order
    text_of(name)       the file: TOML, with every parameter that is not a default
    load(name)          the scenario

The files are in this folder; `steadywire scenarios` lists them, `steadywire simulate NAME` runs one.
"""

from importlib import resources
from pathlib import Path

from reference.protocol.errors import ConfigError
from reference.tables import guess
from simulation.scenario.scenario import Scenario, load_scenario, parse_scenario

_ENDING = ".toml"


def names() -> tuple[str, ...]:
    """The names of all scenarios of the library, sorted."""
    files = (item.name for item in resources.files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(_ENDING) for name in files if name.endswith(_ENDING)))


def text_of(name: str) -> str:
    """A scenario's file. Raises ConfigError for a name that is not in the library."""
    if name not in names():
        raise ConfigError(f"no scenario is called {name!r}; {guess(name, names())}")
    return (resources.files(__name__) / f"{name}{_ENDING}").read_text(encoding="utf-8")


def find(named: str | Path) -> Scenario:
    """A scenario by its file, or by its name in the library. Raises ConfigError with one line that says what to do."""
    path = Path(named)
    if not path.exists() and str(named) == path.name and not path.suffix:
        return load(str(named))
    return load_scenario(path)


def load(name: str) -> Scenario:
    """A scenario of the library. Raises ConfigError."""
    return parse_scenario(text_of(name))
