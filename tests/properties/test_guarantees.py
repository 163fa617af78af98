"""The guarantees G1 to G12, asked of real sessions and a real run over the hostile link (depth a); G13 has a page of its own.

Every test plays the same kind of world; they differ in what they judge, so a name in the report says what is broken. An exception
from a machine, or an alarm that rings for ever, fails them all.
"""

from hypothesis import given

from simulation.adversary.ground import Setup
from simulation.adversary.steps import Step
from simulation.testing import schedules, setups

from .judging import judge_link

worlds = given(setup=setups(), schedule=schedules())


@worlds
def test_g1_order(setup: Setup, schedule: list[Step]) -> None:
    """What an application is given has rising numbers without a gap, and each event is the one that the log has there."""
    judge_link("test_g1_order", "G1", setup, schedule)


@worlds
def test_g2_no_silence(setup: Setup, schedule: list[Step]) -> None:
    """The position moves by events, or by a snapshot or reset that the application is told of, and never otherwise."""
    judge_link("test_g2_no_silence", "G2", setup, schedule)


@worlds
def test_g3_once(setup: Setup, schedule: list[Step]) -> None:
    """A publish is in an epoch's log at most once, and not at all if it failed as never arrived."""
    judge_link("test_g3_once", "G3", setup, schedule)


@worlds
def test_g4_same_answer(setup: Setup, schedule: list[Step]) -> None:
    """Whoever sends a publish again gets the first answer again, whatever restarts lie between."""
    judge_link("test_g4_same_answer", "G4", setup, schedule)


@worlds
def test_g5_fold(setup: Setup, schedule: list[Step]) -> None:
    """A snapshot is the fold of all before it, and what each application has folded is the state of the log."""
    judge_link("test_g5_fold", "G5", setup, schedule)


@worlds
def test_g6_recovery(setup: Setup, schedule: list[Step]) -> None:
    """When faults stop, everyone is connected and at the head within the bound, and then back on WebSocket."""
    judge_link("test_g6_recovery", "G6", setup, schedule)


@worlds
def test_g7_bounds(setup: Setup, schedule: list[Step]) -> None:
    """No queue, table or log exceeds its limit after any step."""
    judge_link("test_g7_bounds", "G7", setup, schedule)


@worlds
def test_g8_sender_fifo(setup: Setup, schedule: list[Step]) -> None:
    """One client's publishes are sequenced in the order in which it made them."""
    judge_link("test_g8_sender_fifo", "G8", setup, schedule)


@worlds
def test_g9_takeover(setup: Setup, schedule: list[Step]) -> None:
    """A connection that lost its session neither delivers nor publishes."""
    judge_link("test_g9_takeover", "G9", setup, schedule)


@worlds
def test_g10_manners(setup: Setup, schedule: list[Step]) -> None:
    """Nobody comes back before the time that the server asked for."""
    judge_link("test_g10_manners", "G10", setup, schedule)


@worlds
def test_g11_durability(setup: Setup, schedule: list[Step]) -> None:
    """What is accepted or delivered is in the store by then, and stays there."""
    judge_link("test_g11_durability", "G11", setup, schedule)


@worlds
def test_g12_lanes(setup: Setup, schedule: list[Step]) -> None:
    """Everyone ends with the server's view of who is here and where their cursors are."""
    judge_link("test_g12_lanes", "G12", setup, schedule)


@worlds
def test_every_publish_has_one_outcome(setup: Setup, schedule: list[Step]) -> None:
    """Accepted or failed, once, for each ticket; nothing waits for ever."""
    judge_link("test_every_publish_has_one_outcome", "outcome", setup, schedule)
