"""What a test draws does not depend on the modules that its process has imported (`tests/conftest.py`)."""

from hypothesis.internal.conjecture import providers


def test_constants_of_our_modules_are_not_drawn() -> None:
    assert len(providers.HypothesisProvider(None)._local_constants) == 0
