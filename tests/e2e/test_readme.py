"""What README.md shows is what happens: its console blocks are typed in, and their answers compared.

A line `…` stands for any lines. Times and ages are any; an id that appears for the first time in an
answer is any, and from then on the one that was answered.
"""

import os
import re
import shutil
import subprocess

import pytest
from conftest import BUILD, ROOT

ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"
AGE = r"\d+(?:ms|s|m|h|d)"


def console_blocks():
    """Each block as pairs of a command and its answer."""
    text = (ROOT / "README.md").read_text()
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        commands = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
        yield [tuple(command.split("\n", 1)) for command in commands]


def pattern_of(answer, ids):
    """The expected answer as a pattern, and the ids in it that are not known before."""
    new_ids = []
    pattern = ""
    for part in re.split(rf"({ID}|{TIME}|(?:(?<=[( ])){AGE}\b|^ *…\n)", answer, flags=re.MULTILINE):
        if part.strip() == "…":
            pattern += r"(?:.*\n)*?"
        elif re.fullmatch(TIME, part):
            pattern += TIME
        elif re.fullmatch(AGE, part):
            pattern += AGE
        elif re.fullmatch(ID, part) and part not in ids:
            ids[part] = None
            new_ids.append(part)
            pattern += f"({ID})"
        elif part in new_ids:
            pattern += rf"\{new_ids.index(part) + 1}"
        else:
            pattern += re.escape(ids.get(part, part))
    return pattern, new_ids


@pytest.mark.parametrize("program", ["sessionctl", "grpcurl"])
def test_what_the_readme_shows_is_what_happens(own_daemon, program):
    path = f"{BUILD / 'client'}:{os.environ['PATH']}"
    if not shutil.which(program, path=path):
        pytest.skip(f"{program} is not on the PATH")
    own_daemon.start()  # Lists show what is created here, and nothing else.
    environment = {**os.environ, "PATH": path, "SESSIOND_SERVER": own_daemon.address, "NO_COLOR": "1"}
    blocks = [block for block in console_blocks() if block[0][0].startswith(program)]
    assert blocks
    ids = {}
    for command, expected in (pair for block in blocks for pair in block):
        for shown in re.findall(ID, command):
            command = command.replace(shown, ids.setdefault(shown, shown))
        typed = command.replace("localhost:7377", own_daemon.address)
        answer = subprocess.run(
            ["bash", "-c", typed],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        ).stdout
        pattern, new_ids = pattern_of(expected, ids)
        found = re.fullmatch(pattern, answer)
        assert found, f"$ {typed}\n{answer}\nREADME.md says:\n{expected}"
        ids.update(zip(new_ids, found.groups()))
