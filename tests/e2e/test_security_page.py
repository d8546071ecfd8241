"""What docs/security.md shows, from nothing to mutual TLS, is what happens: its blocks are typed in, in
their order, in an empty folder; its programs are run there, and print what the page says.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import BUILD, ROOT
from test_readme import pattern_of

# `…` in a line stands for the rest of it.
REST = "…"
PYTHON_CLIENT = ROOT / "client/python"
GO_CLIENT = ROOT / "client/go"
# Go compiles gRPC, where it has not done so before.
PROGRAM_SECONDS = 600


def blocks():
    """Kind and text of each: what is typed into a console, the line that starts the daemon, programs, and
    what these print."""
    page = (ROOT / "docs/security.md").read_text()
    return re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def expected(answer):
    pattern, _ = pattern_of(answer, {})
    return pattern.replace(re.escape(REST), ".*")


class Page:
    """A reader, in an empty folder, who does what the page says."""

    def __init__(self, daemon, folder):
        self._daemon, self._folder = daemon, folder
        path = f"{BUILD / 'server'}:{BUILD / 'client'}:{os.environ['PATH']}"
        for program in ("grpcurl", "curl"):
            if not shutil.which(program, path=path):
                pytest.skip(f"{program} is not on the PATH")
        (folder / "deploy").symlink_to(ROOT / "deploy")
        self._environment = {**os.environ, "PATH": path, "NO_COLOR": "1"}
        self._aliases = ""

    def read(self, kind):
        """Until after the first program of this kind, if it names one; answers with what that printed, and
        what the page says that it does."""
        printed = None
        for each, text in blocks():
            if each == "sh":
                self._serve(text)
            elif each == "console":
                self._type(text)
            elif each == kind:
                printed = getattr(self, "_run_" + kind)(self._addressed(text))
            elif each == "" and printed is not None:
                return printed, text
        return printed, None

    def _addressed(self, text):
        if not self._daemon.address:
            return text
        for shown, real in (("localhost:7377", self._daemon.address), ("localhost:8377", self._daemon.admin)):
            text = text.replace(shown, real.replace("127.0.0.1", "localhost"))
        return text

    def _serve(self, text):
        words = [str(self._folder / word) if word.startswith(("pki/", "access.")) else word
                 for word in text.replace("\\\n", " ").split()[2:]]
        del words[words.index("--grpc-listen") : words.index("--grpc-listen") + 2]
        self._daemon.start(*words)

    def _run(self, *command, seconds=60, **environment):
        return subprocess.run(
            command,
            cwd=self._folder,
            env={**self._environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        ).stdout

    def _type(self, text):
        for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            typed, answer = re.fullmatch(r"((?:.*<<END\n(?:.*\n)*?END\n|.*\n))((?:.*\n)*)", command).groups()
            if typed.startswith("alias "):
                self._aliases = "shopt -s expand_aliases\n" + typed
                continue
            typed = self._addressed(typed)
            said = self._run("bash", "-c", self._aliases + typed)
            if said and not said.endswith("\n"):
                said += "\n"  # A terminal shows its prompt there.
            assert re.fullmatch(expected(answer), said), f"$ {typed}\n{said}\nThe page says:\n{answer}"

    def _run_python(self, program):
        if not shutil.which("protoc"):
            pytest.skip("protoc is not here, which the Python client is generated with")
        # From a copy: what is generated lies beside what it is generated for.
        source = self._folder / "copy/client/python"
        shutil.copytree(PYTHON_CLIENT, source)
        for name in ("proto", "third_party", "CMakeLists.txt"):
            (self._folder / "copy" / name).symlink_to(ROOT / name)
        generated = self._run(sys.executable, str(source / "generate"))
        assert (source / "src/sessiond/v1").exists(), generated
        return self._run(sys.executable, "-c", program, seconds=PROGRAM_SECONDS, PYTHONPATH=str(source / "src"))

    def _run_go(self, program):
        if not shutil.which("go"):
            pytest.skip("go is not here")
        (self._folder / "main.go").write_text(program)
        needs = re.findall(r"^require \([^)]*\)", (GO_CLIENT / "go.mod").read_text(), re.MULTILINE)
        module = "github.com/sessiond/sessiond/client/go"
        (self._folder / "go.mod").write_text("\n".join([
            "module example.com/app", "go 1.24", *needs,
            f"require {module} v0.0.0", f"replace {module} => {GO_CLIENT}\n",
        ]))
        shutil.copy(GO_CLIENT / "go.sum", self._folder)
        fetched = subprocess.run(["go", "mod", "download"], cwd=self._folder, capture_output=True, text=True)
        if fetched.returncode:
            pytest.skip(f"the modules that the Go client stands on cannot be fetched: {fetched.stderr}")
        return self._run("go", "run", ".", seconds=PROGRAM_SECONDS)


@pytest.fixture
def page(own_daemon, tmp_path):
    return Page(own_daemon, tmp_path)


def test_the_way_from_nothing_to_mutual_tls(page):
    assert page.read(None) == (None, None)


@pytest.mark.parametrize("language", ["python", "go"])
def test_a_program_calls_with_certificate_and_token(page, language):
    printed, said = page.read(language)
    assert printed == said
