"""The page "Command line": every command and option, from the commands' own help."""

import re

from simulation.cli.commands import app

EXIT_CODES = """
## Exit codes

| code | meaning |
|---|---|
| 0 | the work is done and nothing is wrong |
| 1 | the work is done and something is wrong: a guarantee was violated, a figure differs, a run failed |
| 2 | the work could not be done as asked; one line on stderr says why and what to do |
| 130 | interrupted with Ctrl-C |
| 141 | the reader of the output has gone, as in `steadywire scenarios \\| head` |
"""


def page() -> str:
    """The page as MyST Markdown."""
    text = app.generate_docs(output_format="markdown")
    text = re.sub(r"^# steadywire$", "# Command line", text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^## Table of Contents\n.*?(?=^\*\*Commands)", "", text, count=1, flags=re.MULTILINE | re.DOTALL)
    return text.replace("```console", "```text") + EXIT_CODES
