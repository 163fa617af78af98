"""The Python examples of the pages that are whole programs run unchanged."""

import subprocess
import sys

import pytest

from tests.docs import document


@pytest.mark.slow
@pytest.mark.parallel
@pytest.mark.parametrize("page", ["studies.md"])
def test_the_examples_run(page: str) -> None:
    examples = document.blocks(document.page(page), "python")
    assert examples
    for example in examples:
        done = subprocess.run(
            [sys.executable, "-c", example], cwd=document.ROOT, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
