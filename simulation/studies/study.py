"""The study file: the question of a sweep or a tuning, in TOML. (`tuning` has the table [tune].)

    version = 1
    name = "balancer"
    scenario = "load_balancer_cut"            # a name of the library, or a file beside this one
    replications = 20
    figures = ["interruption_p99_s", "attempts"]
    imports = ["our_detector.py"]             # files that register your own policies (simulation.register_*)

    confidence = 0.99                         # of the intervals of a sweep; 0.95 if nothing is said

    scale = 10                                # a tenth of the clients and of the server (`simulation.scenario.scaling`)

    [set]                                     # changes to the scenario, by path
    "server.capacity.accepts_per_s" = 500

    [design]
    kind = "sobol"                            # grid, latin_hypercube, sobol or list
    points = 64

    [parameters]
    "client.policy.base_s" = { low = 0.1, high = 5.0, scale = "log" }
    "client.policy.cap_s" = { values = [5, 10, 30] }

Unknown keys are refused: a misspelt one would silently have no effect.
"""

import importlib.util
import sys
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from reference.protocol.errors import ConfigError
from reference.tables import guess, value_of
from reference.toml_files import parse_toml, read_text
from simulation.scenario import library
from simulation.scenario.scenario import Scenario, load_scenario
from simulation.studies import library as shipped
from simulation.studies.design import Choice, Point, Range, grid, latin_hypercube, sobol
from simulation.studies.experiment import Experiment, Precision
from simulation.studies.tuning.question import Tune

FORMAT_VERSION = 1


class Design(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`kind`: how points are chosen (`design`). `points`: how many, for latin_hypercube and sobol. `seed`: of the choice.
    `list`: the points themselves, for kind "list"."""

    kind: Literal["grid", "latin_hypercube", "sobol", "list"] = "grid"
    points: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    list: tuple[dict[str, Any], ...] = ()


Confidence = Annotated[float, msgspec.Meta(gt=0, lt=1)]


class Until(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As `experiment.Precision`."""

    figure: str
    half_width: Annotated[float, msgspec.Meta(gt=0)]
    relative: bool = False
    replications_max: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 200
    confidence: Confidence | None = None


Scale = Annotated[float, msgspec.Meta(ge=1, le=100_000)]


class Weighted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scenario with its weight among several, its own changes in addition to the study's, and its scale (None: the study's)."""

    scenario: str
    weight: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1.0
    set: dict[str, Any] = {}
    scale: Scale | None = None


class Study(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See the module. `confidence`: of the intervals of a sweep, as `Experiment.confidence`; a tuning has its own in [tune]."""

    version: Literal[1] = 1
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9_.-]+$")]
    about: str = ""
    scenario: str | None = None
    scenarios: tuple[str | Weighted, ...] = ()
    set: dict[str, Any] = {}
    scale: Scale = 1.0
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    replications: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10
    confidence: Confidence | None = None
    figures: tuple[str, ...] = ()
    imports: Annotated[tuple[str, ...], msgspec.Meta(max_length=100)] = ()
    parameters: dict[str, dict[str, Any]] = {}
    design: Design = Design()
    until: Until | None = None
    tune: Tune | None = None

    def __post_init__(self) -> None:
        if (self.scenario is None) == (not self.scenarios):
            raise ConfigError("a study names one `scenario`, or several `scenarios`")

    def scenarios_of(self, folder: Path) -> tuple[Scenario, ...]:
        """The scenarios with the study's changes; `folder`: of the files that it names. Raises ConfigError."""
        return tuple(named_scenario(each.scenario, folder).replace(self.set | each.set) for each in self._each)

    @property
    def weights(self) -> list[float]:
        """Of the scenarios, in their order."""
        return [each.weight for each in self._each]

    @property
    def scales(self) -> list[float]:
        """Of the scenarios, in their order."""
        return [self.scale if each.scale is None else each.scale for each in self._each]

    @property
    def _each(self) -> list[Weighted]:
        return [Weighted(each) if isinstance(each, str) else each for each in self.scenarios or (self.scenario or "",)]

    @property
    def tuning(self) -> Tune:
        """Raises ConfigError for a study without [tune]."""
        if self.tune is None:
            raise ConfigError("the study has no [tune] table: say which figures are the objectives")
        return self.tune

    def points(self) -> list[Point]:
        """The design. Raises ConfigError."""
        ranges = parameters_of(self.parameters)
        match self.design.kind:
            case "list":
                if ranges or not self.design.list:
                    raise ConfigError('design.kind = "list" needs design.list, and no [parameters]')
                return [dict(point) for point in self.design.list]
            case "grid":
                return grid(ranges)
            case kind:
                if self.design.points is None:
                    raise ConfigError(f'design.kind = "{kind}" needs design.points, the number of points')
                choose = latin_hypercube if kind == "latin_hypercube" else sobol
                return choose(ranges, points=self.design.points, seed=self.design.seed)

    def experiment(self, folder: Path) -> Experiment:
        """The experiment that answers it. Raises ConfigError."""
        scenarios = self.scenarios_of(folder)
        if len(scenarios) > 1:
            raise ConfigError("a sweep is over one scenario; several `scenarios` are for a tuning")
        return Experiment(
            scenarios[0],
            self.points(),
            self.figures,
            self.replications,
            self.seed,
            None if self.until is None else Precision(**msgspec.structs.asdict(self.until)),
            self.scales[0],
            confidence=self.confidence,
        )


def load_study(path: Path) -> Study:
    """Read a study's file, or one of the library by its name, and import the files that it names: they register your own
    policies. Raises ConfigError with one line that says where, what and what to do."""
    if not path.exists() and not path.suffix and path.name == str(path):
        return parse_study(shipped.text_of(path.name))
    try:
        study = parse_study(read_text(path))
        for name in study.imports:
            import_file(path.parent / name)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return study


def import_file(path: Path) -> None:
    """Import a Python file by its path, once per process. Raises ConfigError."""
    name = f"steadywire_import_{blake2b(str(path.resolve()).encode(), digest_size=8).hexdigest()}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"imports: there is no Python file {path}")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # any exception of the user's file
        del sys.modules[name]
        raise ConfigError(f"imports: {path} raised {type(error).__name__}: {error}") from error


def parse_study(text: str) -> Study:
    """A study from TOML. Raises ConfigError."""
    table = parse_toml(text)
    if table.get("version") != FORMAT_VERSION:
        raise ConfigError(f"needs `version = {FORMAT_VERSION}` at its top, this one has {table.get('version')!r}")
    study = value_of(table, Study)
    parameters_of(study.parameters)
    return study


def named_scenario(named: str, folder: Path) -> Scenario:
    """A scenario by its name in the library, or its file, relative to `folder`. Raises ConfigError."""
    if named in library.names():
        return library.load(named)
    if Path(named).suffix:
        return load_scenario(folder / named)
    raise ConfigError(f"no scenario is called {named!r}; {guess(named, library.names())}; or name a file")


def parameters_of(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Range | Choice]:
    """The parameters of a study by path: `{ low, high, ... }` or `{ values = [...] }`. Raises ConfigError."""
    found: dict[str, Range | Choice] = {}
    for path, table in tables.items():
        kind: type[Range | Choice] = Choice if "values" in table else Range
        found[path] = value_of(table, kind, f"parameters.{path}")
    return found
