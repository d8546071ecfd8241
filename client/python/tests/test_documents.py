"""What README and docs/clients/python.md show is what happens: their blocks are run as they stand there."""

import contextlib
import io
import sys

from conftest import ROOT, blocks

sys.path.insert(0, str(ROOT / "tests/conformance"))
sys.dont_write_bytecode = True

from contract import Contract  # noqa: E402
from proxy import Proxy  # noqa: E402


def run(source, names):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(source, "example", "exec"), names)
    return said.getvalue()


def test_the_first_example_prints_what_the_readme_says(sessiond_test_server, monkeypatch):
    readme = ROOT / "client/python/README.md"
    monkeypatch.setenv("SESSIOND_SERVER", sessiond_test_server.address)
    assert run(blocks(readme)[0], {}) == blocks(readme, "text")[0]


def test_the_first_example_prints_the_same_when_connections_are_cut(sessiond_test_server, monkeypatch):
    readme = ROOT / "client/python/README.md"
    proxy = Proxy(Contract(), lambda: sessiond_test_server.address)
    try:
        for method in (
            "CreateSession",
            "StartTask",
            "FailTask",
            "RetryTask",
            "CompleteTask",
            "StopSession",
            "ListErrors",
        ):
            proxy.fault({"kind": "cut", "when": "after", "method": method})
        # The change behind the bookmark is held back, and the connection cut while the watch is open.
        proxy.fault({"kind": "hold", "messages": 2, "method": "WatchSessions"})
        monkeypatch.setenv("SESSIOND_SERVER", proxy.address)
        assert run(blocks(readme)[0], {}) == blocks(readme, "text")[0]
        assert proxy.seen("WatchSessions")["count"] >= 3
        assert proxy.seen("CompleteTask") == {**proxy.seen("CompleteTask"), "count": 2, "request_ids": 1}
    finally:
        proxy.close()


def test_the_blocks_of_the_page_run(sessiond_test_server, monkeypatch):
    monkeypatch.setenv("SESSIOND_SERVER", sessiond_test_server.address)
    names = {}
    page = blocks(ROOT / "docs/clients/python.md")
    said = "".join(run(block, names) for block in page)
    assert len(page) >= 8
    assert "NEVER_EXISTED USER_FIXABLE None" in said
    assert "ACTIVE {'jira_project_key': 'AB', 'site_name': 'Berlin'} {'total_tickets_generated': 2} True" in said
    assert "COMPLETED {'pages': 3}" in said
    assert "GetServerInfo 1 None" in said
    names["test_an_owner_has_a_session"](sessiond_test_server)
