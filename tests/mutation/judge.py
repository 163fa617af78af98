"""Judges mutation testing: compares the results of `mutmut run` in `mutants/` with the verdict on each survivor in `judged.toml`.

    mutmut run                              change the protocol in one place at a time, and run the tests (settings: pyproject)
    python -m tests.mutation.judge          the score by module; fails when a mutant has survived that nobody has judged
    python -m tests.mutation.judge --open   and shows those as entries for judged.toml, without a verdict
    python -m tests.mutation.judge --again  forget the results of survivors, so that the next `mutmut run` tries them anew

A mutant's own name changes with every line that is added above it. So a judgement names the function and the change itself: the
line that goes and the line that comes, or a pattern for both where many changes are one matter. All commands run in the root of
a working copy; a copy of its own is best, since a run takes the tests as they are at its start.
"""

import argparse
import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import msgspec

JUDGED = Path(__file__).parent / "judged.toml"
RESULTS = Path("mutants/reference/protocol")
STATISTICS = Path("mutants/mutmut-stats.json")
SURVIVED, NO_TESTS = (0,), (5, 33)
KILLED = (1, 3)
TIMEOUT = (-24, 24, 36, 152, 255)

Verdict = Literal["equivalent", "wording", "assertion", "speed", "elsewhere", "weakness"]
"""equivalent: behaves the same for every caller. wording: a message says the same in other letters. assertion: the words of an
assert against our own bugs, which no test can reach. speed: the same answers, with more work or memory. elsewhere: another suite
notices it (`why` names the test). weakness: a test is missing."""


class Judgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`where`: module.function or module.Class.method; of `changes`, each is the line that goes and the line that comes."""

    where: str
    verdict: Verdict
    why: str
    changes: tuple[tuple[str, str], ...]

    def covers(self, mutant: "Mutant") -> bool:
        return self.where == mutant.where and (mutant.goes, mutant.comes) in self.changes


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many changes that are one matter: `goes` and `comes` are patterns for whole lines; {name} in `comes` is what the group of
    that name has matched in `goes`. `comes` is not case-sensitive."""

    goes: str
    comes: str
    verdict: Verdict
    why: str
    where: str = ".*"

    def covers(self, mutant: "Mutant") -> bool:
        found = re.fullmatch(self.where, mutant.where) and re.fullmatch(self.goes, mutant.goes)
        if not found:
            return False
        comes = re.sub(r"\{(\w+)\}", lambda name: re.escape(found[name[1]]), self.comes)
        return re.fullmatch(comes, mutant.comes, re.IGNORECASE) is not None


class Judged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    family: tuple[Family, ...] = ()
    judged: tuple[Judgement, ...] = ()


@dataclass(frozen=True)
class Mutant:
    """One change: where, what became of it (an exit code of pytest or of mutmut), and the two lines."""

    name: str
    where: str
    exit_code: int | None
    goes: str = ""
    comes: str = ""

    @property
    def has_survived(self) -> bool:
        return self.exit_code in SURVIVED or self.exit_code in NO_TESTS

    @property
    def module(self) -> str:
        """The module below `reference.protocol`, with dots."""
        return self.name.removeprefix("reference.protocol.").partition(".x")[0]


