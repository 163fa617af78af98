"""What every step has in common: it is a frozen value that can be written into a case's file and read back."""

import re

import msgspec


def _name(class_name: str) -> str:
    """`StallHttp` is `stall_http` in a file."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", class_name).lower()


class StepBase(msgspec.Struct, frozen=True, tag_field="step", tag=_name, forbid_unknown_fields=True):
    """One thing that happens. `do` lets it happen in a world; where nothing is there for it, it does nothing."""
