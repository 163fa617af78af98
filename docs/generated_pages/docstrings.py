"""Docstrings for Sphinx: plain text with indented blocks and code spans becomes reStructuredText that means the same."""

import re
from collections.abc import Iterable, Iterator

_MADE_DEFAULT = re.compile(r"= ([A-Z]\w*)\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))+\)")
_CODE_SPAN = re.compile(r"(`+[^`\n]+`+)")


def as_restructured(lines: Iterable[str]) -> Iterator[str]:
    """Indented blocks become literal blocks, `code` becomes ``code``, and marks that mean something in reST are escaped."""
    is_block = is_after_blank = False
    for line in lines:
        if not line.strip():
            is_after_blank = True
            yield ""
            continue
        if line.startswith(" ") and is_after_blank and not is_block:
            is_block = True
            yield from ("::", "")
        elif not line.startswith(" ") and is_block:
            is_block = False
        yield line if is_block else _inline(line.strip())
        is_after_blank = False


def short_signature(signature: str | None) -> str | None:
    """A signature without limits of numbers and without the fields of default values: the scenario format has both."""
    if signature is None:
        return None
    signature = re.sub(r"Annotated\[([^,\[\]]+(?:\[[^\]]*\])?), msgspec\.Meta\([^()]*\)\]", r"\1", signature)
    return _MADE_DEFAULT.sub(r"= \1(...)", signature)


def _inline(line: str) -> str:
    pieces = _CODE_SPAN.split(line)
    return "".join(f"``{piece.strip('`')}``" if piece.startswith("`") else re.sub(r"([*|_])", r"\\\1", piece) for piece in pieces)
