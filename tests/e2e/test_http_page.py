"""What docs/http.md shows is what happens: its blocks are typed in, in their order."""

import os
import re
import shutil
import subprocess

import pytest
from conftest import BUILD, ROOT
from test_readme import ID, pattern_of
from test_security_page import REST

PAGE = ROOT / "docs/http.md"


def test_what_the_page_shows_is_what_happens(own_daemon, tmp_path):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    (tmp_path / ".curlrc").write_text("silent\nshow-error\n")  # As on a terminal.
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{BUILD / 'server'}:{os.environ['PATH']}"}
    ids = {}
    typed_in = 0
    for kind, text in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if kind == "sh":
            program, verb, *options = text.split()
            assert (program, verb) == ("sessiond", "serve")
            own_daemon.start(*options)
            continue
        assert kind == "console", f"Nothing runs a block of {kind}."
        for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            typed, answer = command.split("\n", 1)
            for shown in re.findall(ID, typed):
                typed = typed.replace(shown, ids[shown])
            said = subprocess.run(
                ["bash", "-c", typed.replace("127.0.0.1:8377", own_daemon.admin)],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=60,
            ).stdout.replace("\r", "")
            if said and not said.endswith("\n"):
                said += "\n"  # A terminal shows its prompt there.
            pattern, new_ids = pattern_of(answer, ids)
            found = re.fullmatch(pattern.replace(re.escape(REST), ".*"), said)
            assert found, f"$ {typed}\n{said}\nThe page says:\n{answer}"
            ids.update(zip(new_ids, found.groups()))
            typed_in += 1
    assert typed_in == 8
