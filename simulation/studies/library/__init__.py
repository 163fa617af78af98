"""Studies that come with steadywire: `steadywire tune defaults` reruns the one behind the shipped defaults.

names()             all of them, in order
text_of(name)       the file
"""

from importlib import resources

from reference.protocol.errors import ConfigError

_ENDING = ".toml"


def names() -> tuple[str, ...]:
    """The names of all shipped studies, sorted."""
    files = (item.name for item in resources.files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(_ENDING) for name in files if name.endswith(_ENDING)))


def text_of(name: str) -> str:
    """A study's file. Raises ConfigError for a name that is not in the library."""
    if name not in names():
        raise ConfigError(f"no study is called {name!r}; there are {', '.join(names())}; or name a file that ends in .toml")
    return (resources.files(__name__) / f"{name}{_ENDING}").read_text(encoding="utf-8")