def mutants() -> Iterator[Mutant]:
    """All of the last run. The lines are looked up for survivors only."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    for path in sorted(RESULTS.rglob("*.py.meta")):
        module = str(path.relative_to(RESULTS)).removesuffix(".py.meta").replace("/", ".")
        for name, exit_code in json.loads(path.read_text())["exit_code_by_key"].items():
            function = name.split(f"{module}.", 1)[1].rpartition("__mutmut_")[0]
            function = function.removeprefix("x_") if "ǁ" not in function else function.removeprefix("xǁ").replace("ǁ", ".")
            mutant = Mutant(name, f"{module}.{function}", exit_code)
            if mutant.has_survived:
                diff = get_diff_for_mutant(name, path=f"reference/protocol/{module.replace('.', '/')}.py").splitlines()[3:]
                goes, comes = (" ".join(line[1:].strip() for line in diff if line[0] == sign) for sign in "-+")
                mutant = Mutant(name, mutant.where, exit_code, goes, comes)
            yield mutant


def load_judged() -> Judged:
    return msgspec.convert(tomllib.loads(JUDGED.read_text(encoding="utf-8")), Judged)


def verdict_of(mutant: Mutant, judged: Judged) -> Verdict | None:
    for each in (*judged.judged, *judged.family):
        if each.covers(mutant):
            return each.verdict
    return None


def table_of(found: list[Mutant], judged: Judged) -> str:
    """The score by module as a Markdown table."""
    rows = ["| module | mutants | killed | timeout | survived | of these judged |", "|---|---:|---:|---:|---:|---:|"]
    modules = sorted({mutant.module for mutant in found})
    for name in [*modules, "all"]:
        those = [mutant for mutant in found if name in (mutant.module, "all")]
        survivors = [mutant for mutant in those if mutant.has_survived]
        said = sum(verdict_of(mutant, judged) is not None for mutant in survivors)
        killed, timeout = (sum(mutant.exit_code in codes for mutant in those) for codes in (KILLED, TIMEOUT))
        share = f"{len(survivors)} ({len(survivors) / len(those):.1%})"
        rows.append(f"| {name} | {len(those)} | {killed} | {timeout} | {share} | {said} |")
    return "\n".join(rows)


def forget_survivors() -> int:
    """Let the next run try them anew, and look anew which test calls what."""
    STATISTICS.unlink(missing_ok=True)
    count = 0
    for path in RESULTS.rglob("*.py.meta"):
        meta = json.loads(path.read_text())
        for name, exit_code in meta["exit_code_by_key"].items():
            if exit_code in SURVIVED or exit_code in NO_TESTS:
                meta["exit_code_by_key"][name] = None
                count += 1
        path.write_text(json.dumps(meta, indent=4))
    return count


def show_open(those: list[Mutant]) -> None:
    for where in sorted({mutant.where for mutant in those}):
        print(f'[[judged]]\nwhere = {json.dumps(where)}\nverdict = ""\nwhy = ""\nchanges = [')
        for mutant in those:
            if mutant.where == where:
                print(f"    [{json.dumps(mutant.goes)}, {json.dumps(mutant.comes)}],")
        print("]\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Hold the survivors of the last mutmut run against judged.toml.")
    parser.add_argument("--open", action="store_true", help="show what is not judged")
    parser.add_argument("--again", action="store_true", help="forget the results of survivors")
    chosen = parser.parse_args()
    if chosen.again:
        print(f"{forget_survivors()} results forgotten")
        return 0
    found, judged = list(mutants()), load_judged()
    if not found:
        print("no results in mutants/: run mutmut first")
        return 1
    survivors = [mutant for mutant in found if mutant.has_survived]
    undecided = [mutant for mutant in survivors if verdict_of(mutant, judged) is None]
    not_run = [mutant for mutant in found if mutant.exit_code is None]
    idle = [each for each in (*judged.judged, *judged.family) if not any(each.covers(mutant) for mutant in survivors)]
    if chosen.open:
        show_open(undecided)
    print(table_of(found, judged))
    verdicts = Counter(verdict_of(mutant, judged) for mutant in survivors)
    print("\nverdicts: " + ", ".join(f"{verdict} {verdicts[verdict]}" for verdict in get_args(Verdict) if verdicts[verdict]))
    for each in idle:
        print(f"judged, but nothing like it survived: {each.where}: {each.why}")
    odd = Counter(mutant.exit_code for mutant in found if mutant.exit_code not in (*KILLED, *TIMEOUT, *SURVIVED, *NO_TESTS, None))
    if odd:
        print(f"ended otherwise: {dict(odd)}")
    if not_run:
        print(f"not run: {len(not_run)}")
    if undecided:
        print(f"not judged: {len(undecided)} (--open shows them)")
    return 1 if undecided or not_run or odd else 0


if __name__ == "__main__":
    sys.exit(main())
