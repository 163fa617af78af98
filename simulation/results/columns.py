"""How a tidy frame is made: columns of known types, whether there are rows or not."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

_TEXT = {"str": "object"}


def rows_of(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """Its rows, each by the names of the columns."""
    return frame.to_dict("records")


def framed(rows: Iterable[dict[str, Any]], types: dict[str, str]) -> pd.DataFrame:
    """A frame with these columns and types; a type is one of pandas, or "str"."""
    frame = pd.DataFrame(list(rows), columns=list(types))
    return frame.astype({name: _TEXT.get(kind, kind) for name, kind in types.items()})
