"""The judgements are about the present code: each names a function and a line that exist."""

import ast
from pathlib import Path

import pytest

from .judge import Family, Judgement, Mutant, load_judged

PROTOCOL = Path(__file__).parents[2] / "reference" / "protocol"


def text_of(where: str) -> str:
    """A function in one line, as judgements quote it."""
    path, names = PROTOCOL, where.split(".")
    while not path.is_file():
        path = path / names[0] if (path / names[0]).is_dir() else path / f"{names[0]}.py"
        names = names[1:]
    source = path.read_text(encoding="utf-8")
    body = ast.parse(source).body
    for name in names:
        node = next(each for each in body if isinstance(each, ast.ClassDef | ast.FunctionDef) and each.name == name)
        body = node.body
    return " ".join(line.strip() for line in source.splitlines()[node.lineno - 1 : node.end_lineno])


@pytest.mark.parametrize("judgement", load_judged().judged, ids=lambda judgement: judgement.where)
def test_what_was_judged_still_stands_there(judgement: Judgement) -> None:
    gone = [goes for goes, _ in judgement.changes if goes not in text_of(judgement.where)]
    assert not gone, "judge again, or take the entry out"
    assert judgement.why


def test_a_judgement_is_about_one_change_of_one_function() -> None:
    judgement = Judgement("outbox.Outbox.add", "equivalent", "so", (("a = 1", "a = 2"),))
    assert judgement.covers(Mutant("", "outbox.Outbox.add", 0, "a = 1", "a = 2"))
    assert not judgement.covers(Mutant("", "outbox.Outbox.add", 0, "a = 1", "a = None"))
    assert not judgement.covers(Mutant("", "outbox.Outbox.clear", 0, "a = 1", "a = 2"))


def test_a_family_is_about_every_change_of_one_form() -> None:
    family = Family(
        goes='assert (?P<what>.*), "(?P<words>.*)"', comes='assert {what}, "(XX)?{words}(XX)?"', verdict="assertion", why="so"
    )
    goes = 'assert x > 1, "too few"'
    for comes, covered in (('"XXtoo fewXX"', True), ('"TOO FEW"', True), ('"many"', False)):
        assert family.covers(Mutant("", "a.f", 0, goes, f"assert x > 1, {comes}")) is covered
    assert not family.covers(Mutant("", "a.f", 0, goes, 'assert x >= 1, "too few"'))
