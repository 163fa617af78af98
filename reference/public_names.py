"""Public names of a package that are imported on first use (PEP 562), so that the package itself costs nothing to import."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from reference.extras import advice


def imported_on_use(package: dict[str, Any], homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package. `package`: its globals(). `homes`: where each name lives, as module:name,
    or module alone for a module."""

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}")
        module, _, attribute = homes[name].partition(":")
        try:
            value: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            said = advice(error)
            if said is None:
                raise
            raise ModuleNotFoundError(f"{package['__name__']}.{name}: {said}", name=error.name) from error
        package[name] = value = getattr(value, attribute) if attribute else value
        return value

    return get, lambda: sorted(homes)
