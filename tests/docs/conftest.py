"""Lets the tests import what the documentation's build imports (docs/conf.py)."""

import sys

from tests.docs import document

sys.path.append(str(document.ROOT / "docs"))
