"""What the tests of the package share: the daemon, and pages whose examples are run."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]


def blocks(page, language="python"):
    """The code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
