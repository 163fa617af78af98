"""A case: a setup and a schedule with a name, as a readable TOML file.

    version = 1
    name = "late hello"
    about = "a hello that is held up ended the session for good"
    schedule = [
      "answer opening=0 how=open",
      "wait ms=5000 alarms=exact",
    ]
    [setup]
    users = ["ann", "ben"]
    [setup.server]
    hello_timeout_s = 2.0

`setup` has only values that differ from the defaults. A step is its name and its fields (`simulation.adversary.steps`).
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.errors import ConfigError
from reference.tables import value_of
from reference.toml_files import parse_toml, read_text
from simulation.adversary.ground import Setup
from simulation.adversary.steps import Step
from simulation.scenario.text import NEVER, to_toml

FORMAT_VERSION: Literal[1] = 1
STEPS_MAX = 100_000


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See the module. `found_by`: the property or the search that found it."""

    version: Literal[1] = FORMAT_VERSION
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
    about: str = ""
    found_by: str = ""
    schedule: Annotated[tuple[Step, ...], msgspec.Meta(max_length=STEPS_MAX)]
    setup: Setup = Setup()

    def to_toml(self) -> str:
        """The text of the file; `parse_case` reads it back."""
        head = {"version": self.version, "name": self.name, "about": self.about, "found_by": self.found_by}
        text = to_toml({key: value for key, value in head.items() if value != ""})
        lines = "".join(f'  "{_step_text(step)}",\n' for step in self.schedule)
        text += f"schedule = [\n{lines}]\n"
        differing = _differing(self.setup)
        return text + ("\n" + to_toml({"setup": differing}) if differing else "")


def load_case(path: Path) -> Case:
    """Read a case's file. Raises ConfigError with one line that says where, what and what to do."""
    text = read_text(path)
    try:
        return parse_case(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_case(text: str) -> Case:
    """A case from TOML. Raises ConfigError."""
    table = parse_toml(text)
    lines = table.get("schedule")
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ConfigError('needs `schedule = [...]`, a list of steps such as "calm ms=100"')
    client = table.get("setup", {}).get("client", {}) if isinstance(table.get("setup", {}), dict) else {}
    if isinstance(client, dict) and client.get("fallback_after_failures") == NEVER:
        client["fallback_after_failures"] = None
    table["schedule"] = [_step_of(line, number) for number, line in enumerate(lines)]
    return value_of(table, Case)


def _step_text(step: Step) -> str:
    fields = msgspec.to_builtins(step)
    words = [str(fields.pop("step"))]
    for key, value in fields.items():
        words.append(f"{key}={str(value).lower() if isinstance(value, bool) else str(value).replace(' ', '_')}")
    return " ".join(words)


def _step_of(line: str, number: int) -> Step:
    name, *pairs = line.split() or [""]
    fields: dict[str, str] = {"step": name}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise ConfigError(f"schedule[{number}] {line!r}: {pair!r} is not of the form name=value")
        fields[key] = value.replace("_", " ") if key == "alarms" else value
    step: Step = value_of(fields, Step, f"schedule[{number}] {line!r}", strict=False)
    return step


def _differing(value: msgspec.Struct) -> dict[str, Any]:
    """The fields that differ from the defaults, as TOML values."""
    usual = type(value)()
    differing: dict[str, Any] = {}
    for field in msgspec.structs.fields(value):
        own = getattr(value, field.name)
        if own == getattr(usual, field.name):
            continue
        if isinstance(own, ClientConfig | ServerConfig):
            differing[field.name] = _differing(own)
        elif isinstance(own, msgspec.Struct):  # a policy: as a whole, because its kind is a part of it
            differing[field.name] = {key: each for key, each in msgspec.to_builtins(own).items() if each is not None}
        else:
            differing[field.name] = NEVER if own is None else own
    return differing
