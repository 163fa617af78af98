"""Building of tidy frames: columns of known types, also without rows."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

_TEXT = {"str": "object"}


def rows_of(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """Its rows, each a dict by column name."""
    return frame.to_dict("records")


def framed(rows: Iterable[dict[str, Any]], types: dict[str, str]) -> pd.DataFrame:
    """A frame with these columns and types; a type is one of pandas, or "str"."""
    frame = pd.DataFrame(list(rows), columns=list(types))
    return frame.astype({name: _TEXT.get(kind, kind) for name, kind in types.items()})
