"""--db-url, and what the environment says beside it: nothing of a password is ever shown, and no
variable of libpq changes what is meant."""

import subprocess

import pytest
from conftest import BUILD

SESSIOND = str(BUILD / "server/sessiond")
SESSIONCTL = str(BUILD / "client/sessionctl")

# Passwords that were put into the URL as they are, and what is said of each. Each piece between
# their special characters begins with `Sec`.
UNENCODED = {
    "Sec1@Sec2": "an @ or a /",
    "Sec1/Sec2": "an @ or a /",
    "Sec1@Sec2:Sec3": "an @ or a /",
    "Sec1%Sec2": "a % in it",
    "Sec1%": "a % in it",
    "Sec1@[Sec2": "an @ or a /",
    "12/Sec2": "an @ or a /",
    "Sec1/Sec2?Sec3=Sec4": "a parameter behind the ?",
}


def run(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("password", UNENCODED)
def test_nothing_of_a_password_that_was_not_encoded_is_shown(password, client, daemon):
    url = f"postgresql://app:{password}@127.0.0.1:1/app"
    commands = [
        [SESSIOND, "serve", "--log-level=debug", f"--db-url={url}"],
        [SESSIOND, "migrate", "up", f"--db-url={url}"],
        [SESSIOND, "migrate", "status", f"--db-url={url}"],
        [SESSIOND, "doctor", f"--db-url={url}"],
        [SESSIONCTL, "--server", daemon.address, "import", "--from-postgres", url, "--layout", "interview"],
    ]
    for command in commands:
        answer = run(*command)
        assert answer.returncode != 0, command
        said = answer.stdout + answer.stderr
        assert "Sec" not in said, said
        assert UNENCODED[password] in said, said
    shown = run(SESSIOND, "config", f"--db-url={url}")
    assert "Sec" not in shown.stdout + shown.stderr


def test_a_password_that_was_encoded_is_not_shown_either():
    url = "postgresql://app:Sec1%40Sec2%2FSec3%25@127.0.0.1:1/app"
    for words in [["serve", "--log-level=debug"], ["migrate", "up"], ["doctor"]]:
        answer = run(SESSIOND, *words, f"--db-url={url}")
        assert answer.returncode == 1
        said = answer.stdout + answer.stderr
        assert "Sec" not in said, said
        assert "127.0.0.1" in said, "where it was looked for helps"
