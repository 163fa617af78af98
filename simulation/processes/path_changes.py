"""Changes of a network path as people write them: in a test (`fixtures`), to the proxy's control API, on its command line."""

from collections.abc import Mapping
from typing import Any

import msgspec

from reference.protocol.errors import ConfigError
from reference.tables import guess, value_of
from simulation.scenario.faults import Path


def changed_path(path: Path, changes: Mapping[str, Any]) -> Path:
    """`path` with these changes merged into it, as in RFC 7396: None restores a default. A part that names another kind replaces
    the whole part; a number as `loss` is the probability for each packet. Raises ConfigError."""
    for name in changes:
        if name not in Path.__struct_fields__:
            raise ConfigError(f"a path has no {name!r}; {guess(name, Path.__struct_fields__)}")
    changed: Path = value_of(_merged(msgspec.to_builtins(path), msgspec.to_builtins(with_loss_table(changes))), Path)
    return changed


def with_loss_table(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The same changes, with a number as `loss` written out as the table that it means."""
    loss = changes.get("loss")
    is_number = isinstance(loss, int | float) and not isinstance(loss, bool)
    return {**changes, "loss": {"kind": "bernoulli", "probability": loss}} if is_number else dict(changes)


def _merged(table: Any, changes: Any) -> Any:
    if not isinstance(changes, dict):
        return changes
    kept = dict(table) if isinstance(table, dict) else {}
    if isinstance(changes.get("kind"), str) and changes["kind"] != kept.get("kind"):
        kept = {}
    for name, value in changes.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = _merged(kept.get(name), value)
    return kept
