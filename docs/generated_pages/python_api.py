"""The page "Python API": the public names of the public modules, each with its docstring (Sphinx' autodoc)."""

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

MODULES = {
    "reference.client": "connect to a server, async or blocking",
    "reference.server": "run a server inside a program of your own",
    "simulation": "scenarios, runs, guarantees, sweeps",
    "simulation.results": "tidy frames and figures of a run",
    "simulation.studies": "experiments, designs, intervals, tuning",
    "simulation.testing": "Hypothesis strategies and state machines (needs the extra `test`)",
}


def page() -> str:
    """The page as MyST Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from ("# Python API", "", "What may be imported. Everything that is not named here is internal.", "")
    yield from ("| import from | what for |", "|---|---|")
    yield from (f"| [`{module}`](#{_anchor(module)}) | {what_for} |" for module, what_for in MODULES.items())
    seen: dict[int, str] = {}
    for module in MODULES:
        yield from (
            "",
            f"({_anchor(module)})=",
            f"## {module}",
            "",
            "```{eval-rst}",
            f".. automodule:: {module}",
            "   :no-members:",
            "```",
        )
        repeated = []
        for name in sorted(importlib.import_module(module).__all__, key=str.lower):
            value = getattr(importlib.import_module(module), name)
            if inspect.ismodule(value):
                continue
            if id(value) in seen and callable(value):
                repeated.append(f"`{name}` (see `{seen[id(value)]}`)")
                continue
            seen[id(value)] = module
            yield from (
                "",
                f"### {name}",
                "",
                "```{eval-rst}",
                f".. {_directive(value)}:: {module}.{name}",
                *_options(value),
                "```",
            )
        if repeated:
            yield from ("", f"Also here: {', '.join(repeated)}.")


def _directive(value: Any) -> str:
    if inspect.isclass(value):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    return "autofunction" if callable(value) else "autodata"


def _options(value: Any) -> list[str]:
    if inspect.isclass(value):
        return ["   :members:"]
    return [] if callable(value) else ["   :no-value:"]


def _anchor(module: str) -> str:
    return module.replace(".", "-")
