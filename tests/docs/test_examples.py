"""The Python examples of the pages that are whole programs run unchanged."""

import re
import subprocess
import sys

import pytest

from tests.docs import document


@pytest.mark.parametrize("page", ["studies.md"])
def test_the_examples_run(page: str) -> None:
    examples = re.findall(r"^```python\n(.*?)^```", (document.ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE)
    assert examples
    for example in examples:
        done = subprocess.run(
            [sys.executable, "-c", example], cwd=document.ROOT, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
