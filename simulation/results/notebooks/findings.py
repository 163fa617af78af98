"""Parameters that a reader may change, and findings that are checked with them.

    p = parameters("1f0c2e9a", seed=7, clients=500, ci={"clients": 50})
    finding(late < 0.01, f"of {p.clients} clients fewer than one in a hundred is late")

The first argument is a checksum of the values as shipped, so a changed value is detected. With the shipped values a finding that
does not hold is an error. With other values it is printed and nothing fails: the reader asked another question and gets its
answer.

In an environment with STEADYWIRE_NOTEBOOKS=ci the values of `ci` take the place of their namesakes: tests and the documentation
run the notebooks at that size.
"""

import html
import os
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

from reference.protocol.errors import ConfigError

SIZE_VARIABLE = "STEADYWIRE_NOTEBOOKS"


class Parameters(Mapping[str, Any]):
    """Values by name: `p.clients` or `p["clients"]`. is_shipped: whether they are as
    they were shipped. is_small: whether the values of `ci` are in force."""

    def __init__(self, values: Mapping[str, Any], *, is_shipped: bool, is_small: bool = False) -> None:
        self._values = dict(values)
        self.is_shipped, self.is_small = is_shipped, is_small

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("_values", {})  # none yet while a copy is being unpickled
        if name in values:
            return values[name]
        raise AttributeError(f"no parameter is called {name!r}; there are {', '.join(values)}")

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>"
            for name, value in self.items()
        )
        notes = ""
        if not self.is_shipped:
            notes += (
                "<p>Not as shipped: texts and titles speak of the shipped values; a finding that does not hold is no error.</p>"
            )
        if self.is_small:
            notes += f"<p>Small size ({SIZE_VARIABLE}=ci): fewer repetitions than the texts speak of.</p>"
        else:
            notes += (
                f"<p>Full size: a cell may take some minutes. With {SIZE_VARIABLE}=ci in the environment of JupyterLab it takes "
                "seconds, and intervals are wider.</p>"
            )
        return f"<table><tr><th>parameter</th><th>value</th></tr>{rows}</table>{notes}"


_current: list[Parameters] = []
"""The parameters of this process, in which one notebook runs."""


def parameters(shipped: str, /, *, ci: Mapping[str, Any] | None = None, **values: Any) -> Parameters:
    """The parameters of a notebook, for its findings. `shipped`: see `checksum`. Raises ConfigError for a name in `ci` alone."""
    small = dict(ci or {})
    unknown = sorted(set(small) - set(values))
    if unknown:
        raise ConfigError(f"ci names {', '.join(unknown)}, which is no parameter; there are {', '.join(values)}")
    size = os.environ.get(SIZE_VARIABLE, "")
    if size not in ("", "ci"):
        raise ConfigError(f"{SIZE_VARIABLE} is {size!r}; set it to ci, or leave it out for the full size")
    found = Parameters(values | small if size else values, is_shipped=checksum(values, small) == shipped, is_small=bool(size))
    _current[:] = [found]
    return found


def checksum(values: Mapping[str, Any], ci: Mapping[str, Any]) -> str:
    """Of parameters and their smaller values: eight hex digits."""
    return blake2b(repr((sorted(values.items()), sorted(ci.items()))).encode(), digest_size=4).hexdigest()


def finding(condition: object, sentence: str, *, needs_full_size: bool = False) -> None:
    """Say what was found. If it does not hold: AssertionError with the shipped parameters, and one line of text with others.

    `condition`: true if it holds. `needs_full_size`: at the small size it may not hold by chance, so there it is printed and
    never an error. Raises ConfigError before `parameters` was called.
    """
    if not _current:
        raise ConfigError("call `parameters` first: a finding has to know whether the parameters are the shipped ones")
    if condition:
        print(f"Found: {sentence}.")
    elif _current[0].is_shipped and not (needs_full_size and _current[0].is_small):
        raise AssertionError(f"does not hold: {sentence}")
    else:
        print(f"Does not hold with these parameters: {sentence}.")
