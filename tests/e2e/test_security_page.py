"""What docs/security.md shows, from nothing to mutual TLS, is what happens: its blocks are typed in, in
their order, in an empty folder.
"""

import os
import re
import shutil
import subprocess

import pytest
from conftest import BUILD, ROOT
from test_readme import pattern_of

# `…` in a line stands for the rest of it.
REST = "…"


def blocks():
    """Kind and text of each: what is typed into a console, and the line that starts the daemon."""
    page = (ROOT / "docs/security.md").read_text()
    return re.findall(r"^```(console|sh)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def expected(answer):
    pattern, _ = pattern_of(answer, {})
    return pattern.replace(re.escape(REST), ".*")


def test_the_way_from_nothing_to_mutual_tls(own_daemon, tmp_path):
    path = f"{BUILD / 'server'}:{BUILD / 'client'}:{os.environ['PATH']}"
    if not shutil.which("grpcurl", path=path):
        pytest.skip("grpcurl is not on the PATH")
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    environment = {**os.environ, "PATH": path, "NO_COLOR": "1"}
    aliases = ""
    for kind, text in blocks():
        if kind == "sh":
            words = [str(tmp_path / word) if word.startswith(("pki/", "access.")) else word
                     for word in text.replace("\\\n", " ").split()[2:]]
            del words[words.index("--grpc-listen") : words.index("--grpc-listen") + 2]
            own_daemon.start(*words)
            continue
        for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            typed, answer = re.fullmatch(r"((?:.*<<END\n(?:.*\n)*?END\n|.*\n))((?:.*\n)*)", command).groups()
            if typed.startswith("alias "):
                aliases = "shopt -s expand_aliases\n" + typed
                continue
            if own_daemon.address:
                typed = typed.replace("localhost:7377", own_daemon.address.replace("127.0.0.1", "localhost"))
            said = subprocess.run(
                ["bash", "-c", aliases + typed],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
            ).stdout
            assert re.fullmatch(expected(answer), said), f"$ {typed}\n{said}\nThe page says:\n{answer}"
